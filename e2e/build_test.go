package e2e

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/beaconpost/beaconpost/e2e/internal/stack"
)

// bin is set by TestMain before any test runs and not changed after.
var bin stack.Binaries

func TestMain(m *testing.M) {
	code, err := runAll(m)
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "prepare end-to-end tests:", err)
		code = 1
	}
	os.Exit(code)
}

func runAll(m *testing.M) (int, error) {
	dir, err := os.MkdirTemp("", "beaconpost-e2e-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // the system's temporary directory
	ctx := context.Background()
	if bin, err = stack.Build(ctx, "..", dir); err != nil {
		return 0, err
	}
	if err := stack.Command(ctx, "js", "npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"); err != nil {
		return 0, err
	}
	return m.Run(), nil
}
