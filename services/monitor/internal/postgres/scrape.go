package postgres

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/beaconpost/beaconpost/pkg/postgres"
	"github.com/beaconpost/beaconpost/pkg/tenant"
	"github.com/beaconpost/beaconpost/pkg/uuid7"
	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
	"github.com/beaconpost/beaconpost/services/monitor/internal/ledger"
	"github.com/beaconpost/beaconpost/services/monitor/internal/verdict"
)

// Of a heartbeat's state more is read than where it stands: what its calls said stays true for as long as it takes until the next, however long ago they were.
const listSampled = `
SELECT m.id, m.name, m.kind, m.project_id, m.interval_ms, m.regions, s.status,
    CASE WHEN m.kind = 'heartbeat' THEN coalesce(s.state->>'verdict', '') ELSE '' END, CASE WHEN m.kind = 'heartbeat' THEN (s.state->'heart'->>'at')::timestamptz END
FROM monitors m JOIN monitor_states s ON s.tenant_id = m.tenant_id AND s.monitor_id = m.id
WHERE m.tenant_id = @tenant AND m.deleted_at IS NULL AND (@tag = '' OR @tag = ANY (m.tags)) AND (@project::uuid IS NULL OR m.project_id = @project)
ORDER BY m.id LIMIT @limit`

// sampled is a sample that is being gathered.
type sampled struct {
	ledger.Sample
	interval time.Duration
	regions  []string
	verdict  verdict.Status // of a heartbeat, as is calledAt
	calledAt time.Time
}

// Samples gives at most limit+1 monitors of t in numbers as of now; if it is more than limit, without the numbers.
func (s *Tenancy) Samples(ctx context.Context, t tenant.ID, f ledger.SampleFilter, now time.Time) (samples []ledger.Sample, err error) {
	err = s.db.InTenant(ctx, t, func(ctx context.Context, q postgres.Querier) error {
		g, err := gather(ctx, q, t, f)
		if err != nil {
			return err
		}
		if len(g.list) <= f.Limit {
			batch := &pgx.Batch{}
			g.queue(batch, now)
			if err := q.SendBatch(ctx, batch).Close(); err != nil {
				return err
			}
		}
		samples = make([]ledger.Sample, len(g.list))
		for i, one := range g.list {
			samples[i] = one.Sample
		}
		return nil
	})
	return samples, err
}

// gathering adds to samples what several statements find of their monitors.
type gathering struct {
	tenant tenant.ID
	list   []*sampled
	byID   map[uuid.UUID]*sampled
}

func gather(ctx context.Context, q postgres.Querier, t tenant.ID, f ledger.SampleFilter) (*gathering, error) {
	rows, err := q.Query(ctx, listSampled, pgx.NamedArgs{"tenant": t.UUID(), "tag": f.Tag, "project": f.Project, "limit": f.Limit + 1})
	if err != nil {
		return nil, err
	}
	g := &gathering{tenant: t, byID: map[uuid.UUID]*sampled{}}
	if g.list, err = pgx.CollectRows(rows, scanSampled); err != nil {
		return nil, err
	}
	for _, one := range g.list {
		g.byID[one.Monitor] = one
	}
	return g, nil
}

func scanSampled(row pgx.CollectableRow) (*sampled, error) {
	one := &sampled{}
	var interval int64
	err := row.Scan(&one.Monitor, &one.Name, &one.Kind, &one.Project, &interval, &one.regions, &one.Status, &one.verdict, postgres.Instant{Time: &one.calledAt})
	one.interval = millis(interval)
	one.addCall()
	return one, err
}

// heartbeatRegion is where the calls of heartbeats come from, as far as we know.
const heartbeatRegion = "heartbeat"

// addCall makes a heartbeat's verdict its last check: that a call is missing has no row of its own.
func (s *sampled) addCall() {
	if s.calledAt.IsZero() || s.Status == string(verdict.Paused) || s.verdict != verdict.Up && s.verdict != verdict.Down {
		return
	}
	s.Last = append(s.Last, ledger.Check{Monitor: s.Monitor, Region: heartbeatRegion, Result: check.Result{Outcome: check.Outcome(s.verdict), StartedAt: s.calledAt}})
}

func (g *gathering) queue(batch *pgx.Batch, now time.Time) {
	g.queueLast(batch, now)
	g.queueTallies(batch, now)
	g.queueFailures(batch)
	g.queueWindows(batch, now)
}

// A region that says nothing for three intervals is silent (package verdict has the same): its last check says nothing any more. Bounds that hold for all keep
// it to the partitions in question.
const (
	lastChecks = `
SELECT k.monitor_id, k.region, c.* FROM unnest($2::uuid[], $3::text[], $4::uuid[]) AS k (monitor_id, region, since)
CROSS JOIN LATERAL (
    SELECT started_at, duration_us, coalesce(resolve_us, 0), coalesce(connect_us, 0), coalesce(tls_us, 0), coalesce(processing_us, 0), coalesce(transfer_us, 0), coalesce(status_code, 0), outcome
    FROM monitor_checks c
    WHERE c.tenant_id = $1 AND c.monitor_id = k.monitor_id AND c.id >= k.since AND c.id >= $5 AND c.id < $6 AND c.region = k.region AND c.confirmation = 0 AND c.outcome <> 'not_checked'
    ORDER BY c.id DESC LIMIT 1) c`
	silentAfter = 3 // intervals
	silentLeast = 30 * time.Second
)

func (g *gathering) queueLast(batch *pgx.Batch, now time.Time) {
	type key struct {
		monitor uuid.UUID
		region  string
		since   uuid.UUID
	}
	var keys []key
	oldest := now
	for _, one := range g.list {
		if one.Kind == check.Heartbeat {
			continue
		}
		since := now.Add(-max(silentAfter*one.interval, silentLeast))
		if since.Before(oldest) {
			oldest = since
		}
		for _, region := range one.regions {
			keys = append(keys, key{one.Monitor, region, uuid7.Floor(since)})
		}
	}
	n := len(keys)
	args := []any{
		g.tenant.UUID(), postgres.UUIDs(n, func(i int) uuid.UUID { return keys[i].monitor }), postgres.Texts(n, func(i int) string { return keys[i].region }),
		postgres.UUIDs(n, func(i int) uuid.UUID { return keys[i].since }), uuid7.Floor(oldest), uuid7.Floor(now.Add(time.Minute)),
	}
	batch.Queue(lastChecks, args...).Query(func(rows pgx.Rows) error {
		var c ledger.Check
		var duration, resolve, connect, tls, processing, transfer int64
		into := []any{&c.Monitor, &c.Region, postgres.Instant{Time: &c.StartedAt}, &duration, &resolve, &connect, &tls, &processing, &transfer, &c.Status, &c.Outcome}
		_, err := pgx.ForEachRow(rows, into, func() error {
			c.Duration = micros(duration)
			c.Phases = check.Phases{Resolve: micros(resolve), Connect: micros(connect), TLS: micros(tls), Processing: micros(processing), Transfer: micros(transfer)}
			one := g.byID[c.Monitor]
			one.Last = append(one.Last, c)
			return nil
		})
		return err
	})
}

// The longest rollups that are whole, and shorter ones behind them, as far as there are any: when they are late in being made, the shorter ones are read for
// longer, so that the sum never goes down. Days are kept for ever.
const sumTallies = `
SELECT k.id, r.region, sum(r.up)::bigint, sum(r.degraded)::bigint, sum(r.down)::bigint, sum(r.not_checked)::bigint
FROM unnest($2::uuid[]) AS k (id)
CROSS JOIN LATERAL (SELECT
    (SELECT bucket + interval '24 h' FROM monitor_rollups WHERE tenant_id = $1 AND monitor_id = k.id AND step = '1d' AND bucket < $3 ORDER BY bucket DESC LIMIT 1) AS days,
    (SELECT bucket + interval '1 h' FROM monitor_rollups WHERE tenant_id = $1 AND monitor_id = k.id AND step = '1h' AND bucket < $4 ORDER BY bucket DESC LIMIT 1) AS hours OFFSET 0) until
CROSS JOIN LATERAL (
    SELECT region, up, degraded, down, not_checked FROM monitor_rollups WHERE tenant_id = $1 AND monitor_id = k.id AND step = '1d' AND bucket < until.days
    UNION ALL
    SELECT region, up, degraded, down, not_checked FROM monitor_rollups
    WHERE tenant_id = $1 AND monitor_id = k.id AND step = '1h' AND bucket >= coalesce(until.days, '-infinity') AND bucket < until.hours
    UNION ALL
    SELECT region, up, degraded, down, not_checked FROM monitor_rollups
    WHERE tenant_id = $1 AND monitor_id = k.id AND step = '5m' AND bucket >= coalesce(greatest(until.days, until.hours), '-infinity')) r
GROUP BY k.id, r.region`

func (g *gathering) ids() postgres.Array {
	return postgres.UUIDs(len(g.list), func(i int) uuid.UUID { return g.list[i].Monitor })
}

func (g *gathering) queueTallies(batch *pgx.Batch, now time.Time) {
	spans := ledger.Kept{}.Plan(ledger.Range{From: time.Unix(0, 0), To: now}, ledger.Days, now).Spans
	batch.Queue(sumTallies, g.tenant.UUID(), g.ids(), spans[0].To, spans[1].To).Query(func(rows pgx.Rows) error {
		var id uuid.UUID
		var tally ledger.Tally
		_, err := pgx.ForEachRow(rows, []any{&id, &tally.Region, &tally.Up, &tally.Degraded, &tally.Down, &tally.NotChecked}, func() error {
			one := g.byID[id]
			one.Tallies = append(one.Tallies, tally)
			return nil
		})
		return err
	})
}

// Incidents are never removed, so that this only grows.
const countFailures = `
SELECT k.id, i.cause, i.n FROM unnest($2::uuid[]) AS k (id)
CROSS JOIN LATERAL (SELECT cause, count(*) AS n FROM incidents WHERE tenant_id = $1 AND monitor_id = k.id AND NOT manual AND cause IS NOT NULL GROUP BY cause) i`

func (g *gathering) queueFailures(batch *pgx.Batch) {
	batch.Queue(countFailures, g.tenant.UUID(), g.ids()).Query(func(rows pgx.Rows) error {
		var id uuid.UUID
		var cause check.Cause
		var n int64
		_, err := pgx.ForEachRow(rows, []any{&id, &cause, &n}, func() error {
			one := g.byID[id]
			if one.Failures == nil {
				one.Failures = map[check.Cause]int64{}
			}
			one.Failures[cause] = n
			return nil
		})
		return err
	})
}

// As sumTimes, for many monitors. The first interval that matters is the last one that starts before the longest window.
const sumWindows = `
SELECT k.id, w.n, i.status, (sum(extract(epoch FROM least(i.ended_at, $4) - greatest(i.started_at, w.since))) * 1000000)::bigint
FROM unnest($2::uuid[]) AS k (id)
CROSS JOIN LATERAL (SELECT coalesce(
    (SELECT started_at FROM monitor_intervals WHERE tenant_id = $1 AND monitor_id = k.id AND started_at <= $5 ORDER BY started_at DESC LIMIT 1), '-infinity') AS at OFFSET 0) first
CROSS JOIN LATERAL (
    SELECT status, started_at, ended_at FROM monitor_intervals WHERE tenant_id = $1 AND monitor_id = k.id AND started_at < $4 AND started_at >= first.at OFFSET 0) i
JOIN unnest($3::timestamptz[]) WITH ORDINALITY AS w (since, n) ON coalesce(i.ended_at, 'infinity') > w.since
GROUP BY k.id, w.n, i.status`

func (g *gathering) queueWindows(batch *pgx.Batch, now time.Time) {
	windows := ledger.SampleWindows()
	since := func(i int) time.Time { return now.Add(-windows[i].Length) }
	batch.Queue(sumWindows, g.tenant.UUID(), g.ids(), postgres.Times(len(windows), since), now, since(len(windows)-1)).Query(func(rows pgx.Rows) error {
		var id uuid.UUID
		var n, us int64
		var status string
		_, err := pgx.ForEachRow(rows, []any{&id, &n, &status, &us}, func() error {
			one := g.byID[id]
			if one.Windows == nil {
				one.Windows = make([]ledger.Times, len(windows))
			}
			if sum := one.Windows[n-1].Of(status); sum != nil {
				*sum = micros(us)
			}
			return nil
		})
		return err
	})
}
