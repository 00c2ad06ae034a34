package postgres

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/postgres"
	"github.com/beaconpost/beaconpost/pkg/postgres/pgtest"
	"github.com/beaconpost/beaconpost/pkg/secretbox"
	"github.com/beaconpost/beaconpost/pkg/tenant"
	"github.com/beaconpost/beaconpost/pkg/uuid7"
	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
	"github.com/beaconpost/beaconpost/services/monitor/internal/ledger"
)

const (
	yearly     = 365
	checkDays  = 30
	fiveDays   = 90
	otherCount = 1000
	day        = 24 * time.Hour
)

// archive is a database with a year of one monitor that is checked every 30 s from three regions, beside a thousand others of its tenant.
type archive struct {
	store   *Tenancy
	acme    tenant.ID
	wide    tenant.ID // has as many monitors as one scrape may show, each checked from three regions
	monitor uuid.UUID
	quiet   uuid.UUID // one of the others
	now     time.Time
	today   time.Time
	urls    func(user string) string
}

// checksWanted is how many checks the archive has. As many as docs/adr/0014-results.md is about are made on request only: they take minutes and 4 GB.
func checksWanted(tb testing.TB) int {
	text := os.Getenv("BEACONPOST_BENCH_CHECKS")
	if text == "" {
		return 500_000
	}
	n, err := strconv.Atoi(text)
	require.NoError(tb, err)
	return n
}

func newArchive(tb testing.TB, checks int) *archive {
	tb.Helper()
	database := pgtest.New(tb)
	db, err := postgres.Open(tb.Context(), postgres.Config{URL: database.AppURL})
	require.NoError(tb, err)
	tb.Cleanup(db.Close)
	ring, err := secretbox.ParseKeyring("k1:" + base64.StdEncoding.EncodeToString(make([]byte, 32)))
	require.NoError(tb, err)
	now := time.Now().UTC()
	a := &archive{store: NewTenancy(db, ring), acme: tenant.ID(uuid.New()), wide: tenant.ID(uuid.New()), now: now, today: now.Truncate(day), urls: database.URL}
	require.NoError(tb, a.run(tb.Context(), slices.Concat(a.watched(), a.scraped())...))
	a.fill(tb, checks)
	require.NoError(tb, a.run(tb.Context(), statement{`ANALYZE`, nil}))
	return a
}

type statement struct {
	sql  string
	args []any
}

func do(sql string, args ...any) statement { return statement{sql, args} }

// run has one connection, that no policy binds, run statements.
func (a *archive) run(ctx context.Context, statements ...statement) error {
	conn, err := pgx.Connect(ctx, a.urls("postgres"))
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for _, s := range statements {
		if _, err := conn.Exec(ctx, s.sql, s.args...); err != nil {
			return fmt.Errorf("%s: %w", s.sql, err)
		}
	}
	return nil
}

// watched makes the partitions, the monitors, the ledger and incidents: 5,000 intervals, every other one down, and 2,500 incidents of the one; ten and five
// of each of the others.
func (a *archive) watched() []statement {
	a.monitor, a.quiet = uuid.Must(uuid.NewV7()), uuid.Nil
	a.quiet[15] = 1
	t := a.acme.UUID()
	return []statement{
		do(`INSERT INTO tenants (id, name) VALUES ($1, 'acme')`, t),
		do(`CREATE TABLE bench_monitors AS SELECT $1::uuid AS id, 0 AS n, ARRAY['eu', 'us', 'ap'] AS regions
UNION ALL SELECT lpad(to_hex(n), 32, '0')::uuid, n, ARRAY['eu'] FROM generate_series(1, $2::int) n`, a.monitor, otherCount),
		do(`INSERT INTO monitors (tenant_id, id, name, kind, spec, interval_ms, timeout_ms, failure_threshold, recovery_threshold, confirm, paused, regions, slo_target)
SELECT $1, id, 'monitor ' || n, 'http', '{"kind": "http", "url": "https://x.example/"}', 30000, 10000, 3, 2, true, false, regions, 0.999 FROM bench_monitors`, t),
		do(`INSERT INTO monitor_states (tenant_id, monitor_id, status, since, state, rules)
SELECT $1, id, 'up', now(), '{"status": "up", "verdict": "up"}', 1 FROM bench_monitors`, t),
		// Of k intervals, number i begins i/k of a year after the first.
		do(`INSERT INTO monitor_intervals (tenant_id, monitor_id, started_at, ended_at, status, cause)
SELECT $1, id, $2::timestamptz - interval '8760 h' * (k - i) / k, CASE WHEN i < k - 1 THEN $2::timestamptz - interval '8760 h' * (k - i - 1) / k END,
    CASE WHEN i % 2 = 0 THEN 'up' ELSE 'down' END, CASE WHEN i % 2 = 1 THEN 'timeout' END
FROM (SELECT id, CASE WHEN n = 0 THEN 5000 ELSE 10 END AS k FROM bench_monitors) m, generate_series(0, k - 1) i`, t, a.now),
		do(`INSERT INTO incidents (tenant_id, id, monitor_id, title, cause, opened_at, resolved_at)
SELECT $1, (left(beaconpost_uuid_floor(started_at)::text, 14) || right(gen_random_uuid()::text, 22))::uuid, monitor_id, 'it is down', cause, started_at, ended_at
FROM monitor_intervals WHERE status = 'down' ORDER BY started_at`, t),
		do(`SELECT beaconpost_ensure_monitor_partitions($1::date - $2::int, $1::date)`, a.today, fiveDays),
		do(`SELECT beaconpost_ensure_monitor_partitions(d::date, d::date)
FROM generate_series(date_trunc('month', $1::timestamp) - interval '12 months', $1, '1 month') d`, a.today),
		do(`SELECT beaconpost_drop_monitor_partitions($1::date - $2::int, $1::date - $3::int, $1::date - 400)`, a.today, checkDays, fiveDays),
	}
}

// scraped makes the wide tenant: ten intervals of each monitor within a year.
func (a *archive) scraped() []statement {
	t := a.wide.UUID()
	account := &ledger.Account{}
	for _, region := range []string{"eu", "us", "ap"} {
		account.Add(region, &check.Result{
			Outcome: check.Up, StartedAt: a.now, Duration: 95 * time.Millisecond, Status: 200, CertEnds: a.now.AddDate(0, 0, 60),
			Phases: check.Phases{Resolve: 1234567, Connect: 9234567, TLS: 20234567, Processing: 60234567, Transfer: 3234567},
		})
	}
	return []statement{
		do(`INSERT INTO tenants (id, name) VALUES ($1, 'wide')`, t),
		do(`INSERT INTO monitors (tenant_id, id, name, kind, spec, interval_ms, timeout_ms, failure_threshold, recovery_threshold, confirm, paused, regions)
SELECT $1, lpad(to_hex(n), 32, '0')::uuid, 'monitor ' || n, 'http', '{"kind": "http", "url": "https://x.example/"}', 30000, 10000, 3, 2, true, false, '{eu,us,ap}' FROM generate_series(1, $2::int) n`, t, scrapedMost),
		do(`INSERT INTO monitor_states (tenant_id, monitor_id, status, since, state, rules, account)
SELECT $1, id, 'up', now(), '{"status": "up", "verdict": "up"}', 1, $2 FROM monitors WHERE tenant_id = $1`, t, account),
		do(`INSERT INTO monitor_intervals (tenant_id, monitor_id, started_at, ended_at, status)
SELECT $1, id, $2::timestamptz - interval '876 h' * (10 - i), CASE WHEN i < 9 THEN $2::timestamptz - interval '876 h' * (9 - i) END, CASE WHEN i % 2 = 0 THEN 'down' ELSE 'up' END
FROM monitors, generate_series(0, 9) i WHERE tenant_id = $1`, t, a.now),
	}
}

const scrapedMost = 10_000 // the same as in package httpapi

const (
	benchRollups = `INSERT INTO monitor_rollups (tenant_id, monitor_id, step, bucket, region, up, degraded, down, duration_us, latency, lag)
SELECT $1, id, $2, bucket, region, 2800, 20, 60, 2820 * 95000, array_fill(0::bigint, ARRAY[14]) || ARRAY[100, 900, 1200, 500, 100, 20], ARRAY[2500, 300, 80]::bigint[]
FROM generate_series($3::timestamptz, $4::timestamptz - interval '1 s', $5::interval) bucket CROSS JOIN bench_monitors CROSS JOIN unnest(regions) region
WHERE n = 0 OR bucket >= $6::timestamptz`
	// One check in 13,000 is down, with evidence: twenty of the one monitor, all in the older half.
	benchChecks = `INSERT INTO monitor_checks (tenant_id, id, monitor_id, slot, started_at, duration_us, lag_us, resolve_us, connect_us, tls_us, processing_us, transfer_us,
    status_code, outcome, cause, region, detail, ip, evidence)
SELECT $1, (left(beaconpost_uuid_floor(at)::text, 14) || right(gen_random_uuid()::text, 22))::uuid, id, floor(extract(epoch FROM at) / 30), at, 95000, 900, 1000, 9000, 20000, 60000, 5000,
    200, CASE WHEN down THEN 'down' ELSE 'up' END, CASE WHEN down THEN 'status' END, region, CASE WHEN down THEN 'status 503' END, '192.0.2.7',
    CASE WHEN down THEN jsonb_build_object('Body', repeat('oops ', 1600)) END
FROM (
    SELECT *, row_number() OVER (ORDER BY at) % 13000 = 7 AND at < $4 AS down FROM (
        SELECT id, region, $2::timestamptz + interval '1 s' * (s * 30 + 7) AS at FROM bench_monitors, unnest(regions) region, generate_series(0, 2879) s WHERE n = 0
        UNION ALL
        SELECT id, 'eu', $2::timestamptz + interval '1 day' * ((i + n / 1001.0) / $3::int) FROM bench_monitors, generate_series(0, $3::int - 1) i WHERE n > 0
    ) c WHERE at < $5::timestamptz
) c ORDER BY at`
)

// fill makes rollups and checks in the order in which they come about, by two connections.
func (a *archive) fill(tb testing.TB, checks int) {
	tb.Helper()
	perDay := (checks - checkDays*2880*3) / checkDays / otherCount
	require.Positive(tb, perDay, "fewer checks than the one monitor has alone")
	t := a.acme.UUID()
	back := func(days int) time.Time { return a.today.AddDate(0, 0, -days) }
	jobs := []statement{
		do(benchRollups, t, "1d", back(yearly), a.now, "1 day", back(yearly)),
		do(benchRollups, t, "1h", back(yearly), a.now, "1 hour", back(checkDays)),
		do(benchRollups, t, "5m", back(fiveDays), a.now, "5 min", back(1)),
	}
	for d := checkDays - 1; d >= 0; d-- {
		jobs = append(jobs, do(benchChecks, t, back(d), perDay, back(checkDays/2), a.now))
	}
	begun := time.Now()
	halves := make(chan error, 2)
	for half := range slices.Chunk(jobs, (len(jobs)+1)/2) {
		go func() { halves <- a.run(tb.Context(), half...) }()
	}
	require.NoError(tb, errors.Join(<-halves, <-halves))
	tb.Logf("made %d checks in %s", checkDays*(perDay*otherCount+2880*3), time.Since(begun).Round(time.Second))
}

// BenchmarkReads measures what the API reads of a monitor. The numbers of docs/adr/0014-results.md are of BEACONPOST_BENCH_CHECKS=10000000.
func BenchmarkReads(b *testing.B) {
	a := newArchive(b, checksWanted(b))
	ctx := b.Context()
	measure := func(name string, least int, read func() (int, error)) {
		b.Run(name, func(b *testing.B) {
			var worst time.Duration
			for b.Loop() {
				begun := time.Now()
				n, err := read()
				worst = max(worst, time.Since(begun))
				require.NoError(b, err)
				require.GreaterOrEqual(b, n, least)
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(b.Elapsed().Microseconds())/1000/float64(b.N), "ms/op")
			b.ReportMetric(float64(worst.Microseconds())/1000, "ms-worst")
		})
	}
	back := func(d time.Duration) ledger.Range { return ledger.Range{From: a.now.Add(-d), To: a.now} }
	uptime := func(d time.Duration) func() (int, error) {
		return func() (int, error) {
			times, _, err := a.store.Times(ctx, a.acme, a.monitor, []ledger.Range{back(d), back(time.Hour), back(6 * time.Hour), back(3 * day)})
			return len(times), err
		}
	}
	latency := func(d time.Duration, step ledger.Step) func() (int, error) {
		return func() (int, error) {
			plan := ledger.Kept{Fives: fiveDays * day, Hours: 400 * day}.Plan(back(d), step, a.now)
			rows, err := a.store.Rollups(ctx, a.acme, a.monitor, "", plan.Spans)
			series, _ := ledger.Series(rows, plan.Step)
			return len(series), err
		}
	}
	checks := func(id uuid.UUID, f ledger.CheckFilter) func() (int, error) {
		f.Limit = 50
		return func() (int, error) {
			list, err := a.store.Checks(ctx, a.acme, id, f)
			return len(list), err
		}
	}
	incidents := func(f ledger.IncidentFilter) func() (int, error) {
		f.Limit = 50
		return func() (int, error) {
			list, err := a.store.Incidents(ctx, a.acme, f)
			return len(list), err
		}
	}
	intervals := func(d time.Duration, before time.Time) func() (int, error) {
		return func() (int, error) {
			list, err := a.store.Intervals(ctx, a.acme, a.monitor, ledger.IntervalFilter{Range: back(d), Before: before, Limit: 50})
			return len(list), err
		}
	}
	deep, open := uuid7.Floor(a.now.AddDate(0, 0, -28)), true
	measure("uptime of 30 days", 4, uptime(30*day))
	measure("uptime of a year", 4, uptime(yearly*day))
	measure("latency of 24 hours", 280, latency(day, ""))
	measure("latency of 30 days", 30, latency(30*day, ""))
	measure("latency of 30 days by the hour", 700, latency(30*day, ledger.Hours))
	measure("latency of a year", 360, latency(yearly*day, ""))
	measure("schedule of 24 hours", 280, latency(day, ""))
	measure("schedule of a year", 360, latency(yearly*day, ""))
	measure("checks, first page", 51, checks(a.monitor, ledger.CheckFilter{}))
	measure("checks, a page of 28 days ago", 51, checks(a.monitor, ledger.CheckFilter{Cursor: &deep}))
	measure("checks, of one region", 51, checks(a.monitor, ledger.CheckFilter{Region: "ap"}))
	measure("checks, of a region without", 0, checks(a.monitor, ledger.CheckFilter{Region: "sa"}))
	measure("checks, the few that are down", 1, checks(a.monitor, ledger.CheckFilter{Outcome: "down"}))
	measure("checks, degraded: none", 0, checks(a.monitor, ledger.CheckFilter{Outcome: "degraded"}))
	measure("checks, first page of another", 51, checks(a.quiet, ledger.CheckFilter{}))
	measure("incidents, first page", 51, incidents(ledger.IncidentFilter{}))
	measure("incidents of the monitor", 51, incidents(ledger.IncidentFilter{Monitor: &a.monitor}))
	measure("incidents of another", 5, incidents(ledger.IncidentFilter{Monitor: &a.quiet}))
	measure("incidents, the open ones", 51, incidents(ledger.IncidentFilter{Open: &open}))
	measure("intervals of 30 days", 51, intervals(30*day, time.Time{}))
	measure("intervals of a year, the oldest page", 40, intervals(yearly*day, a.now.AddDate(0, 0, -362)))
	measure("scrape of 10,000 monitors", scrapedMost, func() (int, error) {
		list, err := a.store.Samples(ctx, a.wide, ledger.SampleFilter{Limit: scrapedMost}, a.now)
		return len(list), err
	})
}
