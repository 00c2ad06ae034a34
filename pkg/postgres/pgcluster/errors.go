package pgcluster

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
)

// What can keep a cluster from starting and what its user can do about it. The errors of Start wrap these and name the
// directory, process or version concerned; their text is fit for a terminal.
var (
	ErrBinariesMissing = errors.New("postgres is not installed: run `apt-get install postgresql` (Debian, Ubuntu), " +
		"or set BEACONPOST_POSTGRES_BIN to the directory that holds postgres and initdb")
	ErrVersionMismatch = errors.New("no fitting postgres version is installed")
	ErrNotWritable     = errors.New("directory is not writable")
	ErrNotTraversable  = errors.New("directory cannot be entered by the user that runs postgres")
	ErrNotCluster      = errors.New("directory holds something other than a postgres cluster")
	ErrLocked          = errors.New("cluster is in use by another process")
	ErrNoAccount       = errors.New("postgres refuses to run as root and there is no user postgres or nobody to run it as")
	ErrStartFailed     = errors.New("postgres did not come up")

	errMemoryInUse = errors.New("shared memory is still in use")
	errNotRunning  = errors.New("no server runs on the directory")
)

// wrapAccess marks errors of the file system that mean "you may not write here".
func wrapAccess(doing string, err error) error {
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		return fmt.Errorf("%s: %w: %w", doing, ErrNotWritable, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}
