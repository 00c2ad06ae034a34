package postgres

import (
	"context"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/fault"
	"github.com/beaconpost/beaconpost/pkg/histogram"
	"github.com/beaconpost/beaconpost/pkg/postgres"
	"github.com/beaconpost/beaconpost/pkg/postgres/pgtest"
	"github.com/beaconpost/beaconpost/pkg/secretbox"
	"github.com/beaconpost/beaconpost/pkg/stream"
	"github.com/beaconpost/beaconpost/pkg/tenant"
	"github.com/beaconpost/beaconpost/services/monitor/internal/calendar"
	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
	"github.com/beaconpost/beaconpost/services/monitor/internal/ledger"
	"github.com/beaconpost/beaconpost/services/monitor/internal/monitor"
)

// tenancyBench is a database with two tenants.
type tenancyBench struct {
	t          *testing.T
	store      *Tenancy
	background *Store
	acme, evil tenant.ID
	exec       func(sql string, args ...any)
}

func openTenancy(t *testing.T) *tenancyBench {
	t.Helper()
	database := pgtest.New(t)
	db, err := postgres.Open(t.Context(), postgres.Config{URL: database.AppURL})
	require.NoError(t, err)
	t.Cleanup(db.Close)
	ring, err := secretbox.ParseKeyring("k1:" + base64.StdEncoding.EncodeToString(make([]byte, 32)))
	require.NoError(t, err)
	conn, err := pgx.Connect(t.Context(), database.URL("postgres"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	background, err := NewStore(db, ring, func(...stream.DeliveryReady) {}, zerolog.Nop())
	require.NoError(t, err)
	b := &tenancyBench{
		t: t, store: NewTenancy(db, ring), background: background, acme: tenant.ID(uuid.New()), evil: tenant.ID(uuid.New()),
		exec: func(sql string, args ...any) {
			t.Helper()
			_, err := conn.Exec(t.Context(), sql, args...)
			require.NoError(t, err)
		},
	}
	for _, id := range []tenant.ID{b.acme, b.evil} {
		b.exec(`INSERT INTO tenants (id, name) VALUES ($1, 'x')`, id.UUID())
	}
	return b
}

// monitor stores a monitor of acme.
func (b *tenancyBench) monitor(name string, tags ...string) uuid.UUID {
	b.t.Helper()
	m := &monitor.Monitor{
		Key: monitor.Key{Tenant: b.acme, ID: uuid.Must(uuid.NewV7())}, Name: name, Spec: check.Spec{Kind: check.HTTP, URL: "https://x.example/"}, Interval: 30 * time.Second,
		Timeout: 10 * time.Second, FailureThreshold: 3, RecoveryThreshold: 2, Regions: []string{"eu"}, Tags: tags, SLOTarget: 0.99,
	}
	require.NoError(b.t, b.store.Create(b.t.Context(), m))
	return m.ID
}

func TestUptimeIsExact(t *testing.T) {
	t.Parallel()
	b := openTenancy(t)
	id := b.monitor("x")
	b.exec(`DELETE FROM monitor_intervals`)
	t0 := time.Date(2026, 3, 29, 0, 0, 0, 0, time.UTC) // clocks change in Europe
	at := func(seconds float64) time.Time { return t0.Add(time.Duration(seconds * float64(time.Second))) }
	for _, i := range []struct {
		from, to float64 // to 0: the present one
		status   string
	}{{0, 100, "unknown"}, {100, 400, "up"}, {400, 400.000001, "degraded"}, {400.000001, 460.5, "down"}, {460.5, 500, "maintenance"}, {500, 600, "paused"}, {600, 86400 * 40, "up"}, {86400 * 40, 0, "down"}} {
		var end *time.Time
		if i.to != 0 {
			end = new(at(i.to))
		}
		b.exec(`INSERT INTO monitor_intervals (tenant_id, monitor_id, started_at, ended_at, status) VALUES ($1, $2, $3, $4, $5)`, b.acme.UUID(), id, at(i.from), end, i.status)
	}
	s := func(seconds float64) time.Duration {
		return time.Duration(seconds * float64(time.Second)).Round(time.Microsecond)
	}
	tests := []struct {
		from, to float64
		want     ledger.Times
	}{
		{-1000, 0, ledger.Times{}}, // before it was
		{-1000, 1, ledger.Times{Unknown: s(1)}},
		{0, 100, ledger.Times{Unknown: s(100)}},
		{100, 100.000001, ledger.Times{Up: time.Microsecond}},
		{150, 151.25, ledger.Times{Up: s(1.25)}},
		{399, 402, ledger.Times{Up: s(1), Degraded: time.Microsecond, Down: s(1.999999)}},
		{0, 600, ledger.Times{Unknown: s(100), Up: s(300), Degraded: time.Microsecond, Down: s(60.499999), Maintenance: s(39.5), Paused: s(100)}},
		{600, 86400 * 30, ledger.Times{Up: s(86400*30 - 600)}},
		{86400*40 - 1, 86400*40 + 7, ledger.Times{Up: s(1), Down: s(7)}},
		{86400 * 41, 86400 * 42, ledger.Times{Down: s(86400)}},
	}
	var ranges []ledger.Range
	var want []ledger.Times
	for _, tt := range tests {
		ranges, want = append(ranges, ledger.Range{From: at(tt.from), To: at(tt.to)}), append(want, tt.want)
	}
	times, target, err := b.store.Times(t.Context(), b.acme, id, ranges)
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(want, times))
	require.InDelta(t, 0.99, target, 0)

	list, err := b.store.Intervals(t.Context(), b.acme, id, ledger.IntervalFilter{Range: ledger.Range{From: at(100), To: at(460.5)}, Limit: 2})
	require.NoError(t, err)
	require.Len(t, list, 3, "one more than the limit")
	require.Equal(t, ledger.Interval{Status: "down", Start: at(400.000001), End: at(460.5)}, list[0])
	list, err = b.store.Intervals(t.Context(), b.acme, id, ledger.IntervalFilter{Range: ledger.Range{From: at(100), To: at(460.5)}, Before: list[1].Start, Limit: 2})
	require.NoError(t, err)
	require.Equal(t, []ledger.Interval{{Status: "up", Start: at(100), End: at(400)}}, list)
}

// sample is a check as the brute-force computation has it.
type sample struct {
	at     time.Time
	region string
	took   time.Duration
}

func TestLatencyOverAnyRangeIsThatOfItsChecks(t *testing.T) {
	t.Parallel()
	const days = 9
	b := openTenancy(t)
	id := b.monitor("x")
	now := time.Now().UTC()
	begin := now.Truncate(24*time.Hour).AddDate(0, 0, -days)
	b.exec(`SELECT beaconpost_ensure_monitor_partitions($1, $2)`, begin, now.AddDate(0, 0, 1))
	random := rand.New(rand.NewPCG(1, 2))
	var samples []sample
	rows := rollups{}
	m := &monitor.Monitor{Key: monitor.Key{Tenant: b.acme, ID: id}}
	for at := begin; at.Before(now); at = at.Add(time.Duration(1+random.IntN(900)) * time.Second) {
		s := sample{at, []string{"eu", "us"}[random.IntN(2)], time.Duration(random.ExpFloat64() * float64(200*time.Millisecond)).Truncate(time.Microsecond)}
		samples = append(samples, s)
		rows.of(m, s.region, s.at).add(&monitor.Finding{Monitor: m, Region: s.region, Lag: s.took / 10, Result: check.Result{Outcome: check.Up, Duration: s.took}})
	}
	require.NoError(t, b.background.db.As(t.Context(), postgres.RoleMonitor, func(ctx context.Context, q postgres.Querier) error {
		batch := &pgx.Batch{}
		rows.store(batch, time.Now())
		return q.SendBatch(ctx, batch).Close()
	}))
	require.NoError(t, b.background.RollUp(t.Context(), now, (days+1)*24*time.Hour, (days+1)*24*time.Hour))

	compare := func(t *testing.T, kept ledger.Kept) {
		t.Helper()
		for range 60 {
			from := begin.Add(rand.N(now.Sub(begin)))
			to := from.Add(time.Second + rand.N(now.Sub(from)))
			step := []ledger.Step{"", ledger.Fives, ledger.Hours, ledger.Days}[rand.N(4)]
			region := []string{"", "eu", "us"}[rand.N(3)]
			plan := kept.Plan(ledger.Range{From: from, To: to}, step, now)
			require.False(t, plan.From.After(from))
			require.False(t, plan.To.Before(to))
			list, err := b.store.Rollups(t.Context(), b.acme, id, region, plan.Spans)
			require.NoError(t, err)
			series, whole := ledger.Series(list, plan.Step)
			var want histogram.Counts
			var sum time.Duration
			for _, s := range samples {
				if !s.at.Before(plan.From) && s.at.Before(plan.To) && (region == "" || region == s.region) {
					want.Add(s.took)
					sum += s.took
				}
			}
			name := fmt.Sprintf("%s from %s to %s: %v", step, from, to, plan.Spans)
			require.Equal(t, want, whole.Latency, name)
			require.Equal(t, sum, whole.Duration, name)
			require.Equal(t, want.Total(), whole.Up, name)
			require.Equal(t, want.Total(), whole.Lag.Total(), name)
			var parts histogram.Counts
			for i := range series {
				require.True(t, i == 0 || series[i-1].Bucket.Before(series[i].Bucket), name)
				parts.Merge(series[i].Latency[:])
			}
			require.Equal(t, want, parts, name)
		}
	}
	compare(t, ledger.Kept{})
	// What is not kept is not needed either.
	b.exec(`DELETE FROM monitor_rollups WHERE step = '5m' AND bucket < $1`, now.AddDate(0, 0, -4).Truncate(24*time.Hour))
	b.exec(`DELETE FROM monitor_rollups WHERE step = '1h' AND bucket < $1`, now.AddDate(0, 0, -6).Truncate(24*time.Hour))
	compare(t, ledger.Kept{Fives: 4 * 24 * time.Hour, Hours: 6 * 24 * time.Hour})
	// Nor are rows that are still being made.
	b.exec(`DELETE FROM monitor_rollups WHERE step = '1h' AND bucket >= $1`, now.Truncate(time.Hour).Add(-time.Hour))
	b.exec(`DELETE FROM monitor_rollups WHERE step = '1d' AND bucket >= $1`, now.Truncate(24*time.Hour).AddDate(0, 0, -1))
	compare(t, ledger.Kept{Fives: 4 * 24 * time.Hour, Hours: 6 * 24 * time.Hour})
}

func TestChecksAreListedAndShowTheirEvidence(t *testing.T) {
	t.Parallel()
	b := openTenancy(t)
	id := b.monitor("x")
	schedule := calendar.ScheduleOf(id, 30*time.Second)
	m := &monitor.Monitor{Key: monitor.Key{Tenant: b.acme, ID: id}, Interval: 30 * time.Second}
	last := schedule.Slot(time.Now())
	var findings []*monitor.Finding
	for i := range int64(10) {
		for _, region := range []string{"eu", "us"} {
			f := &monitor.Finding{Monitor: m, Region: region, Slot: last - i, Lag: time.Millisecond}
			f.Result = check.Result{Outcome: check.Up, StartedAt: schedule.At(last - i), Duration: time.Second, Phases: check.Phases{Connect: time.Millisecond}, Status: 200, IP: "192.0.2.1"}
			if i == 3 {
				f.Outcome, f.Cause, f.Detail, f.Evidence = check.Down, check.CauseStatus, "503", &check.Evidence{Body: "oops", IPs: []string{"192.0.2.1"}}
			}
			findings = append(findings, f)
		}
	}
	b.exec(`UPDATE monitors SET regions = '{eu,us}'`)
	b.record(findings...)
	list := func(f ledger.CheckFilter) []ledger.Check {
		t.Helper()
		found, err := b.store.Checks(t.Context(), b.acme, id, f)
		require.NoError(t, err)
		return found
	}
	require.Len(t, list(ledger.CheckFilter{Limit: 100}), 20)
	require.Len(t, list(ledger.CheckFilter{Region: "eu", Limit: 100}), 10)
	require.Len(t, list(ledger.CheckFilter{Region: "eu", Range: ledger.Range{From: schedule.At(last - 4), To: schedule.At(last - 1)}, Limit: 100}), 3)
	require.Empty(t, list(ledger.CheckFilter{Region: "eu", Range: ledger.Range{To: schedule.At(last).AddDate(0, 0, -3)}, Limit: 100}))
	require.Empty(t, list(ledger.CheckFilter{Region: "sa", Limit: 100}))
	require.Len(t, list(ledger.CheckFilter{Range: ledger.Range{From: schedule.At(last - 4), To: schedule.At(last - 1)}, Limit: 100}), 6)
	var all []ledger.Check
	var cursor *uuid.UUID
	for {
		page := list(ledger.CheckFilter{Limit: 7, Cursor: cursor})
		if len(page) <= 7 {
			all = append(all, page...)
			break
		}
		all = append(all, page[:7]...)
		cursor = &page[6].ID
	}
	require.Equal(t, list(ledger.CheckFilter{Limit: 100}), all)

	down := list(ledger.CheckFilter{Outcome: "down", Region: "us", Limit: 100})
	require.Len(t, down, 1)
	require.Nil(t, down[0].Evidence)
	got, err := b.store.Check(t.Context(), b.acme, id, down[0].ID)
	require.NoError(t, err)
	want := findings[7].Result
	want.StartedAt = want.StartedAt.UTC()
	require.Equal(t, ledger.Check{ID: findings[7].ID(), Monitor: id, Region: "us", Slot: last - 3, Lag: time.Millisecond, Result: want}, got)
	_, err = b.store.Check(t.Context(), b.acme, id, uuid.Must(uuid.NewV7()))
	require.Equal(t, fault.KindNotFound, fault.KindOf(err))
}
