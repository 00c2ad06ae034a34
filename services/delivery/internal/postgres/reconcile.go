package postgres

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/beaconpost/beaconpost/pkg/postgres"
	"github.com/beaconpost/beaconpost/pkg/tenant"
	"github.com/beaconpost/beaconpost/services/delivery/internal/delivery"
)

// Oldest first by the partial index; rows that another replica works on are left to it. Moving next_attempt_at is the lease: the row is
// overdue again after the grace, whatever happens to its message.
const leaseOverdue = `
WITH overdue AS (
    SELECT tenant_id, id FROM deliveries
    WHERE status = 'pending' AND beaconpost_shard(tenant_id) = $1 AND next_attempt_at < $2 AND coalesce(claimed_until < now(), true)
    ORDER BY next_attempt_at LIMIT $3 FOR UPDATE SKIP LOCKED
)
UPDATE deliveries d SET next_attempt_at = now() FROM overdue o
WHERE d.tenant_id = o.tenant_id AND d.id = o.id
RETURNING d.tenant_id, d.id, d.attempts + 1, d.next_attempt_at, coalesce(d.traceparent, '')`

// Overdue implements delivery.OverdueStore.
func (s *Store) Overdue(ctx context.Context, shard int, before time.Time, limit int) ([]delivery.Request, error) {
	var requests []delivery.Request
	err := s.db.AsBatch(ctx, postgres.RoleDelivery, func(ctx context.Context, q postgres.Querier) error {
		rows, err := q.Query(ctx, leaseOverdue, shard, before, limit)
		if err != nil {
			return err
		}
		requests, err = pgx.CollectRows(rows, scanRequest)
		return err
	})
	return requests, err
}

func scanRequest(row pgx.CollectableRow) (delivery.Request, error) {
	r := delivery.Request{MustClaim: true}
	var t uuid.UUID
	err := row.Scan(&t, &r.ID, &r.Attempt, &r.Due, &r.Traceparent)
	r.Tenant = tenant.ID(t)
	return r, err
}

const (
	unaccountedMost = 10000 // per shard
	// Counted up to a bound: the number matters less than that it is not 0.
	countUnaccounted = `
SELECT count(*), coalesce(extract(epoch FROM now() - min(o.next_attempt_at)), 0)::float8
FROM unnest($1::timestamptz[]) WITH ORDINALITY AS b (before, n)
CROSS JOIN LATERAL (
    SELECT next_attempt_at FROM deliveries
    WHERE status = 'pending' AND beaconpost_shard(tenant_id) = b.n - 1 AND next_attempt_at < b.before AND coalesce(claimed_until < now(), true)
    ORDER BY next_attempt_at LIMIT $2
) o`
)

// Unaccounted implements delivery.OverdueStore.
func (s *Store) Unaccounted(ctx context.Context, before []time.Time) (count int, oldest time.Duration, err error) {
	err = s.db.AsBatch(ctx, postgres.RoleDelivery, func(ctx context.Context, q postgres.Querier) error {
		var seconds float64
		err := q.QueryRow(ctx, countUnaccounted, before, unaccountedMost).Scan(&count, &seconds)
		oldest = time.Duration(seconds * float64(time.Second))
		return err
	})
	return count, oldest, err
}

const (
	daysAhead        = 7
	ensurePartitions = `SELECT beaconpost_ensure_partitions((now() AT TIME ZONE 'UTC')::date - 1, (now() AT TIME ZONE 'UTC')::date + $1::int)`
	// Days with a pending delivery are found without a lock; dropPartitions looks again, with one, at the others.
	// MATERIALIZED: the planner would try to_date on every name in the catalog.
	selectKept = `
WITH partitions AS MATERIALIZED (
    SELECT right(c.relname, 8) AS suffix FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'deliveries'::regclass
), days AS MATERIALIZED (
    SELECT to_date(suffix, 'YYYYMMDD') AS day FROM partitions
)
SELECT day::text FROM days
WHERE day < ((now() - $1::interval) AT TIME ZONE 'UTC')::date AND EXISTS (
    SELECT FROM deliveries WHERE status = 'pending'
        AND id >= beaconpost_uuid_floor(day::timestamp AT TIME ZONE 'UTC') AND id < beaconpost_uuid_floor((day + 1)::timestamp AT TIME ZONE 'UTC'))`
	// What was not counted yet is kept (package usage).
	dropPartitions = `
SELECT beaconpost_drop_partitions(least(((now() - $1::interval) AT TIME ZONE 'UTC')::date, (SELECT (counted_until AT TIME ZONE 'UTC')::date FROM usage_progress WHERE part = 'delivery')), $2::text[]::date[])`
	partitionsAhead = `SELECT beaconpost_partitions_ahead()`
)

// Maintain makes partitions for the days ahead, drops those older than retention (0: none), and says for how many days after today there are
// partitions.
func (s *Store) Maintain(ctx context.Context, retention time.Duration) (ahead int, err error) {
	err = s.db.As(ctx, postgres.RoleDelivery, func(ctx context.Context, q postgres.Querier) error {
		if _, err := q.Exec(ctx, ensurePartitions, daysAhead); err != nil {
			return err
		}
		return q.QueryRow(ctx, partitionsAhead).Scan(&ahead)
	})
	if err != nil || retention == 0 {
		return ahead, err
	}
	// On its own: dropping waits for locks, and must not undo what was made.
	return ahead, s.db.As(ctx, postgres.RoleDelivery, func(ctx context.Context, q postgres.Querier) error {
		rows, err := q.Query(ctx, selectKept, retention)
		if err != nil {
			return err
		}
		kept, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return err
		}
		_, err = q.Exec(ctx, dropPartitions, retention, kept)
		return err
	})
}
