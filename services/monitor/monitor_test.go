package monitor_test

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/postgres"
	"github.com/beaconpost/beaconpost/pkg/secretbox"
	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
	"github.com/beaconpost/beaconpost/services/monitor/internal/monitor"
	monitorpg "github.com/beaconpost/beaconpost/services/monitor/internal/postgres"
)

// target answers as it is told.
func target(t *testing.T) (url string, status *atomic.Int64) {
	t.Helper()
	status = &atomic.Int64{}
	status.Store(http.StatusOK)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(int(status.Load())) }))
	t.Cleanup(server.Close)
	return server.URL, status
}

func (b *bundle) create(spec check.Spec) uuid.UUID {
	b.t.Helper()
	db, err := postgres.Open(b.t.Context(), postgres.Config{URL: b.Database.AppURL})
	require.NoError(b.t, err)
	defer db.Close()
	ring, err := secretbox.ParseKeyring(b.Environ[2][len("BEACONPOST_SECRETS_KEYS="):])
	require.NoError(b.t, err)
	m := &monitor.Monitor{
		Key: monitor.Key{Tenant: b.tenant, ID: uuid.Must(uuid.NewV7())}, Name: "shop", Spec: spec, Interval: 10 * time.Second, Timeout: 2 * time.Second,
		FailureThreshold: 3, RecoveryThreshold: 1, Confirm: true, Regions: []string{"default"},
	}
	require.NoError(b.t, monitorpg.NewTenancy(db, ring).Create(b.t.Context(), m))
	return m.ID
}

func TestATargetGoesDownAndComesBack(t *testing.T) {
	t.Parallel()
	b := setup(t)
	url, status := target(t)
	id := b.create(check.Spec{Kind: check.HTTP, URL: url})
	const state = `SELECT status FROM monitor_states WHERE monitor_id = $1`
	b.eventually("up", state, id)
	status.Store(http.StatusInternalServerError)
	b.eventually("down", state, id)
	require.Equal(t, "status", b.query(`SELECT cause FROM incidents WHERE monitor_id = $1 AND resolved_at IS NULL`, id))
	status.Store(http.StatusOK)
	b.eventually("up", state, id)
	require.Equal(t, "1 0", b.query(`SELECT concat_ws(' ', count(*), count(*) FILTER (WHERE resolved_at IS NULL)) FROM incidents WHERE monitor_id = $1`, id))
	require.Equal(t, "unknown up down up", b.query(`SELECT string_agg(status, ' ' ORDER BY started_at) FROM monitor_intervals WHERE monitor_id = $1`, id))
	require.Equal(t, "0", b.query(`
SELECT count(*)::text FROM monitor_intervals a JOIN monitor_intervals b ON b.monitor_id = a.monitor_id AND b.started_at = (SELECT min(started_at) FROM monitor_intervals WHERE monitor_id = a.monitor_id AND started_at > a.started_at)
WHERE a.monitor_id = $1 AND a.ended_at IS DISTINCT FROM b.started_at`, id), "the ledger has no gaps")
	t.Log(b.query(`SELECT concat_ws(' ', slot, confirmation, outcome, cause, lag_us, duration_us) FROM monitor_checks WHERE monitor_id = $1 ORDER BY id`, id))
	t.Log(b.query(`SELECT concat_ws(' ', bucket, up, down, late, missed, latency, lag) FROM monitor_rollups WHERE monitor_id = $1`, id))
}
