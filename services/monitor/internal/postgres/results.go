package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/beaconpost/beaconpost/pkg/fault"
	"github.com/beaconpost/beaconpost/pkg/postgres"
	"github.com/beaconpost/beaconpost/pkg/tenant"
	"github.com/beaconpost/beaconpost/pkg/uuid7"
	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
	"github.com/beaconpost/beaconpost/services/monitor/internal/ledger"
)

// What was found of a monitor can be read after it was deleted too.
const selectTarget = `SELECT coalesce(slo_target, 0) FROM monitors WHERE tenant_id = $1 AND id = $2`

// ofMonitor runs fn in a transaction that has seen that t has, or had, the monitor.
func (s *Tenancy) ofMonitor(ctx context.Context, t tenant.ID, id uuid.UUID, fn func(ctx context.Context, q postgres.Querier, target float64) error) error {
	return s.db.InTenant(ctx, t, func(ctx context.Context, q postgres.Querier) error {
		var target float64
		err := q.QueryRow(ctx, selectTarget, t.UUID(), id).Scan(&target)
		if errors.Is(err, pgx.ErrNoRows) {
			return monitorNotFound()
		}
		if err != nil {
			return err
		}
		return fn(ctx, q, target)
	})
}

const (
	checkColumns = `
SELECT id, monitor_id, slot, started_at, duration_us, lag_us, coalesce(resolve_us, 0), coalesce(connect_us, 0), coalesce(tls_us, 0), coalesce(processing_us, 0), coalesce(transfer_us, 0),
    coalesce(status_code, 0), confirmation, outcome, coalesce(cause, ''), region, coalesce(detail, ''), coalesce(ip, '')`
	checksOf = checkColumns + `, NULL FROM monitor_checks
WHERE tenant_id = @tenant AND monitor_id = @monitor AND id >= @from AND id < @until AND (@region = '' OR region = @region)`
	listChecks = checksOf + ` AND (@outcome = '' OR outcome = @outcome) ORDER BY id DESC LIMIT @limit`
	listNotUp  = checksOf + ` AND outcome <> 'up' AND outcome = @outcome ORDER BY id DESC LIMIT @limit` // they are few, and have an index
)

// Checks gives at most limit+1 checks of a monitor without their evidence, newest slot first.
func (s *Tenancy) Checks(ctx context.Context, t tenant.ID, id uuid.UUID, f ledger.CheckFilter) (list []ledger.Check, err error) {
	args := pgx.NamedArgs{
		"tenant": t.UUID(), "monitor": id, "from": uuid7.Floor(f.From), "until": before(f.To, f.Cursor), "outcome": f.Outcome, "region": f.Region, "limit": f.Limit + 1,
	}
	query := listChecks
	if f.Outcome != "" && f.Outcome != string(check.Up) {
		query = listNotUp
	}
	err = s.ofMonitor(ctx, t, id, func(ctx context.Context, q postgres.Querier, _ float64) error {
		if f.Region != "" && f.Region != callsRegion { // whose calls are in no rollups
			seen, err := seenIn(ctx, q, t, id, f, time.Now())
			if err != nil || !seen.From.Before(seen.To) {
				return err
			}
			args["from"], args["until"] = uuid7.Floor(seen.From), before(seen.To, f.Cursor)
		}
		rows, err := q.Query(ctx, query, args)
		if err != nil {
			return err
		}
		list, err = pgx.CollectRows(rows, scanCheck)
		return err
	})
	return list, err
}

const selectSeen = `
SELECT min(bucket), max(bucket) FROM monitor_rollups WHERE tenant_id = $1 AND monitor_id = $2 AND step = $3 AND bucket >= $4 AND bucket < $5 AND region = $6`

// seenIn narrows the range of a filter to the time in which its region has made checks, and a day around it: to look for those of a region that made few, or
// none, among all others takes long.
func seenIn(ctx context.Context, q postgres.Querier, t tenant.ID, id uuid.UUID, f ledger.CheckFilter, now time.Time) (seen ledger.Range, err error) {
	all := ledger.Range{From: f.From, To: f.To}
	if end := now.Add(time.Hour); all.To.IsZero() || all.To.After(end) {
		all.To = end // clocks differ
	}
	if all.From.IsZero() {
		all.From = time.Unix(0, 0)
	}
	batch := &pgx.Batch{}
	for _, span := range (ledger.Kept{}).Plan(all, ledger.Days, now).Spans {
		batch.Queue(selectSeen, t.UUID(), id, string(span.Step), span.From, span.To, f.Region).QueryRow(func(row pgx.Row) error {
			var first, last time.Time
			if err := row.Scan(postgres.Instant{Time: &first}, postgres.Instant{Time: &last}); err != nil || first.IsZero() {
				return err
			}
			if from := first.AddDate(0, 0, -1); seen.From.IsZero() || from.Before(seen.From) {
				seen.From = from
			}
			if to := last.AddDate(0, 0, 2); to.After(seen.To) {
				seen.To = to
			}
			return nil
		})
	}
	err = q.SendBatch(ctx, batch).Close()
	if seen.From.Before(all.From) {
		seen.From = all.From
	}
	if seen.To.After(all.To) {
		seen.To = all.To
	}
	return seen, err
}

// before gives the bound of ids of times before to (zero: any) and, in a list that goes down, behind the cursor.
func before(to time.Time, cursor *uuid.UUID) uuid.UUID {
	bound := uuid.Max
	if !to.IsZero() {
		bound = uuid7.Floor(to)
	}
	if cursor != nil && string(cursor[:]) < string(bound[:]) {
		return *cursor
	}
	return bound
}

const selectCheck = checkColumns + `, evidence FROM monitor_checks WHERE tenant_id = $1 AND monitor_id = $2 AND id = $3`

// Check gives one check of a monitor with its evidence.
func (s *Tenancy) Check(ctx context.Context, t tenant.ID, id, checkID uuid.UUID) (c ledger.Check, err error) {
	err = s.ofMonitor(ctx, t, id, func(ctx context.Context, q postgres.Querier, _ float64) error {
		rows, err := q.Query(ctx, selectCheck, t.UUID(), id, checkID)
		if err != nil {
			return err
		}
		c, err = pgx.CollectExactlyOneRow(rows, scanCheck)
		if errors.Is(err, pgx.ErrNoRows) {
			return fault.NotFound("check_not_found", "There is no check with this id, or not any more.")
		}
		return err
	})
	return c, err
}

func scanCheck(row pgx.CollectableRow) (c ledger.Check, err error) {
	var duration, lag, resolve, connect, tls, processing, transfer int64
	var evidence []byte
	err = row.Scan(&c.ID, &c.Monitor, &c.Slot, postgres.Instant{Time: &c.StartedAt}, &duration, &lag, &resolve, &connect, &tls, &processing, &transfer,
		&c.Status, &c.Confirmation, &c.Outcome, &c.Cause, &c.Region, &c.Detail, &c.IP, &evidence)
	if err != nil {
		return c, err
	}
	c.Duration, c.Lag = micros(duration), micros(lag)
	c.Phases = check.Phases{Resolve: micros(resolve), Connect: micros(connect), TLS: micros(tls), Processing: micros(processing), Transfer: micros(transfer)}
	if evidence == nil {
		return c, nil
	}
	if err := json.Unmarshal(evidence, &c.Evidence); err != nil {
		return c, fmt.Errorf("read evidence of check %s: %w", c.ID, err)
	}
	return c, nil
}

func micros(n int64) time.Duration { return time.Duration(n) * time.Microsecond }

const listIntervals = `
SELECT status, coalesce(cause, ''), started_at, ended_at FROM monitor_intervals
WHERE tenant_id = $1 AND monitor_id = $2 AND started_at < $3 AND coalesce(ended_at, 'infinity') > $4 ORDER BY started_at DESC LIMIT $5`

// Intervals gives at most limit+1 intervals of a monitor that reach into a range, newest first.
func (s *Tenancy) Intervals(ctx context.Context, t tenant.ID, id uuid.UUID, f ledger.IntervalFilter) (list []ledger.Interval, err error) {
	until := f.To
	if !f.Before.IsZero() && f.Before.Before(until) {
		until = f.Before
	}
	err = s.ofMonitor(ctx, t, id, func(ctx context.Context, q postgres.Querier, _ float64) error {
		rows, err := q.Query(ctx, listIntervals, t.UUID(), id, until, f.From, f.Limit+1)
		if err != nil {
			return err
		}
		list, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (i ledger.Interval, err error) {
			err = row.Scan(&i.Status, &i.Cause, postgres.Instant{Time: &i.Start}, postgres.Instant{Time: &i.End})
			return i, err
		})
		return err
	})
	return list, err
}

// The present interval lasts as long as the range: whoever asks asks for nothing that is yet to come.
const sumTimes = `
SELECT r.n, i.status, (sum(extract(epoch FROM least(i.ended_at, r.until) - greatest(i.started_at, r.since))) * 1000000)::bigint
FROM unnest($3::timestamptz[], $4::timestamptz[]) WITH ORDINALITY AS r (since, until, n)
JOIN monitor_intervals i ON i.tenant_id = $1 AND i.monitor_id = $2 AND i.started_at < r.until AND coalesce(i.ended_at, 'infinity') > r.since
GROUP BY r.n, i.status`

// Times says for how long a monitor was in which status in each of some ranges, none of which ends after now, and its target; 0: none.
func (s *Tenancy) Times(ctx context.Context, t tenant.ID, id uuid.UUID, ranges []ledger.Range) (times []ledger.Times, target float64, err error) {
	times = make([]ledger.Times, len(ranges))
	from := postgres.Times(len(ranges), func(i int) time.Time { return ranges[i].From })
	to := postgres.Times(len(ranges), func(i int) time.Time { return ranges[i].To })
	err = s.ofMonitor(ctx, t, id, func(ctx context.Context, q postgres.Querier, stored float64) error {
		target = stored
		rows, err := q.Query(ctx, sumTimes, t.UUID(), id, from, to)
		if err != nil {
			return err
		}
		var n, us int64
		var status string
		_, err = pgx.ForEachRow(rows, []any{&n, &status, &us}, func() error {
			if sum := times[n-1].Of(status); sum != nil {
				*sum = micros(us)
			}
			return nil
		})
		return err
	})
	return times, target, err
}

const listRollups = `
SELECT bucket, up, degraded, down, not_checked, late, missed, duration_us, latency, lag FROM monitor_rollups
WHERE tenant_id = $1 AND monitor_id = $2 AND step = $3 AND bucket >= $4 AND bucket < $5 AND ($6 = '' OR region = $6) ORDER BY bucket`

// Rollups gives what happened to a monitor in spans, in order of time, in a region or ("") in all: of a bucket there may be several, by region.
func (s *Tenancy) Rollups(ctx context.Context, t tenant.ID, id uuid.UUID, region string, spans []ledger.Span) (list []ledger.Rollup, err error) {
	err = s.ofMonitor(ctx, t, id, func(ctx context.Context, q postgres.Querier, _ float64) error {
		batch := &pgx.Batch{}
		for _, span := range spans {
			batch.Queue(listRollups, t.UUID(), id, string(span.Step), span.From, span.To, region).Query(func(rows pgx.Rows) error {
				found, err := pgx.CollectRows(rows, scanRollup)
				list = append(list, found...)
				return err
			})
		}
		return q.SendBatch(ctx, batch).Close()
	})
	return list, err
}

func scanRollup(row pgx.CollectableRow) (r ledger.Rollup, err error) {
	var duration int64
	var latency, lag []int64
	err = row.Scan(postgres.Instant{Time: &r.Bucket}, &r.Up, &r.Degraded, &r.Down, &r.NotChecked, &r.Late, &r.Missed, &duration, &latency, &lag)
	r.Duration = micros(duration)
	r.Latency.Merge(latency)
	r.Lag.Merge(lag)
	return r, err
}
