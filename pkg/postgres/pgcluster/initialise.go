package pgcluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"github.com/beaconpost/beaconpost/pkg/lifecycle"
)

// initialise makes sure that the directory holds a cluster, owned by the user that will run it, and chooses the
// binaries that can. The caller holds the directory's lock, and no server runs.
func (in *instance) initialise(ctx context.Context) error {
	major, err := clusterVersion(in.dir)
	if err != nil {
		return err
	}
	if in.bin, err = findBinaries(ctx, in.binDir, major); err != nil {
		return err
	}
	if major == 0 {
		if err := in.create(ctx); err != nil {
			return err
		}
	}
	if err := in.runAs.takeOver(in.dir); err != nil {
		return err
	}
	if owner, err := ownerOf(in.dir); err != nil {
		return err
	} else if owner != in.runAs.serverUID() {
		return fmt.Errorf("%s belongs to uid %d: %w", in.dir, owner, ErrNotWritable)
	}
	in.sockets, err = chooseSockets(ctx, in.dir, in.runAs)
	return err
}

// clusterVersion is the major version that wrote the cluster, or 0 when there is none yet.
func clusterVersion(dir string) (int, error) {
	text, err := os.ReadFile(filepath.Join(dir, "PG_VERSION"))
	if err == nil {
		major, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil {
			return 0, fmt.Errorf("%s: %w: PG_VERSION says %q", dir, ErrNotCluster, text)
		}
		return major, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return 0, wrapAccess("read cluster version", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, wrapAccess("read directory", err)
	}
	if len(entries) > 0 {
		return 0, fmt.Errorf("%s: %w", dir, ErrNotCluster)
	}
	return 0, nil
}

// create runs initdb beside the directory and moves the finished cluster into place, so that a directory with
// PG_VERSION is always complete and an interrupted initdb leaves nothing that the next one minds.
func (in *instance) create(ctx context.Context) error {
	unfinished := in.dir + ".init"
	if err := os.RemoveAll(unfinished); err != nil {
		return wrapAccess("remove unfinished cluster", err)
	}
	if err := os.Mkdir(unfinished, 0o700); err != nil {
		return wrapAccess("create cluster directory", err)
	}
	if err := in.runAs.takeOver(unfinished); err != nil {
		return err
	}
	args := []string{"-D", unfinished, "--username=" + Superuser, "--encoding=UTF8", "--no-locale",
		"--auth-local=trust", "--auth-host=reject"}
	if in.ephemeral {
		args = append(args, "--no-sync")
	}
	if err := in.run(ctx, "initdb", args...); err != nil {
		return err
	}
	if err := os.Remove(in.dir); err != nil && !errors.Is(err, fs.ErrNotExist) { // it is empty
		return wrapAccess("replace empty directory", err)
	}
	if err := os.Rename(unfinished, in.dir); err != nil {
		return wrapAccess("move cluster into place", err)
	}
	return syncDir(filepath.Dir(in.dir))
}

// run executes one of Postgres' programs to its end.
func (in *instance) run(ctx context.Context, program string, args ...string) error {
	runtime.LockOSThread() // see lifecycle.DieWithParent
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, in.bin.path(program), args...)
	cmd.Env = environment()
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	lifecycle.DieWithParent(cmd.SysProcAttr, syscall.SIGKILL)
	cmd.WaitDelay = quitTimeout // initdb's own children hold its output too
	in.runAs.apply(cmd)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("run %s: %w: %s", program, err, lastLines(string(out), 3))
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return wrapAccess("open directory", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) { // not every file system can
		return fmt.Errorf("sync directory: %w", err)
	}
	return nil
}

// makeParents creates dir. What root creates has to be passable for the account, whatever the umask says.
func makeParents(dir string, runAs *account) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return wrapAccess("inspect directory", err)
	}
	if err := makeParents(filepath.Dir(dir), runAs); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return wrapAccess("create directory", err)
	}
	if runAs == nil {
		return nil
	}
	if err := os.Chmod(dir, 0o711); err != nil { //nolint:gosec // passable, not readable
		return wrapAccess("open directory for "+runAs.name, err)
	}
	return nil
}
