package httpapi_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/services/monitor/internal/alert"
)

func TestChannels(t *testing.T) {
	t.Parallel()
	b := setup(t)
	v := b.do(http.MethodPost, "/v1/alert-channels", `{"name": "On call", "kind": "email", "email": {"to": ["ops@example.com"]}}`, http.StatusCreated)
	require.Equal(t, object{"to": []any{"ops@example.com"}}, v["email"])
	b.do(http.MethodPost, fmt.Sprint("/v1/alert-channels/", v["id"], "/test"), "", http.StatusNoContent)
	require.Equal(t, b.store.channels, b.tested)
	b.refused(http.MethodPost, "/v1/alert-channels", `{"name": "x", "kind": "email", "email": {"to": ["ops"]}}`, "invalid_channel", "email.to.0")
	b.refused(http.MethodPost, "/v1/alert-channels", `{"name": "x", "kind": "email", "email": {"to": []}}`, "invalid_channel", "email.to")
	b.refused(http.MethodPost, "/v1/alert-channels", `{"name": "x", "kind": "email"}`, "invalid_request", "email")
	b.refused(http.MethodPost, "/v1/alert-channels", `{"name": "x", "kind": "pager", "email": {"to": []}}`, "invalid_request", "kind")
}

func TestPolicies(t *testing.T) {
	t.Parallel()
	b := setup(t)
	channel := uuid.MustParse("0190f0a4-0000-7000-8000-00000000000c")
	v := b.do(http.MethodPost, "/v1/alert-policies", fmt.Sprintf(`{"name": "All", "steps": [{"channels": [%q]}]}`, channel), http.StatusCreated)
	require.Equal(t, "30s", v["group_for"])
	require.Equal(t, true, v["on_resolve"])
	require.NotContains(t, v, "trigger")
	require.NotContains(t, v, "match")
	v = b.do(http.MethodPost, "/v1/alert-policies", fmt.Sprintf(`{"name": "Web", "match": {"tags": ["web"]}, "trigger": {"after": "5m", "failures": 3}, "steps": [{"delay": "1m", "channels": [%q]}],
		"reminder": "1h", "group_for": "0s", "on_resolve": false}`, channel), http.StatusCreated)
	require.Equal(t, alert.Policy{
		ID: uuid.MustParse(v["id"].(string)), Name: "Web", Match: alert.Match{Tags: []string{"web"}}, Trigger: alert.Trigger{Failures: 3, After: 5 * time.Minute},
		Steps: []alert.Step{{Delay: time.Minute, Channels: []uuid.UUID{channel}}}, Reminder: time.Hour,
	}, b.store.policies[1])
	b.refused(http.MethodPost, "/v1/alert-policies", `{"name": "x", "steps": []}`, "invalid_alert_policy", "steps")
	b.refused(http.MethodPost, "/v1/alert-policies", `{"name": "x", "steps": [{"channels": [7]}]}`, "invalid_request", "steps.0.channels.0")
}

func TestMaintenanceWindows(t *testing.T) {
	t.Parallel()
	b := setup(t)
	v := b.do(http.MethodPost, "/v1/maintenance-windows", `{"name": "Backups", "tags": ["db"], "rrule": "FREQ=DAILY", "start": "2026-01-01T02:30:00", "duration": "1h", "time_zone": "Europe/Berlin"}`, http.StatusCreated)
	require.Len(t, v["occurrences"], 5)
	require.Equal(t, "FREQ=DAILY", v["rrule"])
	require.NotContains(t, v, "starts_at")
	now := time.Now().UTC().Truncate(time.Second)
	v = b.do(http.MethodPost, "/v1/maintenance-windows", fmt.Sprintf(`{"name": "Move", "starts_at": %q, "ends_at": %q}`, now.Add(-time.Hour).Format(time.RFC3339), now.Add(time.Hour).Format(time.RFC3339)), http.StatusCreated)
	require.Equal(t, true, v["active"])
	require.Equal(t, now.Add(time.Hour), b.store.windows[1].When.EndsAt.UTC())
	b.refused(http.MethodPost, "/v1/maintenance-windows", `{"name": "x"}`, "invalid_maintenance", "starts_at")
	b.refused(http.MethodPost, "/v1/maintenance-windows", `{"name": "", "cron": "0 3 * * *", "duration": "1h"}`, "invalid_maintenance", "name")
}
