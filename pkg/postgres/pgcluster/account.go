package pgcluster

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// account is the operating system's user that the server runs as; nil stands for the caller.
type account struct {
	name     string
	uid, gid uint32
}

// serverAccount picks the user: the caller, unless that is root, whom Postgres refuses.
func serverAccount() (*account, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, errUID := strconv.ParseUint(u.Uid, 10, 32)
		gid, errGID := strconv.ParseUint(u.Gid, 10, 32)
		if errUID == nil && errGID == nil && uid != 0 {
			return &account{name: name, uid: uint32(uid), gid: uint32(gid)}, nil
		}
	}
	return nil, ErrNoAccount
}

// apply makes cmd run as the account. The child starts in / because the caller's directory may be closed to it.
func (a *account) apply(cmd *exec.Cmd) {
	cmd.Dir = "/"
	if a != nil {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: a.uid, Gid: a.gid}
	}
}

// serverUID is who owns the cluster's files.
func (a *account) serverUID() int {
	if a == nil {
		return os.Geteuid()
	}
	return int(a.uid)
}

// checkTraversable reports the first directory above or at dir that the account cannot pass.
func (a *account) checkTraversable(dir string) error {
	if a == nil {
		return nil
	}
	resolved, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return wrapAccess("resolve directory", err)
	}
	for at := resolved; ; at = filepath.Dir(at) {
		info, err := os.Stat(at)
		if err != nil {
			return wrapAccess("inspect directory", err)
		}
		if !a.mayEnter(info) {
			return fmt.Errorf("%s: %w (%s): choose a data directory elsewhere (--data-dir), for example "+
				"under /var/lib, or run `chmod o+x %s`", at, ErrNotTraversable, a.name, at)
		}
		if at == filepath.Dir(at) {
			return nil
		}
	}
}

func (a *account) mayEnter(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return true
	}
	mode := info.Mode().Perm()
	switch {
	case st.Uid == a.uid:
		return mode&0o100 != 0
	case st.Gid == a.gid:
		return mode&0o010 != 0
	default:
		return mode&0o001 != 0
	}
}

// takeOver gives a tree to the account. The root of the tree comes last: as long as it has another owner, the
// change is not complete and will be made again.
func (a *account) takeOver(dir string) error {
	if a == nil {
		return nil
	}
	if owner, err := ownerOf(dir); err != nil || owner == a.serverUID() {
		return err
	}
	root, err := os.OpenRoot(dir) // so that no symlink leads the walk, which runs as root, outside
	if err != nil {
		return wrapAccess("open directory", err)
	}
	defer func() { _ = root.Close() }()
	err = fs.WalkDir(root.FS(), ".", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || path == "." {
			return err
		}
		return root.Lchown(path, int(a.uid), int(a.gid))
	})
	if err == nil {
		err = os.Lchown(dir, int(a.uid), int(a.gid))
	}
	if err != nil {
		return wrapAccess("change owner of "+dir, err)
	}
	return nil
}

func ownerOf(path string) (int, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return 0, wrapAccess("inspect directory", err)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(st.Uid), nil
	}
	return 0, fmt.Errorf("inspect %s: no owner known", path)
}
