package postgres

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/postgres"
	"github.com/beaconpost/beaconpost/pkg/tenant"
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

func (b *tenancyBench) record(findings ...*monitor.Finding) {
	b.t.Helper()
	_, err := b.background.Record(b.t.Context(), findings)
	require.NoError(b.t, err)
}

func TestSamplesShowTheLastCheckOfEachRegion(t *testing.T) {
	t.Parallel()
	b := openTenancy(t)
	id := b.monitor("x")
	b.exec(`UPDATE monitors SET regions = '{eu,us,ap,sa}'`)
	now := time.Now().UTC().Truncate(time.Microsecond)
	ends := now.AddDate(0, 0, 30).Truncate(time.Second)
	finding := func(region string, ago time.Duration, confirmation int, outcome check.Outcome, took time.Duration) *monitor.Finding {
		f := b.finding(id, now.Add(-ago), outcome)
		f.Region, f.Confirmation = region, confirmation
		f.Duration, f.Phases, f.Status, f.CertEnds = took, check.Phases{Connect: time.Millisecond}, 200, ends
		return f
	}
	b.record(
		finding("eu", time.Minute, 0, check.Down, time.Second), finding("eu", 0, 0, check.Degraded, 2*time.Second), finding("eu", 0, 1, check.Down, 3*time.Second),
		finding("us", time.Minute, 0, check.Up, time.Second), finding("us", 0, 0, check.NotChecked, 2*time.Second),
		finding("ap", 3*time.Minute, 0, check.Up, time.Second), // silent since
		finding("elsewhere", 0, 0, check.Up, time.Second),
	)
	last := func(outcome check.Outcome, ago, took time.Duration) *ledger.Last {
		return &ledger.Last{Outcome: outcome, StartedAt: now.Add(-ago), Duration: took, Phases: check.Phases{Connect: time.Millisecond}, Status: 200, CertEnds: ends}
	}
	require.Equal(t, map[string]ledger.Region{
		"eu": {Tally: ledger.Tally{Degraded: 1, Down: 1}, Last: last(check.Degraded, 0, 2*time.Second)},
		"us": {Tally: ledger.Tally{Up: 1, NotChecked: 1}, Last: last(check.Up, time.Minute, time.Second)},
		"ap": {Tally: ledger.Tally{Up: 1}},
	}, b.samples(b.acme, ledger.SampleFilter{}, now)[0].Regions)
	w, err := b.store.Monitor(t.Context(), b.acme, id)
	require.NoError(t, err)
	require.Equal(t, ends, w.CertEnds)

	// What a region said that is not asked any more is forgotten.
	b.exec(`UPDATE monitors SET regions = '{us}', version = version + 1`)
	b.record(finding("us", -30*time.Second, 0, check.Up, time.Second))
	require.Equal(t, map[string]ledger.Region{"us": {Tally: ledger.Tally{Up: 2, NotChecked: 1}, Last: last(check.Up, -30*time.Second, time.Second)}},
		b.samples(b.acme, ledger.SampleFilter{}, now)[0].Regions)
}

func TestSamplesOfHeartbeatsShowWhatTheirCallsSay(t *testing.T) {
	t.Parallel()
	b := openTenancy(t)
	b.monitor("x")
	b.exec(`UPDATE monitors SET kind = 'heartbeat', token = repeat('x', 32), spec = '{"kind": "heartbeat", "expected": {"every": "24h"}}'`)
	calledAt := time.Now().AddDate(0, 0, -40).UTC().Truncate(time.Microsecond)
	calls := func(status, now verdict.Status, at time.Time) map[string]ledger.Region {
		state, err := json.Marshal(verdict.State{Status: status, Verdict: now, Heart: verdict.Heart{At: at}})
		require.NoError(t, err)
		b.exec(`UPDATE monitor_states SET status = $1, state = $2`, string(status), string(state))
		return b.samples(b.acme, ledger.SampleFilter{}, time.Now())[0].Regions
	}
	require.Empty(t, calls(verdict.Unknown, verdict.Unknown, time.Time{}), "it was never called")
	require.Empty(t, calls(verdict.Paused, verdict.Up, calledAt))
	for status, now := range map[verdict.Status]verdict.Status{verdict.Up: verdict.Up, verdict.Down: verdict.Down, verdict.Maintenance: verdict.Down} {
		require.Equal(t, map[string]ledger.Region{"heartbeat": {Last: &ledger.Last{Outcome: check.Outcome(now), StartedAt: calledAt}}}, calls(status, now, calledAt))
	}
	calls(verdict.Up, verdict.Up, calledAt)
	for _, call := range []verdict.Beat{{Kind: verdict.BeatStart}, {Kind: verdict.BeatSuccess}, {Kind: verdict.BeatSuccess}, {Kind: verdict.BeatFail}} {
		require.NoError(t, b.background.Beat(t.Context(), strings.Repeat("x", 32), call, ""))
	}
	got := b.samples(b.acme, ledger.SampleFilter{}, time.Now())[0]
	require.Equal(t, ledger.Tally{Up: 2, Down: 1}, got.Regions["heartbeat"].Tally)
	require.Equal(t, check.Down, got.Regions["heartbeat"].Last.Outcome)
	require.Equal(t, map[check.Cause]int64{check.CauseReported: 1}, got.Failures)
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
	now := time.Now()
	say := func(slot int, outcome check.Outcome, cause check.Cause) {
		f := b.finding(id, now.Add(time.Duration(slot-60)*30*time.Second), outcome)
		f.Cause = cause
		b.record(f)
	}
	slot := 0
	for _, cause := range []check.Cause{check.CauseDNS, check.CauseTimeout, check.CauseDNS} {
		for range 3 {
			slot++
			say(slot, check.Down, cause)
		}
		b.exec(`UPDATE monitor_states SET state = state - 'flaps' - 'flapping'`)
		for range 2 {
			slot++
			say(slot, check.Up, "")
		}
	}
	require.NoError(t, b.store.Open(t.Context(), b.acme, &ledger.Incident{ID: newID(), Monitor: &id, Title: "by hand", Severity: "minor"}))
	b.exec(`DELETE FROM incidents WHERE NOT manual`) // as retention may
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

// Whatever comes late or again, counts of samples are those of the checks that are stored, and of the rollups.
func TestTalliesAreThoseOfTheChecks(t *testing.T) {
	t.Parallel()
	b := openTenancy(t)
	id := b.monitor("x")
	b.exec(`UPDATE monitors SET regions = '{eu,us}'`)
	random := rand.New(rand.NewPCG(5, 6))
	outcomes := []check.Outcome{check.Up, check.Degraded, check.Down, check.NotChecked}
	begin := time.Now().Add(-time.Hour)
	var before map[string]ledger.Region
	for range 60 {
		var batch []*monitor.Finding
		for range 1 + random.IntN(5) {
			f := b.finding(id, begin.Add(time.Duration(random.IntN(120))*30*time.Second), outcomes[random.IntN(4)])
			f.Region, f.Confirmation = []string{"eu", "us"}[random.IntN(2)], random.IntN(2)
			batch = append(batch, f)
		}
		b.record(batch...)
		got := b.samples(b.acme, ledger.SampleFilter{}, time.Now())[0].Regions
		for region, was := range before {
			for outcome, n := range byOutcome(was.Tally) {
				require.GreaterOrEqual(t, byOutcome(got[region].Tally)[outcome], n)
			}
		}
		before = got
	}
	for region, got := range before {
		var stored ledger.Tally
		b.inBackground(func(ctx context.Context, q postgres.Querier) error {
			return q.QueryRow(ctx, `SELECT sum(up), sum(degraded), sum(down), sum(not_checked) FROM monitor_rollups WHERE step = '5m' AND region = $1`, region).
				Scan(&stored.Up, &stored.Degraded, &stored.Down, &stored.NotChecked)
		})
		require.Equal(t, stored, got.Tally)
		require.Greater(t, stored.Up, int64(2))
	}
	require.Len(t, before, 2)
}

func byOutcome(t ledger.Tally) map[check.Outcome]int64 {
	return map[check.Outcome]int64{check.Up: t.Up, check.Degraded: t.Degraded, check.Down: t.Down, check.NotChecked: t.NotChecked}
}
