package monitor_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

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
	require.Equal(t, "status", b.Query(`SELECT cause FROM incidents WHERE monitor_id = $1 AND resolved_at IS NULL`, id))
	status.Store(http.StatusOK)
	b.eventually("up", state, id)
	require.Equal(t, "1 0", b.Query(`SELECT concat_ws(' ', count(*), count(*) FILTER (WHERE resolved_at IS NULL)) FROM incidents WHERE monitor_id = $1`, id))
	require.Equal(t, "unknown up down up", b.Query(`SELECT string_agg(status, ' ' ORDER BY started_at) FROM monitor_intervals WHERE monitor_id = $1`, id))
	require.Equal(t, "0", b.Query(`
SELECT count(*)::text FROM monitor_intervals a JOIN monitor_intervals b ON b.monitor_id = a.monitor_id AND b.started_at = (SELECT min(started_at) FROM monitor_intervals WHERE monitor_id = a.monitor_id AND started_at > a.started_at)
WHERE a.monitor_id = $1 AND a.ended_at IS DISTINCT FROM b.started_at`, id), "the ledger has no gaps")
}

// get reads a field of a monitor.
func (b *bundle) get(path string, into any) {
	b.t.Helper()
	answer := b.client.Do(http.MethodGet, path, nil)
	require.Equal(b.t, http.StatusOK, answer.Status, "%s", answer.Body)
	require.NoError(b.t, json.Unmarshal(answer.Body, into))
}

func (b *bundle) do(method, path string, body any, want int) {
	b.t.Helper()
	answer := b.client.Do(method, path, body)
	require.Equal(b.t, want, answer.Status, "%s", answer.Body)
}

// However many probers there are, a slot is checked once, and changes take effect within a second or so.
func TestThreeReplicasShareTheSlots(t *testing.T) {
	t.Parallel()
	b := prepare(t)
	for range 3 {
		b.start()
	}
	url, _ := target(t)
	var ids []uuid.UUID
	for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
		ids = append(ids, b.create(map[string]any{"name": name, "url": url}))
	}
	const seen = `SELECT count(*)::text FROM monitor_checks`
	require.Eventually(t, func() bool { return b.Query(`SELECT (count(*) >= 12)::text FROM monitor_checks`) == "true" }, 40*time.Second, 50*time.Millisecond)
	require.Equal(t, b.Query(seen), b.Query(`SELECT count(DISTINCT (monitor_id, region, slot))::text FROM monitor_checks`))
	require.Equal(t, "0", b.Query(`SELECT coalesce(sum(missed), 0)::text FROM monitor_rollups`))

	for _, id := range ids[:5] {
		b.do(http.MethodPost, "/v1/monitors/"+id.String()+"/pause", nil, http.StatusOK)
	}
	b.do(http.MethodDelete, "/v1/monitors/"+ids[5].String(), nil, http.StatusNoContent)
	time.Sleep(1500 * time.Millisecond)
	before := b.Query(seen)
	time.Sleep(11 * time.Second)
	require.Equal(t, before, b.Query(seen), "nothing is checked any more")
	b.eventually("paused", `SELECT string_agg(DISTINCT status, ' ') FROM monitor_states`)

	b.do(http.MethodPost, "/v1/monitors/"+ids[0].String()+"/resume", nil, http.StatusOK)
	b.eventually("up", `SELECT status FROM monitor_states WHERE monitor_id = $1`, ids[0])
}

// During maintenance checks go on, and no incident opens; it opens when the window ends and the target is still down.
func TestMaintenanceKeepsIncidentsFromOpening(t *testing.T) {
	t.Parallel()
	b := setup(t)
	url, status := target(t)
	id := b.create(map[string]any{"url": url})
	const state = `SELECT status FROM monitor_states WHERE monitor_id = $1`
	b.eventually("up", state, id)
	now := time.Now()
	answer := b.client.Do(http.MethodPost, "/v1/maintenance-windows", map[string]any{
		"name": "upgrade", "starts_at": now.Format(time.RFC3339), "ends_at": now.Add(time.Hour).Format(time.RFC3339), "monitors": []uuid.UUID{id},
	})
	require.Equal(t, http.StatusCreated, answer.Status, "%s", answer.Body)
	var window struct{ ID uuid.UUID }
	require.NoError(t, json.Unmarshal(answer.Body, &window))
	b.eventually("maintenance", state, id)
	status.Store(http.StatusBadGateway)
	b.eventually("down", `SELECT state->>'verdict' FROM monitor_states WHERE monitor_id = $1`, id)
	require.Equal(t, "0", b.Query(`SELECT count(*)::text FROM incidents`))
	require.Equal(t, "maintenance", b.Query(state, id))
	b.do(http.MethodDelete, "/v1/maintenance-windows/"+window.ID.String(), nil, http.StatusNoContent)
	b.eventually("down", state, id)
	require.Equal(t, "1", b.Query(`SELECT count(*)::text FROM incidents WHERE resolved_at IS NULL`))
}

func TestAHeartbeatIsMissedAndComesBack(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.create(map[string]any{"kind": "heartbeat", "name": "backup", "expected": map[string]any{"every": "10s", "grace": "1s"}})
	var m struct {
		HeartbeatURLPath string `json:"heartbeat_url_path"`
		Status           string
	}
	b.get("/v1/monitors/"+id.String(), &m)
	public := b.client
	public.Token = ""
	call := func(path, body string) {
		answer := public.Do(http.MethodPost, path, body)
		require.Equal(t, http.StatusOK, answer.Status, "%s", answer.Body)
	}
	const state = `SELECT status FROM monitor_states WHERE monitor_id = $1`
	call(m.HeartbeatURLPath, "done")
	b.eventually("up", state, id)
	called := time.Now()
	b.eventually("down", state, id)
	require.WithinDuration(t, called.Add(11*time.Second), time.Now(), 2*time.Second)
	require.Equal(t, "missed", b.Query(`SELECT cause FROM incidents`))
	call(m.HeartbeatURLPath+"/0", "")
	b.eventually("up", state, id)
	call(m.HeartbeatURLPath+"/3", "disk full")
	b.eventually("down", state, id)
	require.Equal(t, "disk full", b.Query(`SELECT detail FROM monitor_checks WHERE outcome = 'down'`))
	require.Equal(t, http.StatusNotFound, public.Do(http.MethodPost, "/v1/heartbeats/nosuchtokennosuchtokennosuchtoken", "").Status)
	require.Equal(t, "2 1", b.Query(`SELECT concat_ws(' ', count(*), count(*) FILTER (WHERE resolved_at IS NULL)) FROM incidents`))
}

// Where the network is away nothing goes down: it is not checked.
func TestWithoutEgressNothingGoesDown(t *testing.T) {
	t.Parallel()
	closed := httptest.NewServer(http.NotFoundHandler())
	canary := closed.Listener.Addr().String()
	closed.Close()
	b := setup(t, "BEACONPOST_MONITOR_CANARIES="+canary)
	id := b.create(map[string]any{"url": "http://" + canary})
	b.eventually("not_checked egress", `SELECT DISTINCT concat_ws(' ', outcome, cause) FROM monitor_checks WHERE monitor_id = $1`, id)
	time.Sleep(11 * time.Second)
	b.eventually("not_checked egress", `SELECT DISTINCT concat_ws(' ', outcome, cause) FROM monitor_checks WHERE monitor_id = $1`, id)
	require.Equal(t, "unknown", b.Query(`SELECT status FROM monitor_states WHERE monitor_id = $1`, id))
	require.Equal(t, "0", b.Query(`SELECT count(*)::text FROM incidents`))
}

// What people do about incidents is told like what the checks find.
func TestIncidentsByHandAreTold(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Exec(`INSERT INTO endpoints (tenant_id, id, url, event_types) VALUES ($1, $2, 'https://example.com/', '{incident.*}')`, b.tenant.UUID(), uuid.Must(uuid.NewV7()))
	answer := b.client.Do(http.MethodPost, "/v1/incidents", map[string]any{"title": "the shop is slow", "severity": "minor"})
	require.Equal(t, http.StatusCreated, answer.Status, "%s", answer.Body)
	var incident struct{ ID uuid.UUID }
	require.NoError(t, json.Unmarshal(answer.Body, &incident))
	path := "/v1/incidents/" + incident.ID.String()
	for range 2 {
		b.do(http.MethodPost, path+"/acknowledge", map[string]any{"by": "ada"}, http.StatusOK)
	}
	b.do(http.MethodPost, path+"/resolve", nil, http.StatusOK)
	b.eventually("incident.opened incident.acknowledged incident.resolved", `
SELECT coalesce(string_agg(e.event_type, ' ' ORDER BY e.id), '') FROM webhook_events e JOIN deliveries d ON d.tenant_id = e.tenant_id AND d.event_id = e.id`)
	require.Equal(t, "ada", b.Query(`SELECT convert_from(payload, 'UTF8')::jsonb->'data'->>'acknowledged_by' FROM webhook_events WHERE event_type = 'incident.acknowledged'`))
}
