package up

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// lockDir makes sure that one process uses the directory. The lock goes with the process, however it ends.
func lockDir(dir string) (*os.File, error) {
	path := filepath.Join(dir, "up.lock")
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		holder, _ := io.ReadAll(io.LimitReader(file, 32))
		return nil, errors.Join(fmt.Errorf("data directory %s is in use by another beaconpost up (pid %s); stop it or choose another with --data-dir",
			dir, strings.TrimSpace(string(holder))), file.Close())
	}
	if err := file.Truncate(0); err == nil {
		_, err = fmt.Fprintf(file, "%d\n", os.Getpid())
		if err != nil {
			return nil, errors.Join(fmt.Errorf("write lock: %w", err), file.Close())
		}
	}
	return file, nil
}
