// Package machine describes the machine and the version that figures are of, for who reads them later.
package machine

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// Describe says where, when and of what a run was.
func Describe(ctx context.Context, root string) string {
	commit := output(ctx, root, "git", "rev-parse", "--short=12", "HEAD")
	if output(ctx, root, "git", "status", "--porcelain") != "" {
		commit += ", with uncommitted changes"
	}
	return fmt.Sprintf("%s · commit %s · %s, %d cores, %s of memory · %s · %s",
		time.Now().UTC().Format(time.DateOnly), commit, procLine("/proc/cpuinfo", "model name"), runtime.NumCPU(), memory(), osName(), runtime.Version())
}

func output(ctx context.Context, dir, name string, args ...string) string {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

// procLine reads the first "name : value" line of a file.
func procLine(file, name string) string {
	raw, err := os.ReadFile(file)
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(raw)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

func memory() string {
	kib, err := strconv.ParseInt(strings.TrimSuffix(procLine("/proc/meminfo", "MemTotal"), " kB"), 10, 64)
	if err != nil {
		return "unknown"
	}
	return fmt.Sprintf("%d GiB", (kib+1<<19)>>20)
}

func osName() string {
	raw, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return runtime.GOOS
	}
	for line := range strings.Lines(string(raw)) {
		if value, ok := strings.CutPrefix(line, "PRETTY_NAME="); ok {
			return strings.Trim(strings.TrimSpace(value), `"`)
		}
	}
	return runtime.GOOS
}
