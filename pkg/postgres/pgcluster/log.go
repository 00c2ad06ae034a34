package pgcluster

import (
	"fmt"
	"io"
	"os"
	"strings"
)

const (
	maxLog  = 16 << 20 // at a start, a larger log is set aside as ….old
	maxTail = 64 << 10 // how much of it is searched for the cause of an end
)

// openedLog is the server's log, open for appending from start on.
type openedLog struct {
	file  *os.File
	start int64
}

func openLog(path string) (openedLog, error) {
	if info, err := os.Stat(path); err == nil && info.Size() > maxLog {
		if err := os.Rename(path, path+".old"); err != nil {
			return openedLog{}, wrapAccess("set old log aside", err)
		}
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return openedLog{}, wrapAccess("open log", err)
	}
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return openedLog{}, fmt.Errorf("inspect log: %w", err)
	}
	return openedLog{file: file, start: info.Size()}, nil
}

// explain adds what the server last complained about since offset, and where to read more.
func (in *instance) explain(err error, offset int64) error {
	log, openErr := os.Open(in.logFile)
	if openErr != nil {
		return err
	}
	defer log.Close()
	if size, seekErr := log.Seek(0, io.SeekEnd); seekErr == nil {
		offset = max(offset, size-maxTail)
	}
	text, readErr := io.ReadAll(io.NewSectionReader(log, offset, maxTail))
	if readErr != nil {
		return err
	}
	var complaints []string
	for line := range strings.Lines(string(text)) {
		for _, level := range []string{"PANIC:", "FATAL:", "HINT:"} {
			if _, after, ok := strings.Cut(line, level); ok && !isConnectionRefusal(after) {
				complaints = append(complaints, strings.TrimSpace(level+after))
			}
		}
	}
	if strings.Contains(strings.Join(complaints, "\n"), "pre-existing shared memory block") {
		err = fmt.Errorf("%w: %w", err, errMemoryInUse)
	}
	if len(complaints) == 0 {
		return fmt.Errorf("%w (log: %s)", err, in.logFile)
	}
	return fmt.Errorf("%w: %s (log: %s)", err, lastLines(strings.Join(complaints, "\n"), 3), in.logFile)
}

// isConnectionRefusal tells what waitReady provokes by asking too early.
func isConnectionRefusal(complaint string) bool {
	return strings.Contains(complaint, "the database system is")
}

// lastLines puts the end of a text on one line.
func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "; ")
}
