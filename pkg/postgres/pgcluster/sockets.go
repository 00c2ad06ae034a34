package pgcluster

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
)

// maxSocketPath stays below what every system allows for a socket's address (104 to 108 bytes).
const maxSocketPath = 99

// sockets is the directory of the server's socket.
type sockets struct {
	path      string
	temporary bool // not part of the cluster's directory
}

// chooseSockets picks the cluster's own directory, which is private already, unless its path is too long or its file
// system has no sockets. Then it is a private directory in a temporary place, named after the cluster so that one
// left by a killed process is found again. Remains of an earlier server are removed: the caller knows that it is gone.
func chooseSockets(ctx context.Context, dir string, runAs *account) (sockets, error) {
	removeSocket(dir)
	if fits(dir) && holdsSockets(ctx, dir) {
		return sockets{path: dir}, nil
	}
	sum := sha256.Sum256([]byte(dir))
	for _, temp := range []string{os.TempDir(), "/tmp"} {
		path := filepath.Join(temp, fmt.Sprintf("beaconpost-%d-%s", os.Geteuid(), hex.EncodeToString(sum[:8])))
		if !fits(path) || runAs.checkTraversable(temp) != nil {
			continue
		}
		if err := makePrivate(path, runAs); err != nil {
			return sockets{}, err
		}
		removeSocket(path)
		return sockets{path: path, temporary: true}, nil
	}
	return sockets{}, fmt.Errorf("no directory for postgres' socket: %s is too long or has no sockets: set TMPDIR", dir)
}

// remove deletes what chooseSockets created; the server is gone.
func (s sockets) remove() {
	if s.temporary {
		removeSocket(s.path)
		_ = os.Remove(s.path) // left behind it does no harm
	}
}

func socketFile(dir string) string { return filepath.Join(dir, ".s.PGSQL."+strconv.Itoa(port)) }

func fits(dir string) bool { return len(socketFile(dir)+".lock") <= maxSocketPath }

func removeSocket(dir string) {
	_ = os.Remove(socketFile(dir)) // a server that cannot replace them says so
	_ = os.Remove(socketFile(dir) + ".lock")
}

// holdsSockets tries: network and shared file systems of virtual machines often cannot.
func holdsSockets(ctx context.Context, dir string) bool {
	l, err := (&net.ListenConfig{}).Listen(ctx, "unix", socketFile(dir))
	if err != nil {
		return false
	}
	return l.Close() == nil // removes the file
}

// makePrivate creates a directory in a place where others can write, or reuses one that is certainly ours.
func makePrivate(path string, runAs *account) error {
	err := os.Mkdir(path, 0o700)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return wrapAccess("create socket directory", err)
	}
	info, err := os.Lstat(path)
	if err != nil {
		return wrapAccess("inspect socket directory", err)
	}
	owner, err := ownerOf(path)
	if err != nil {
		return err
	}
	ours := owner == os.Geteuid() || owner == runAs.serverUID()
	if !info.IsDir() || info.Mode().Perm() != 0o700 || !ours {
		return fmt.Errorf("socket directory %s: %w: it exists and is not private", path, ErrNotWritable)
	}
	return runAs.takeOver(path)
}
