package e2e

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/e2e/internal/gameday"
)

// A game day in short, with what alerts wait for divided: NATS goes down, which an alert and a panel that its runbook names show, and it ends when NATS is back.
func TestGameDay(t *testing.T) {
	t.Parallel()
	cfg := gameday.Smoke("..")
	cfg.Binaries, cfg.Data, cfg.Log = bin, t.TempDir(), t.Output()
	require.NoError(t, os.Chmod(filepath.Dir(cfg.Data), 0o755)) // Postgres is another user
	report, err := gameday.Run(t.Context(), cfg)
	require.NoError(t, err)
	t.Log(report.Text)
	require.NoError(t, report.Failure())
	require.Contains(t, report.Text, "| BrokerDisconnected |")
}
