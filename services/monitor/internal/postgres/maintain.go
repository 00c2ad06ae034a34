package postgres

import (
	"context"
	"time"

	"github.com/beaconpost/beaconpost/pkg/postgres"
)

const (
	// One replica is enough; what it does twice is the same.
	tryRollUp = `SELECT pg_try_advisory_xact_lock(hashtext('beaconpost_monitor_rollup'))`
	// Whole buckets are computed anew, so that what came late is in them.
	rollUp = `
INSERT INTO monitor_rollups AS r (tenant_id, monitor_id, step, bucket, region, up, degraded, down, not_checked, late, missed, duration_us, latency, lag)
SELECT tenant_id, monitor_id, $1, date_trunc($2, bucket, 'UTC'), region, sum(up), sum(degraded), sum(down), sum(not_checked), sum(late), sum(missed), sum(duration_us),
    beaconpost_sum_counts(latency), beaconpost_sum_counts(lag)
FROM monitor_rollups WHERE step = $3 AND bucket >= $4 AND bucket < $5
GROUP BY tenant_id, monitor_id, date_trunc($2, bucket, 'UTC'), region
ON CONFLICT (tenant_id, monitor_id, step, bucket, region) DO UPDATE SET
    up = excluded.up, degraded = excluded.degraded, down = excluded.down, not_checked = excluded.not_checked, late = excluded.late, missed = excluded.missed,
    duration_us = excluded.duration_us, latency = excluded.latency, lag = excluded.lag
WHERE (r.up, r.degraded, r.down, r.not_checked, r.late, r.missed, r.duration_us, r.lag)
    IS DISTINCT FROM (excluded.up, excluded.degraded, excluded.down, excluded.not_checked, excluded.late, excluded.missed, excluded.duration_us, excluded.lag)`
)

// RollUp makes the rollups of whole hours that ended within so long before now, and those of whole days.
func (s *Store) RollUp(ctx context.Context, now time.Time, hours, days time.Duration) error {
	hour, day := now.UTC().Truncate(time.Hour), now.UTC().Truncate(24*time.Hour)
	return s.db.As(ctx, postgres.RoleMonitor, func(ctx context.Context, q postgres.Querier) error {
		var mine bool
		if err := q.QueryRow(ctx, tryRollUp).Scan(&mine); err != nil || !mine {
			return err
		}
		if _, err := q.Exec(ctx, rollUp, "1h", "hour", "5m", hour.Add(-hours), hour); err != nil {
			return err
		}
		if days == 0 {
			return nil
		}
		_, err := q.Exec(ctx, rollUp, "1d", "day", "1h", day.Add(-days), day)
		return err
	})
}

const (
	ensurePartitions = `SELECT beaconpost_ensure_monitor_partitions((now() AT TIME ZONE 'UTC')::date - 1, (now() AT TIME ZONE 'UTC')::date + 7)`
	// Checks that were not counted yet are kept (package usage).
	dropPartitions = `SELECT beaconpost_drop_monitor_partitions(
    least((now() AT TIME ZONE 'UTC' - $1::interval)::date, (SELECT (counted_until AT TIME ZONE 'UTC')::date FROM usage_progress WHERE part = 'monitor')), (now() AT TIME ZONE 'UTC' - $2::interval)::date, (now() AT TIME ZONE 'UTC' - $3::interval)::date)`
	partitionsAhead = `SELECT beaconpost_monitor_partitions_ahead()`
)

// Retention is for how long what is stored is kept: checks, and rollups of five minutes and of hours. Those of days stay.
type Retention struct{ Checks, Fives, Hours time.Duration }

// Maintain makes partitions ahead, drops those that are too old, and says for how many days there are some.
func (s *Store) Maintain(ctx context.Context, keep Retention) (ahead int, err error) {
	err = s.db.As(ctx, postgres.RoleMonitor, func(ctx context.Context, q postgres.Querier) error {
		if _, err := q.Exec(ctx, ensurePartitions); err != nil {
			return err
		}
		return q.QueryRow(ctx, partitionsAhead).Scan(&ahead)
	})
	if err != nil {
		return 0, err
	}
	return ahead, s.db.As(ctx, postgres.RoleMonitor, func(ctx context.Context, q postgres.Querier) error { // on its own: it may not get its locks
		_, err := q.Exec(ctx, dropPartitions, keep.Checks, keep.Fives, keep.Hours)
		return err
	})
}
