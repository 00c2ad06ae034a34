package pgcluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const orphanTimeout = 10 * time.Second

// pidFile is what matters here of postmaster.pid.
type pidFile struct {
	pid     int
	sockets string // empty until the server has opened its socket
}

// readPIDFile reads a directory's postmaster.pid; ok is false when there is none that can be understood.
func readPIDFile(dir string) (file pidFile, ok bool, err error) {
	text, err := os.ReadFile(filepath.Join(dir, "postmaster.pid"))
	if errors.Is(err, fs.ErrNotExist) {
		return pidFile{}, false, nil
	}
	if err != nil {
		return pidFile{}, false, wrapAccess("read postmaster.pid", err)
	}
	lines := strings.Split(string(text), "\n")
	file.pid, _ = strconv.Atoi(strings.TrimSpace(lines[0])) // 0: it is being written, or torn
	if len(lines) > 4 {
		file.sockets = strings.Trim(lines[4], `" `)
	}
	return file, file.pid > 1, nil
}

// stopOrphan ends a server that a killed owner left on the directory. The caller holds the directory's lock, so
// whatever runs there has no owner.
func stopOrphan(ctx context.Context, dir string) error {
	file, ok, err := readPIDFile(dir)
	if err != nil || !ok {
		return err
	}
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGQUIT} {
		if !serves(ctx, file.pid, dir) {
			break
		}
		if err := syscall.Kill(file.pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("stop orphaned postgres %d: %w: %w", file.pid, ErrLocked, err)
		}
		waitWhile(ctx, func() bool { return serves(ctx, file.pid, dir) })
	}
	if serves(ctx, file.pid, dir) {
		return fmt.Errorf("stop orphaned postgres %d: %w: it does not end", file.pid, ErrLocked)
	}
	return disownPIDFile(dir, file.pid)
}

func waitWhile(ctx context.Context, condition func() bool) {
	ctx, cancel := context.WithTimeout(ctx, orphanTimeout)
	defer cancel()
	for condition() {
		if !pause(ctx, pollInterval) {
			return
		}
	}
}

// disownPIDFile replaces a dead postmaster's id, which some other process may have by now (always likely in a container),
// by the id of this process. Postgres ignores its parent's id there, while it would refuse to start because of a
// living stranger's. Removing the file instead would also remove the safeguard against surviving children.
func disownPIDFile(dir string, pid int) error {
	path := filepath.Join(dir, "postmaster.pid")
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return wrapAccess("read postmaster.pid", err)
	}
	_, rest, _ := strings.Cut(string(text), "\n")
	if err := os.WriteFile(path, []byte(strconv.Itoa(os.Getpid())+"\n"+rest), 0o600); err != nil {
		return wrapAccess(fmt.Sprintf("replace pid %d in postmaster.pid", pid), err)
	}
	return nil
}

// serves reports whether the process is alive and the postmaster of dir. A zombie is not alive.
func serves(ctx context.Context, pid int, dir string) bool {
	proc := filepath.Join("/proc", strconv.Itoa(pid))
	if _, err := os.Stat("/proc/self"); err != nil {
		out, err := exec.CommandContext(ctx, "ps", "-p", strconv.Itoa(pid), "-o", "args=").Output()
		return err == nil && isPostmaster(strings.Fields(string(out))) && strings.Contains(string(out), dir)
	}
	cmdline, err := os.ReadFile(filepath.Join(proc, "cmdline"))
	if err != nil || !isPostmaster(strings.Split(string(cmdline), "\x00")) {
		return false
	}
	here, err := os.Stat(dir)
	if err != nil {
		return false
	}
	there, err := os.Stat(filepath.Join(proc, "cwd")) // a postmaster works in its data directory
	if err != nil {
		return strings.Contains(string(cmdline), dir)
	}
	return os.SameFile(here, there)
}

func isPostmaster(args []string) bool {
	return len(args) > 0 && filepath.Base(args[0]) == "postgres"
}
