package pgcluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// dirLock is held by whoever may start or stop a directory's server. The kernel releases it with its process, however
// that ends. The file stays: removing it would let two processes lock two files of one name.
type dirLock struct{ file *os.File }

// tryLock takes the lock or fails with ErrLocked.
func tryLock(path string) (*dirLock, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, wrapAccess("open lock file", err)
	}
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		_ = file.Truncate(0) // the content is a hint for people
		_, _ = file.WriteAt([]byte(strconv.Itoa(os.Getpid())), 0)
		return &dirLock{file: file}, nil
	}
	defer file.Close()
	if !errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	holder, _ := io.ReadAll(io.LimitReader(file, 32))
	return nil, fmt.Errorf("%s: %w (pid %s)", strings.TrimSuffix(path, ".lock"), ErrLocked, holder)
}

// waitLock takes the lock as soon as it is free.
func waitLock(ctx context.Context, path string) (*dirLock, error) {
	for {
		lock, err := tryLock(path)
		if err == nil || !errors.Is(err, ErrLocked) || !pause(ctx, pollInterval) {
			return lock, err
		}
	}
}

// release unlocks before it closes: a child that this process is starting at this moment still has the file, and closing alone would leave the lock to it until it is
// another program.
func (l *dirLock) release() {
	_ = syscall.Flock(int(l.file.Fd()), syscall.LOCK_UN)
	_ = l.file.Close()
}
