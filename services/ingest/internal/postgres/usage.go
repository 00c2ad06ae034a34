package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/beaconpost/beaconpost/pkg/notice"
	"github.com/beaconpost/beaconpost/pkg/postgres"
	"github.com/beaconpost/beaconpost/pkg/tenant"
	"github.com/beaconpost/beaconpost/services/ingest/internal/account"
)

// usageLive is how much of what was not counted yet is counted for whoever asks: all of it as long as counting works.
const usageLive = 15 * time.Minute

// usageAtOnce is how many questions are answered at the same time: one may take as long as hundreds of commits, which need connections too.
const usageAtOnce = 2

// turn waits until a question may be answered. Call done after it.
func (s *Accounts) turn(ctx context.Context) (done func(), err error) {
	select {
	case s.usage <- struct{}{}:
		return func() { <-s.usage }, nil
	case <-ctx.Done():
		return nil, postgres.Fault(ctx.Err())
	}
}

const (
	countedSoFar = `
SELECT max(counted_from) FILTER (WHERE part = 'delivery') AS counted_from, max(counted_until) FILTER (WHERE part = 'delivery') AS counted_until,
    max(counted_until) FILTER (WHERE part = 'monitor') AS checks_until FROM usage_progress`
	// One statement, so that nothing is counted twice, or left out, while counting goes on. The bounds of the key are computed beforehand: a function in a condition on
	// rows would keep row-level security from using the key.
	selectUsage = `
WITH p AS MATERIALIZED (
    SELECT c.*, beaconpost_uuid_floor(c.counted_until - $6::interval) AS low, beaconpost_uuid_floor(c.counted_until + 2 * $6::interval) AS high, c.counted_until + $6::interval AS live_until FROM (` + countedSoFar + `) c
), hours AS (
    SELECT hour, events, event_bytes, notices, deliveries, attempts, delivered, exhausted, 0 AS checks, 0 AS notifications
    FROM tenant_usage WHERE tenant_id = $1 AND hour >= $2 AND hour < $3
    UNION ALL
    SELECT hour, 0, 0, 0, 0, 0, 0, 0, checks, notifications FROM monitor_usage WHERE tenant_id = $1 AND hour >= $2 AND hour < $3
    UNION ALL
    SELECT e.hour, e.events, e.bytes, e.notices, e.deliveries, 0, 0, 0, 0, 0 FROM p CROSS JOIN LATERAL (
        SELECT date_trunc('hour', e.recorded_at, 'UTC') AS hour, count(*) FILTER (WHERE e.event_type <> ALL ($5)) AS events, count(*) FILTER (WHERE e.event_type = ANY ($5)) AS notices,
            sum(e.fanout) AS deliveries, sum(CASE WHEN e.event_type <> ALL ($5) THEN coalesce(e.scrubbed_bytes, octet_length(e.payload)) END) AS bytes
        FROM webhook_events e
        WHERE e.tenant_id = $1 AND e.id >= p.low AND e.id < p.high AND e.recorded_at >= p.counted_until AND e.recorded_at < p.live_until AND e.recorded_at >= $2 AND e.recorded_at < $3
        GROUP BY 1
    ) e
)
SELECT p.counted_from, p.counted_until, p.checks_until, b.begin, coalesce(b.events, 0), coalesce(b.event_bytes, 0), coalesce(b.notices, 0), coalesce(b.deliveries, 0),
    coalesce(b.attempts, 0), coalesce(b.delivered, 0), coalesce(b.exhausted, 0), coalesce(b.checks, 0), coalesce(b.notifications, 0)
FROM p LEFT JOIN (
    SELECT date_trunc($4, hour, 'UTC') AS begin, sum(events)::bigint AS events, sum(event_bytes)::bigint AS event_bytes, sum(notices)::bigint AS notices, sum(deliveries)::bigint AS deliveries,
        sum(attempts)::bigint AS attempts, sum(delivered)::bigint AS delivered, sum(exhausted)::bigint AS exhausted, sum(checks)::bigint AS checks, sum(notifications)::bigint AS notifications
    FROM hours GROUP BY 1
) b ON true ORDER BY b.begin`
)

// Usage gives the buckets of a period in which t used something, in order. Events that were not counted yet, and the deliveries made of them, are among them; the rest is as it was counted.
func (s *Accounts) Usage(ctx context.Context, t tenant.ID, p account.Period) (counted account.Counted, buckets []account.UsageBucket, err error) {
	done, err := s.turn(ctx)
	if err != nil {
		return counted, nil, err
	}
	defer done()
	err = s.db.InTenant(ctx, t, func(ctx context.Context, q postgres.Querier) error {
		rows, err := q.Query(ctx, selectUsage, t.UUID(), p.From, p.Until, string(p.Step), notice.Types(), usageLive)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var b account.UsageBucket
			into := append(scanCounted(&counted), postgres.Instant{Time: &b.Begin})
			if err := rows.Scan(append(into, scanUsage(&b.Usage)...)...); err != nil {
				return err
			}
			if !b.Begin.IsZero() {
				buckets = append(buckets, b)
			}
		}
		return rows.Err()
	})
	return counted, buckets, err
}

func scanCounted(c *account.Counted) []any {
	return []any{postgres.Instant{Time: &c.From}, postgres.Instant{Time: &c.Until}, postgres.Instant{Time: &c.ChecksUntil}}
}

func scanUsage(u *account.Usage) []any {
	return []any{&u.Events, &u.EventBytes, &u.Notices, &u.Deliveries, &u.Attempts, &u.Delivered, &u.Exhausted, &u.Checks, &u.Notifications}
}

// Found by the one number, which is a fraction of adding all of them up for every tenant.
const selectTopUsage = `
SELECT top.tenant_id, coalesce((SELECT name FROM tenants t WHERE t.id = top.tenant_id), ''), coalesce(u.events, 0), coalesce(u.event_bytes, 0), coalesce(u.notices, 0), coalesce(u.deliveries, 0),
    coalesce(u.attempts, 0), coalesce(u.delivered, 0), coalesce(u.exhausted, 0), coalesce(m.checks, 0), coalesce(m.notifications, 0)
FROM (
    SELECT tenant_id, sum(%[1]s) AS n FROM %[2]s WHERE hour >= $1 AND hour < $2 GROUP BY tenant_id HAVING sum(%[1]s) > 0 ORDER BY n DESC, tenant_id LIMIT $3
) top CROSS JOIN LATERAL (
    SELECT sum(events)::bigint AS events, sum(event_bytes)::bigint AS event_bytes, sum(notices)::bigint AS notices, sum(deliveries)::bigint AS deliveries,
        sum(attempts)::bigint AS attempts, sum(delivered)::bigint AS delivered, sum(exhausted)::bigint AS exhausted
    FROM tenant_usage u WHERE u.tenant_id = top.tenant_id AND u.hour >= $1 AND u.hour < $2
) u CROSS JOIN LATERAL (
    SELECT sum(checks)::bigint AS checks, sum(notifications)::bigint AS notifications FROM monitor_usage m WHERE m.tenant_id = top.tenant_id AND m.hour >= $1 AND m.hour < $2
) m
ORDER BY top.n DESC, top.tenant_id`

// topTable says where a number that can be asked for is counted.
func topTable(sort account.UsageSort) string {
	if sort == account.ByChecks {
		return "monitor_usage"
	}
	return "tenant_usage"
}

// TopUsage gives the tenants that used most of something. Its caller is the operator. What was not counted yet is not among it.
func (s *Accounts) TopUsage(ctx context.Context, p account.Period, sort account.UsageSort, limit int) (counted account.Counted, top []account.TenantUsage, err error) {
	done, err := s.turn(ctx)
	if err != nil {
		return counted, nil, err
	}
	defer done()
	column := pgx.Identifier{string(sort)}.Sanitize()
	err = s.db.As(ctx, postgres.RoleIngest, func(ctx context.Context, q postgres.Querier) error {
		if err := q.QueryRow(ctx, countedSoFar).Scan(scanCounted(&counted)...); err != nil {
			return err
		}
		rows, err := q.Query(ctx, fmt.Sprintf(selectTopUsage, column, topTable(sort)), p.From, p.Until, limit)
		if err != nil {
			return err
		}
		top, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (u account.TenantUsage, err error) {
			var id uuid.UUID
			err = row.Scan(append([]any{&id, &u.Name}, scanUsage(&u.Usage)...)...)
			u.Tenant = tenant.ID(id)
			return u, err
		})
		return err
	})
	return counted, top, err
}
