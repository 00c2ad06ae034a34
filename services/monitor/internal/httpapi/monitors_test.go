package httpapi_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
)

func TestAMonitorIsCreatedWithDefaults(t *testing.T) {
	t.Parallel()
	b := setup(t)
	v := b.do(http.MethodPost, "/v1/monitors", `{"name": "Shop", "kind": "http", "url": "https://shop.example/"}`, http.StatusCreated)
	for field, want := range (object{
		"name": "Shop", "kind": "http", "url": "https://shop.example/", "interval": "30s", "timeout": "10s", "failure_threshold": 3.0, "recovery_threshold": 2.0,
		"confirm": true, "paused": false, "regions": []any{"default"}, "status": "unknown", "version": 1.0,
	}) {
		require.Equal(t, want, v[field], field)
	}
	require.NotContains(t, v, "heartbeat_url_path")
	require.NotContains(t, v, "slo")
	require.Equal(t, v, b.do(http.MethodGet, fmt.Sprint("/v1/monitors/", v["id"]), "", http.StatusOK))

	short := b.do(http.MethodPost, "/v1/monitors", `{"name": "Fast", "kind": "tcp", "host": "db.example", "port": 5432, "interval": "10s", "confirm": false}`, http.StatusCreated)
	require.Equal(t, "5s", short["timeout"], "the default is below every interval")
	require.Equal(t, false, short["confirm"])

	past := b.do(http.MethodPost, "/v1/monitors", `{"name": "Once", "kind": "heartbeat", "expected": {"on_calendar": "2026-03-01 10:00"}}`, http.StatusUnprocessableEntity)
	require.Contains(t, fmt.Sprint(past), "expected")
	beat := b.do(http.MethodPost, "/v1/monitors", `{"name": "Backup", "kind": "heartbeat", "expected": {"every": "1h"}, "project_id": "0190f0a4-0000-7000-8000-00000000000b"}`, http.StatusCreated)
	require.Regexp(t, `^/v1/heartbeats/[A-Za-z0-9_-]{32}$`, beat["heartbeat_url_path"])
}

func TestWhatIsWrongIsNamed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const ok = `"name": "x", "kind": "http", "url": "https://x.example/"`
	for _, tt := range []struct{ body, code, field string }{
		{`{"name": "x", "kind": "http"}`, "invalid_monitor", "url"},
		{`{"name": "x", "kind": "ftp"}`, "invalid_request", "kind"},
		{`{"name": "x"}`, "invalid_request", "kind"},
		{`{"name": " ", "kind": "http", "url": "https://x.example/"}`, "invalid_monitor", "name"},
		{`{"name": "` + strings.Repeat("ü", 201) + `", "kind": "http", "url": "https://x.example/"}`, "invalid_monitor", "name"},
		{`{` + ok + `, "colour": "red"}`, "invalid_request", "colour"},
		{`{` + ok + `, "tls": {"colour": "red"}}`, "invalid_request", "tls.colour"},
		{`{` + ok + `, "port": 80}`, "invalid_monitor", "port"},
		{`{` + ok + `, "interval": "11s"}`, "invalid_monitor", "interval"},
		{`{` + ok + `, "interval": "eleven"}`, "invalid_request", "interval"},
		{`{` + ok + `, "timeout": "30s"}`, "invalid_monitor", "timeout"},
		{`{` + ok + `, "timeout": "99ms"}`, "invalid_monitor", "timeout"},
		{`{` + ok + `, "timeout": "61s", "interval": "2m"}`, "invalid_monitor", "timeout"},
		{`{` + ok + `, "timeout": "1000500us"}`, "invalid_monitor", "timeout"},
		{`{` + ok + `, "degraded_after": "10s"}`, "invalid_monitor", "degraded_after"},
		{`{` + ok + `, "failure_threshold": 21}`, "invalid_monitor", "failure_threshold"},
		{`{` + ok + `, "recovery_threshold": 0}`, "invalid_request", "recovery_threshold"},
		{`{` + ok + `, "slo": {"target": 1}}`, "invalid_monitor", "slo.target"},
		{`{` + ok + `, "slo": {"target": 0}}`, "invalid_monitor", "slo.target"},
		{`{` + ok + `, "regions": ["eu", "EU"]}`, "invalid_monitor", "regions.1"},
		{`{` + ok + `, "regions": ["eu", "eu"]}`, "invalid_monitor", "regions.1"},
		{`{` + ok + `, "tags": ["a", ""]}`, "invalid_monitor", "tags.1"},
		{`{` + ok + `, "tags": ["` + strings.Repeat("a", 65) + `"]}`, "invalid_monitor", "tags.0"},
		{`{` + ok + `, "assert": "bad("}`, "invalid_monitor", "assert"},
		{`{"name": "x", "kind": "heartbeat", "expected": {"cron": "bad"}}`, "invalid_monitor", "expected.cron"},
		{`{"name": "x", "kind": "heartbeat"}`, "invalid_monitor", "expected"},
	} {
		b.refused(http.MethodPost, "/v1/monitors", tt.body, tt.code, tt.field)
	}
	require.Empty(t, b.store.monitors)
	many := b.do(http.MethodPost, "/v1/monitors", `{`+ok+`, "timeout": "1ms", "failure_threshold": 99}`, http.StatusUnprocessableEntity)
	require.Len(t, many["errors"], 2)
}

const withSecrets = `{"name": "Shop", "kind": "http", "url": "https://shop.example/", "headers": {"Accept": "text/html", "X-Api-Key": "k1"},
	"auth": {"username": "joe", "password": "p1"}, "tags": ["a", "b"], "slo": {"target": 0.99}, "timeout": "5s", "degraded_after": "2s"}`

func (b *bundle) stored(v object) check.Spec {
	id := uuid.MustParse(v["id"].(string))
	return b.store.monitors[id].Spec
}

func TestAPatchIsMerged(t *testing.T) {
	t.Parallel()
	b := setup(t)
	v := b.do(http.MethodPost, "/v1/monitors", withSecrets, http.StatusCreated)
	path := fmt.Sprint("/v1/monitors/", v["id"])
	require.Equal(t, object{"Accept": "text/html", "X-Api-Key": "***"}, v["headers"])
	require.Equal(t, object{"username": "joe", "password": "***"}, v["auth"])

	v = b.do(http.MethodPatch, path, `{"headers": {"Accept": null, "X-Other": "o"}, "tags": ["c"], "slo": null, "degraded_after": null, "timeout": null}`, http.StatusOK)
	require.Equal(t, object{"X-Api-Key": "***", "X-Other": "o"}, v["headers"])
	require.Equal(t, []any{"c"}, v["tags"])
	require.NotContains(t, v, "slo")
	require.NotContains(t, v, "degraded_after")
	require.Equal(t, "10s", v["timeout"], "null brings the default back")
	spec := b.stored(v)
	require.Equal(t, "k1", spec.Headers["X-Api-Key"], "what is hidden stays")
	require.Equal(t, "p1", spec.Auth.Password)

	v = b.do(http.MethodPatch, path, `{"auth": {"password": "p2"}, "max_redirects": 0}`, http.StatusOK)
	require.Equal(t, &check.Auth{Username: "joe", Password: "p2"}, b.stored(v).Auth)
	require.Equal(t, 0.0, v["max_redirects"])
	require.Equal(t, v, b.do(http.MethodPatch, path, `{}`, http.StatusOK), "no new version")
}

func TestAPatchIsJudgedAsAWholeBodyIs(t *testing.T) {
	t.Parallel()
	b := setup(t)
	v := b.do(http.MethodPost, "/v1/monitors", withSecrets, http.StatusCreated)
	path := fmt.Sprint("/v1/monitors/", v["id"])
	for _, tt := range []struct{ body, code, field string }{
		{`{"colour": "red"}`, "invalid_request", "colour"},
		{`{"id": "0190f0a4-0000-7000-8000-00000000000b"}`, "invalid_request", "id"},
		{`{"Name": "x"}`, "invalid_request", "Name"},
		{`{"tls": {"colour": "red"}}`, "invalid_request", "tls.colour"},
		{`{"name": null}`, "invalid_request", "name"},
		{`{"name": 7}`, "invalid_request", "name"},
		{`{"interval": "soon"}`, "invalid_request", "interval"},
		{`{"expect_body": [{"contains": 1}]}`, "invalid_request", "expect_body.0.contains"},
		{`{"kind": "tcp"}`, "invalid_monitor", "kind"},
		{`{"host": "x.example"}`, "invalid_monitor", "host"},
		{`{"timeout": "30s"}`, "invalid_monitor", "timeout"},
	} {
		b.refused(http.MethodPatch, path, tt.body, tt.code, tt.field)
	}
	require.Equal(t, v, b.do(http.MethodGet, path, "", http.StatusOK))
	require.Equal(t, "malformed_request", b.do(http.MethodPatch, path, `{`, http.StatusBadRequest)["code"])
	b.do(http.MethodPatch, "/v1/monitors/0190f0a4-0000-7000-8000-00000000000b", `{}`, http.StatusNotFound)
}

func TestPutReplacesAll(t *testing.T) {
	t.Parallel()
	b := setup(t)
	v := b.do(http.MethodPost, "/v1/monitors", withSecrets, http.StatusCreated)
	path := fmt.Sprint("/v1/monitors/", v["id"])
	b.refused(http.MethodPut, path, `{"name": "x", "kind": "tcp", "host": "x.example", "port": 1}`, "invalid_monitor", "kind")

	b.refused(http.MethodPut, path, `{"name": "Shop", "kind": "http", "url": "https://new.example/", "auth": {"username": "joe", "password": "***"}}`, "invalid_monitor", "auth.password")
	v = b.do(http.MethodPut, path, `{"name": "Shop", "kind": "http", "url": "https://shop.example/new", "auth": {"username": "joe", "password": "***"}}`, http.StatusOK)
	require.Equal(t, []any{}, v["tags"])
	require.NotContains(t, v, "slo")
	require.NotContains(t, v, "headers")
	require.Equal(t, "10s", v["timeout"])
	require.Equal(t, "p1", b.stored(v).Auth.Password)
}

func TestPauseAndResume(t *testing.T) {
	t.Parallel()
	b := setup(t)
	v := b.do(http.MethodPost, "/v1/monitors", withSecrets, http.StatusCreated)
	path := fmt.Sprint("/v1/monitors/", v["id"])
	for i, step := range []struct {
		route  string
		paused bool
	}{{"/pause", true}, {"/pause", true}, {"/resume", false}, {"/resume", false}} {
		v = b.do(http.MethodPost, path+step.route, "", http.StatusOK)
		require.Equal(t, step.paused, v["paused"])
		require.Equal(t, float64(2+i/2), v["version"], "again is no change")
	}
}

func TestACheckNowShowsEverything(t *testing.T) {
	t.Parallel()
	b := setup(t)
	v := b.do(http.MethodPost, "/v1/monitors", withSecrets, http.StatusCreated)
	b.result = check.Result{
		Outcome: check.Down, Cause: check.CauseStatus, Detail: "503", StartedAt: time.Unix(1, 0), Duration: 1500 * time.Microsecond, Status: 503, IP: "192.0.2.1",
		Phases: check.Phases{Connect: time.Millisecond}, Evidence: &check.Evidence{Hops: []check.Hop{{URL: "https://shop.example/", Status: 503}}, Header: map[string][]string{"Server": {"x"}}, Body: "oops"},
	}
	got := b.do(http.MethodPost, fmt.Sprint("/v1/monitors/", v["id"], "/check"), "", http.StatusOK)
	want := `{"outcome": "down", "cause": "status", "detail": "503", "started_at": "1970-01-01T00:00:01Z", "duration": "1.5ms", "phases": {"connect": "1ms"}, "status_code": 503, "ip": "192.0.2.1",
		"evidence": {"hops": [{"url": "https://shop.example/", "status_code": 503}], "headers": {"Server": ["x"]}, "body": "oops"}}`
	text, err := json.Marshal(got)
	require.NoError(t, err)
	require.JSONEq(t, want, string(text))

	beat := b.do(http.MethodPost, "/v1/monitors", `{"name": "Backup", "kind": "heartbeat", "expected": {"every": "1h"}}`, http.StatusCreated)
	problem := b.do(http.MethodPost, fmt.Sprint("/v1/monitors/", beat["id"], "/check"), "", http.StatusConflict)
	require.Equal(t, "heartbeat_is_not_checked", problem["code"])
}

func TestAPreviewStoresNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const path = "/v1/monitors/preview"
	v := b.do(http.MethodPost, path, `{"name": "Shop", "kind": "http", "url": "https://shop.example/"}`, http.StatusOK)
	require.Equal(t, "30s", v["monitor"].(map[string]any)["interval"])
	require.Equal(t, false, v["secrets_changed"])
	b.refused(http.MethodPost, path, `{"name": "Shop", "kind": "http", "url": "https://shop.example/", "interval": "45s"}`, "invalid_monitor", "interval")

	stored := b.do(http.MethodPost, "/v1/monitors", withSecrets, http.StatusCreated)
	again := fmt.Sprint(path, "?id=", stored["id"])
	require.Equal(t, false, b.do(http.MethodPost, again, withSecrets, http.StatusOK)["secrets_changed"])
	require.Equal(t, true, b.do(http.MethodPost, path, withSecrets, http.StatusOK)["secrets_changed"])
	b.refused(http.MethodPost, again, `{"name": "x", "kind": "tcp", "host": "x.example", "port": 1}`, "invalid_monitor", "kind")
	b.do(http.MethodPost, path+"?id=0190f0a4-0000-7000-8000-00000000000b", withSecrets, http.StatusNotFound)
}
