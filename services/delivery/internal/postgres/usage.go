package postgres

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/beaconpost/beaconpost/pkg/notice"
	"github.com/beaconpost/beaconpost/pkg/postgres"
	"github.com/beaconpost/beaconpost/pkg/usage"
)

const (
	// An event's deliveries are a range of the key, and were stored with it. An attempt that succeeded delivered.
	countUsage = `
INSERT INTO tenant_usage AS u (tenant_id, hour, events, event_bytes, notices, deliveries, attempts, delivered, exhausted)
SELECT tenant_id, date_trunc('hour', $1::timestamptz, 'UTC'), sum(events), sum(event_bytes), sum(notices), sum(deliveries), sum(attempts), sum(delivered), sum(exhausted)
FROM (
    SELECT e.tenant_id, count(*) FILTER (WHERE e.event_type <> ALL ($4)) AS events,
        coalesce(sum(coalesce(e.scrubbed_bytes, octet_length(e.payload))) FILTER (WHERE e.event_type <> ALL ($4)), 0) AS event_bytes,
        count(*) FILTER (WHERE e.event_type = ANY ($4)) AS notices, sum(d.n) AS deliveries, 0 AS attempts, 0 AS delivered, 0 AS exhausted
    FROM webhook_events e CROSS JOIN LATERAL (
        SELECT count(*) AS n FROM deliveries d WHERE d.tenant_id = e.tenant_id AND d.event_id = e.id AND d.id >= $3
            AND d.id >= (left(e.id::text, 13) || '-0000-0000-000000000000')::uuid AND d.id <= (left(e.id::text, 13) || '-ffff-ffff-ffffffffffff')::uuid
        OFFSET 0
    ) d
    WHERE e.recorded_at >= $1 AND e.recorded_at < $2 AND e.id >= $3
    GROUP BY e.tenant_id
    UNION ALL
    SELECT tenant_id, 0, 0, 0, 0, count(*), count(*) FILTER (WHERE error_class IS NULL AND status_code BETWEEN 200 AND 299), count(*) FILTER (WHERE exhausted)
    FROM delivery_attempts WHERE recorded_at >= $1 AND recorded_at < $2 AND id >= $3
    GROUP BY tenant_id
) c
GROUP BY tenant_id
ON CONFLICT (tenant_id, hour) DO UPDATE SET
    events = u.events + excluded.events, event_bytes = u.event_bytes + excluded.event_bytes, notices = u.notices + excluded.notices, deliveries = u.deliveries + excluded.deliveries,
    attempts = u.attempts + excluded.attempts, delivered = u.delivered + excluded.delivered, exhausted = u.exhausted + excluded.exhausted`
	expireUsage = `DELETE FROM tenant_usage WHERE hour < now() - $1::interval`
)

// Usage counts what tenants used of events, deliveries and attempts.
func (s *Store) Usage() usage.Counting {
	return usage.Counting{
		DB: s.db, Role: postgres.RoleDelivery, Part: usage.Delivery, Tables: []string{"webhook_events", "delivery_attempts"}, Expire: expireUsage,
		Count: func(ctx context.Context, q postgres.Querier, from, until time.Time, low uuid.UUID) error {
			_, err := q.Exec(ctx, countUsage, from, until, low, notice.Types())
			return err
		},
	}
}
