package monitor_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
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

// create makes a monitor that is checked every ten seconds; more are fields over these.
func (b *bundle) create(more map[string]any) uuid.UUID {
	b.t.Helper()
	body := map[string]any{"name": "shop", "kind": "http", "interval": "10s", "timeout": "2s", "recovery_threshold": 1}
	for k, v := range more {
		body[k] = v
	}
	answer := b.client.Do(http.MethodPost, "/v1/monitors", body)
	require.Equal(b.t, http.StatusCreated, answer.Status, "%s", answer.Body)
	var created struct{ ID uuid.UUID }
	require.NoError(b.t, json.Unmarshal(answer.Body, &created))
	return created.ID
}

func TestATargetGoesDownAndComesBack(t *testing.T) {
	t.Parallel()
	b := setup(t)
	url, status := target(t)
	id := b.create(map[string]any{"url": url})
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
}
