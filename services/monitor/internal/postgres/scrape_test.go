package postgres

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/postgres"
	"github.com/beaconpost/beaconpost/pkg/tenant"
	"github.com/beaconpost/beaconpost/services/monitor/internal/calendar"
	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
	"github.com/beaconpost/beaconpost/services/monitor/internal/ledger"
	"github.com/beaconpost/beaconpost/services/monitor/internal/monitor"
	"github.com/beaconpost/beaconpost/services/monitor/internal/verdict"
)

// inBackground runs fn as the service's own work.
func (b *tenancyBench) inBackground(fn func(ctx context.Context, q postgres.Querier) error) {
	b.t.Helper()
	require.NoError(b.t, b.background.db.As(b.t.Context(), postgres.RoleMonitor, fn))
}

func (b *tenancyBench) samples(t tenant.ID, f ledger.SampleFilter, now time.Time) []ledger.Sample {
	b.t.Helper()
	if f.Limit == 0 {
		f.Limit = 100
	}
	list, err := b.store.Samples(b.t.Context(), t, f, now)
	require.NoError(b.t, err)
	return list
}

func TestSamplesShowTheLastCheckOfEachRegion(t *testing.T) {
	t.Parallel()
	b := openTenancy(t)
	id := b.monitor("x")
	b.exec(`UPDATE monitors SET regions = '{eu,us,ap,sa}'`)
	now := time.Now()
	schedule := calendar.ScheduleOf(id, 30*time.Second)
	m := &monitor.Monitor{Key: monitor.Key{Tenant: b.acme, ID: id}, Interval: 30 * time.Second}
	last := schedule.Slot(now)
	finding := func(region string, ago int64, confirmation int, outcome check.Outcome, took time.Duration) *monitor.Finding {
		f := &monitor.Finding{Monitor: m, Region: region, Slot: last - ago, Confirmation: confirmation}
		f.Result = check.Result{Outcome: outcome, StartedAt: schedule.At(last - ago), Duration: took, Phases: check.Phases{Connect: time.Millisecond}, Status: 200}
		return f
	}
	b.inBackground(func(ctx context.Context, q postgres.Querier) error {
		_, err := storeChecks(ctx, q, []*monitor.Finding{
			finding("eu", 1, 0, check.Down, time.Second), finding("eu", 0, 0, check.Degraded, 2*time.Second), finding("eu", 0, 1, check.Down, 3*time.Second),
			finding("us", 1, 0, check.Up, time.Second), finding("us", 0, 0, check.NotChecked, 2*time.Second),
			finding("ap", 5, 0, check.Up, time.Second), // silent since
			finding("elsewhere", 0, 0, check.Up, time.Second),
		})
		return err
	})
	got := b.samples(b.acme, ledger.SampleFilter{}, now)[0].Last
	slices.SortFunc(got, func(a, b ledger.Check) int { return int(b.Duration - a.Duration) })
	require.Equal(t, []ledger.Check{
		{Monitor: id, Region: "eu", Result: check.Result{Outcome: check.Degraded, StartedAt: schedule.At(last), Duration: 2 * time.Second, Phases: check.Phases{Connect: time.Millisecond}, Status: 200}},
		{Monitor: id, Region: "us", Result: check.Result{Outcome: check.Up, StartedAt: schedule.At(last - 1), Duration: time.Second, Phases: check.Phases{Connect: time.Millisecond}, Status: 200}},
	}, got)
}

func TestSamplesOfHeartbeatsShowWhatTheirCallsSay(t *testing.T) {
	t.Parallel()
	b := openTenancy(t)
	b.monitor("x")
	b.exec(`UPDATE monitors SET kind = 'heartbeat', token = repeat('x', 32)`)
	calledAt := time.Now().AddDate(0, 0, -40).UTC().Truncate(time.Microsecond)
	last := func(status, now verdict.Status, at time.Time) []ledger.Check {
		state, err := json.Marshal(verdict.State{Status: status, Verdict: now, Heart: verdict.Heart{At: at}})
		require.NoError(t, err)
		b.exec(`UPDATE monitor_states SET status = $1, state = $2`, string(status), string(state))
		return b.samples(b.acme, ledger.SampleFilter{}, time.Now())[0].Last
	}
	require.Empty(t, last(verdict.Unknown, verdict.Unknown, time.Time{}), "it was never called")
	require.Empty(t, last(verdict.Paused, verdict.Up, calledAt))
	for status, now := range map[verdict.Status]verdict.Status{verdict.Up: verdict.Up, verdict.Down: verdict.Down, verdict.Maintenance: verdict.Down} {
		got := last(status, now, calledAt)
		require.Len(t, got, 1)
		require.Equal(t, "heartbeat", got[0].Region)
		require.Equal(t, check.Result{Outcome: check.Outcome(now), StartedAt: calledAt}, got[0].Result)
	}
}

func TestSamplesSumUpWindowsAsUptimeDoes(t *testing.T) {
	t.Parallel()
	b := openTenancy(t)
	now := time.Now().UTC().Truncate(time.Microsecond)
	statuses := []string{"up", "degraded", "down", "maintenance", "unknown", "paused"}
	random := rand.New(rand.NewPCG(3, 4))
	ids := []uuid.UUID{b.monitor("long"), b.monitor("short"), b.monitor("new")}
	b.exec(`DELETE FROM monitor_intervals`)
	for i, days := range []int{60, 3, 0} {
		at := now.AddDate(0, 0, -days)
		for at.Before(now) {
			end := at.Add(time.Duration(random.Int64N(int64(4 * day))))
			var ended *time.Time
			if end.Before(now) {
				ended = &end
			}
			b.exec(`INSERT INTO monitor_intervals (tenant_id, monitor_id, started_at, ended_at, status) VALUES ($1, $2, $3, $4, $5)`, b.acme.UUID(), ids[i], at, ended, statuses[random.IntN(6)])
			at = end.Truncate(time.Microsecond)
		}
	}
	var ranges []ledger.Range
	for _, w := range ledger.SampleWindows() {
		ranges = append(ranges, ledger.Range{From: now.Add(-w.Length), To: now})
	}
	for i, s := range b.samples(b.acme, ledger.SampleFilter{}, now) {
		want, _, err := b.store.Times(t.Context(), b.acme, ids[i], ranges)
		require.NoError(t, err)
		if i == 2 {
			want = nil
		}
		require.Equal(t, want, s.Windows)
	}
}

func TestSamplesCountIncidentsOfChecks(t *testing.T) {
	t.Parallel()
	b := openTenancy(t)
	id := b.monitor("x")
	b.monitor("y")
	for i, cause := range []string{"dns", "timeout", "dns"} {
		b.exec(`INSERT INTO incidents (tenant_id, id, monitor_id, title, cause, opened_at, resolved_at) VALUES ($1, $2, $3, 'x', $4, now(), CASE WHEN $5 > 0 THEN now() END)`, b.acme.UUID(), newID(), id, cause, i)
	}
	require.NoError(t, b.store.Open(t.Context(), b.acme, &ledger.Incident{ID: newID(), Monitor: &id, Title: "by hand", Severity: "minor"}))
	got := b.samples(b.acme, ledger.SampleFilter{}, time.Now())
	require.Equal(t, map[check.Cause]int64{check.CauseDNS: 2, check.CauseTimeout: 1}, got[0].Failures)
	require.Empty(t, got[1].Failures)
}

func TestSamplesAreNarrowed(t *testing.T) {
	t.Parallel()
	b := openTenancy(t)
	b.monitor("a", "web")
	b.monitor("b", "web", "eu")
	gone := b.monitor("c", "web")
	require.NoError(t, b.store.Delete(t.Context(), b.acme, gone))
	project := newID()
	b.exec(`INSERT INTO projects (tenant_id, id, name) VALUES ($1, $2, 'p')`, b.acme.UUID(), project)
	b.exec(`UPDATE monitors SET project_id = $1 WHERE name = 'a'`, project)
	names := func(owner tenant.ID, f ledger.SampleFilter) (list []string) {
		for _, s := range b.samples(owner, f, time.Now()) {
			list = append(list, s.Name)
		}
		return list
	}
	require.Equal(t, []string{"a", "b"}, names(b.acme, ledger.SampleFilter{}))
	require.Equal(t, []string{"b"}, names(b.acme, ledger.SampleFilter{Tag: "eu"}))
	require.Equal(t, []string{"a"}, names(b.acme, ledger.SampleFilter{Project: &project}))
	require.Empty(t, names(b.evil, ledger.SampleFilter{}))
	list := b.samples(b.acme, ledger.SampleFilter{Limit: 1}, time.Now())
	require.Len(t, list, 2, "one more than the limit")
	require.Nil(t, list[0].Windows)
}

func count(t *ledger.Tally, outcome check.Outcome) {
	switch outcome {
	case check.Up:
		t.Up++
	case check.Degraded:
		t.Degraded++
	case check.Down:
		t.Down++
	case check.NotChecked:
		t.NotChecked++
	}
}

// For days, with rollups that are made late and retention at work, the totals are those of the checks, to the last one.
func TestTalliesNeverGoDown(t *testing.T) {
	t.Parallel()
	const days = 9
	b := openTenancy(t)
	id := b.monitor("x")
	m := &monitor.Monitor{Key: monitor.Key{Tenant: b.acme, ID: id}}
	end := time.Now().UTC()
	now := end.Truncate(day).AddDate(0, 0, -days)
	b.exec(`SELECT beaconpost_ensure_monitor_partitions($1, $2)`, now, end.AddDate(0, 0, 1))
	random := rand.New(rand.NewPCG(5, 6))
	outcomes := []check.Outcome{check.Up, check.Degraded, check.Down, check.NotChecked}
	want := map[string]*ledger.Tally{"eu": {Region: "eu"}, "us": {Region: "us"}}
	rolledUp := false
	for now.Before(end) {
		rows := rollups{}
		next := now.Add(time.Duration(1+random.IntN(90)) * time.Minute)
		for at := now; at.Before(next) && at.Before(end); at = at.Add(time.Duration(1+random.IntN(600)) * time.Second) {
			region := []string{"eu", "us"}[random.IntN(2)]
			outcome := outcomes[random.IntN(4)]
			f := &monitor.Finding{Monitor: m, Region: region, Result: check.Result{Outcome: outcome}}
			rows.of(m, region, at).add(f)
			count(want[region], outcome)
		}
		now = next
		b.inBackground(func(ctx context.Context, q postgres.Querier) error {
			batch := &pgx.Batch{}
			rows.store(batch, now)
			return q.SendBatch(ctx, batch).Close()
		})
		if random.IntN(3) == 0 {
			require.NoError(t, b.background.RollUp(t.Context(), now, 2*day, 4*day))
			rolledUp = true
		}
		if rolledUp {
			b.exec(`DELETE FROM monitor_rollups WHERE step = '5m' AND bucket < $1`, now.AddDate(0, 0, -3).Truncate(day))
			b.exec(`DELETE FROM monitor_rollups WHERE step = '1h' AND bucket < $1`, now.AddDate(0, 0, -5).Truncate(day))
		}
		got := b.samples(b.acme, ledger.SampleFilter{}, now)[0].Tallies
		for _, tally := range got {
			require.Equal(t, *want[tally.Region], tally, now)
		}
	}
	require.Greater(t, want["eu"].Up, int64(100))
}
