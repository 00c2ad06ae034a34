package e2e

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/e2e/internal/cluster"
)

// Three machines in short: every pod is replaced, the host of the broker's leader is cut off, processes are killed, under load. Nothing is lost, and nothing arrives twice
// but where a process or its network went away. Once there is a release, it is what runs first.
func TestCluster(t *testing.T) {
	t.Parallel()
	cfg := cluster.Smoke("..")
	cfg.Binaries, cfg.Data, cfg.Log, cfg.From = bin, t.TempDir(), t.Output(), release(t)
	require.NoError(t, os.Chmod(filepath.Dir(cfg.Data), 0o755)) // Postgres is another user
	report, err := cluster.Run(t.Context(), cfg)
	if errors.Is(err, cluster.ErrNotPermitted) {
		t.Skip(err)
	}
	require.NoError(t, err)
	t.Log(report.Text)
	require.NoError(t, report.Failure())
}

// release is the tag of the last one before this commit, "" if there is none yet.
func release(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "git", "describe", "--tags", "--abbrev=0", "--match", "v*", "HEAD").Output()
	if err != nil {
		t.Log("there is no release yet that this could be an upgrade from")
		return ""
	}
	return strings.TrimSpace(string(out))
}
