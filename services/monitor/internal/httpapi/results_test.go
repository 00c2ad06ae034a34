package httpapi_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/services/monitor/internal/ledger"
)

const someMonitor = "/v1/monitors/0190f0a4-0000-7000-8000-00000000000b"

func TestUptimeAndItsBudget(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var asked []ledger.Range
	b.store.times = func(ranges []ledger.Range) ([]ledger.Times, float64) {
		asked = ranges
		return []ledger.Times{
			{Up: 990 * time.Second, Down: 10 * time.Second, Maintenance: time.Hour, Unknown: 1500 * time.Millisecond},
			{Up: 50 * time.Second, Degraded: 40 * time.Second, Down: 10 * time.Second}, {Up: time.Second}, {Paused: time.Hour},
		}, 0.98
	}
	v := b.do(http.MethodGet, someMonitor+"/uptime?from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00%2B01:00", "", http.StatusOK)
	require.Equal(t, object{"up": 990.0, "degraded": 0.0, "down": 10.0, "maintenance": 3600.0, "unknown": 1.5, "paused": 0.0}, v["seconds"])
	require.Equal(t, 0.99, v["ratio"])
	slo := v["slo"].(object)
	require.InDelta(t, 20, slo["budget_seconds"], 1e-6)
	require.InDelta(t, 10, slo["budget_left_seconds"], 1e-6)
	burn := slo["burn_rate"].(object)
	require.InDelta(t, 5, burn["1h"], 1e-9)
	require.Equal(t, 0.0, burn["6h"])
	require.Nil(t, burn["3d"])
	to := time.Date(2026, 1, 1, 23, 0, 0, 0, time.UTC)
	require.Equal(t, []ledger.Range{{From: to.Add(-23 * time.Hour), To: to}, {From: to.Add(-time.Hour), To: to}, {From: to.Add(-6 * time.Hour), To: to}, {From: to.Add(-72 * time.Hour), To: to}}, asked)

	b.store.times = func(ranges []ledger.Range) ([]ledger.Times, float64) {
		asked = ranges
		return make([]ledger.Times, 4), 0
	}
	v = b.do(http.MethodGet, someMonitor+"/uptime?to=2999-01-01T00:00:00Z", "", http.StatusOK)
	require.Nil(t, v["ratio"])
	require.Contains(t, v, "ratio")
	require.NotContains(t, v, "slo")
	require.WithinDuration(t, time.Now(), asked[0].To, time.Minute, "nothing is known of the future")
	require.Equal(t, 30*24*time.Hour, asked[0].To.Sub(asked[0].From))
}

func TestRangesThatAreRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, route := range []string{"/uptime", "/latency", "/schedule", "/intervals"} {
		for _, query := range []string{"from=2999-01-01T00:00:00Z", "from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", "from=2010-01-01T00:00:00Z"} {
			b.refused(http.MethodGet, someMonitor+route+"?"+query, "", "invalid_range", "from")
		}
	}
	b.refused(http.MethodGet, someMonitor+"/latency?step=5m&from=2026-01-01T00:00:00Z&to=2026-01-09T00:00:00Z", "", "invalid_range", "step")
	b.refused(http.MethodGet, someMonitor+"/latency?step=7m", "", "invalid_request", "step")
}

func TestLatencyIsASeriesAndAWhole(t *testing.T) {
	t.Parallel()
	b := setup(t)
	at := time.Date(2026, 1, 1, 10, 0, 0, 0, time.UTC)
	b.store.rollups = func([]ledger.Span) []ledger.Rollup {
		var list []ledger.Rollup
		for i, d := range []time.Duration{10 * time.Millisecond, 10 * time.Millisecond, 3 * time.Second} {
			r := ledger.Rollup{Bucket: at.Add(time.Duration(i) * 40 * time.Minute), Up: 1, Missed: int64(i), Duration: d}
			r.Latency.Add(d)
			list = append(list, r)
		}
		return append(list, ledger.Rollup{Bucket: at.Add(5 * time.Hour), Down: 1})
	}
	v := b.do(http.MethodGet, someMonitor+"/latency?step=1h&from=2026-01-01T10:02:00Z&to=2026-01-01T15:59:00Z", "", http.StatusOK)
	require.Equal(t, "2026-01-01T10:00:00Z", v["from"])
	require.Equal(t, "2026-01-01T16:00:00Z", v["to"])
	require.Equal(t, 3.0, v["answers"])
	require.Equal(t, "1.006667s", v["mean"])
	series := v["series"].([]any)
	require.Len(t, series, 3)
	require.Equal(t, 2.0, series[0].(object)["up"])
	require.Equal(t, "10ms", series[0].(object)["mean"])
	require.Equal(t, "2026-01-01T11:00:00Z", series[1].(object)["at"])
	require.Nil(t, series[2].(object)["p99"])
	require.Contains(t, series[2], "p99")
}

func TestIntervalsArePagedByTheirStart(t *testing.T) {
	t.Parallel()
	b := setup(t)
	at := time.Date(2026, 1, 1, 10, 0, 0, 123456000, time.UTC)
	b.store.intervals = func(f ledger.IntervalFilter) []ledger.Interval {
		if f.Before.IsZero() {
			return []ledger.Interval{{Status: "up", Start: at.Add(time.Hour)}, {Status: "down", Cause: "dns", Start: at, End: at.Add(time.Hour)}, {Status: "unknown", Start: at.Add(-time.Hour), End: at}}
		}
		require.Equal(t, at, f.Before)
		return []ledger.Interval{{Status: "unknown", Start: at.Add(-time.Hour), End: at}}
	}
	v := b.do(http.MethodGet, someMonitor+"/intervals?limit=2&from=2026-01-01T00:00:00Z", "", http.StatusOK)
	list := v["data"].([]any)
	require.Len(t, list, 2)
	require.Equal(t, object{"status": "up", "started_at": "2026-01-01T11:00:00.123456Z", "ended_at": nil}, list[0])
	require.Equal(t, "1h0m0s", list[1].(object)["duration"])
	v = b.do(http.MethodGet, fmt.Sprint(someMonitor, "/intervals?limit=2&from=2026-01-01T00:00:00Z&cursor=", v["next_cursor"]), "", http.StatusOK)
	require.Len(t, v["data"], 1)
	require.NotContains(t, v, "next_cursor")
}

func TestScheduleIsCountedAndSaysWhatComes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.store.rollups = func([]ledger.Span) []ledger.Rollup {
		r := ledger.Rollup{Up: 90, Degraded: 1, Down: 5, NotChecked: 2, Missed: 2, Late: 3}
		r.Lag.Add(2 * time.Millisecond)
		return []ledger.Rollup{r}
	}
	m := b.do(http.MethodPost, "/v1/monitors", withSecrets, http.StatusCreated)
	path := fmt.Sprint("/v1/monitors/", m["id"])
	v := b.do(http.MethodGet, path+"/schedule", "", http.StatusOK)
	for field, want := range (object{"promised": 100.0, "checked": 96.0, "not_checked": 2.0, "missed": 2.0, "late": 3.0, "ratio": 0.96}) {
		require.Equal(t, want, v[field], field)
	}
	next, err := time.Parse(time.RFC3339Nano, v["next_slot_at"].(string))
	require.NoError(t, err)
	require.WithinRange(t, next, time.Now().Add(-time.Second), time.Now().Add(30*time.Second))
	stored := b.store.monitors[uuid.MustParse(m["id"].(string))]
	require.Equal(t, next, stored.Schedule().At(stored.Schedule().Slot(next)), "it is one of its slots")
	b.do(http.MethodPost, path+"/pause", "", http.StatusOK)
	require.Nil(t, b.do(http.MethodGet, path+"/schedule", "", http.StatusOK)["next_slot_at"])
}
