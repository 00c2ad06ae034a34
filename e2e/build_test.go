package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// binaries are built once per run of the tests.
type binaries struct{ beaconpost, natsServer string }

// bin is set by TestMain before any test runs and not changed after.
var bin binaries

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
	bin = binaries{filepath.Join(dir, "beaconpost"), filepath.Join(dir, "nats-server")}
	if err := command("../services/beaconpost", "go", "build", "-o", bin.beaconpost, "./cmd/beaconpost"); err != nil {
		return 0, err
	}
	if err := command(".", "go", "build", "-o", bin.natsServer, "github.com/nats-io/nats-server/v2"); err != nil {
		return 0, err
	}
	if err := command("js", "npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"); err != nil {
		return 0, err
	}
	return m.Run(), nil
}

func command(dir, name string, args ...string) error {
	cmd := exec.CommandContext(context.Background(), name, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %v: %w\n%s", name, args, err, out)
	}
	return nil
}
