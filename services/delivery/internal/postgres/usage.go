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
	// An attempt that succeeded delivered. Attempts come first: it is the order in which dropping a day locks the tables.
	countUsage = `
INSERT INTO tenant_usage AS u (tenant_id, hour, events, event_bytes, notices, deliveries, attempts, delivered, exhausted)
SELECT tenant_id, date_trunc('hour', $1::timestamptz, 'UTC'), sum(events), sum(event_bytes), sum(notices), sum(deliveries), sum(attempts), sum(delivered), sum(exhausted)
FROM (
    SELECT tenant_id, 0 AS events, 0 AS event_bytes, 0 AS notices, 0 AS deliveries,
        count(*) AS attempts, count(*) FILTER (WHERE error_class IS NULL AND status_code BETWEEN 200 AND 299) AS delivered, count(*) FILTER (WHERE exhausted) AS exhausted
    FROM delivery_attempts WHERE recorded_at >= $1 AND recorded_at < $2 AND id >= $3
    GROUP BY tenant_id
    UNION ALL
    SELECT tenant_id, count(*) FILTER (WHERE event_type <> ALL ($4)), coalesce(sum(coalesce(scrubbed_bytes, octet_length(payload))) FILTER (WHERE event_type <> ALL ($4)), 0),
        count(*) FILTER (WHERE event_type = ANY ($4)), coalesce(sum(fanout), 0), 0, 0, 0
    FROM webhook_events WHERE recorded_at >= $1 AND recorded_at < $2 AND id >= $3
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
