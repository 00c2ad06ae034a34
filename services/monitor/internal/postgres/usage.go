package postgres

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/beaconpost/beaconpost/pkg/postgres"
	"github.com/beaconpost/beaconpost/pkg/usage"
)

const (
	countUsage = `
INSERT INTO monitor_usage AS u (tenant_id, hour, checks, notifications)
SELECT tenant_id, date_trunc('hour', $1::timestamptz, 'UTC'), sum(checks), sum(notifications)
FROM (
    SELECT tenant_id, count(*) AS checks, 0 AS notifications FROM monitor_checks
    WHERE recorded_at >= $1 AND recorded_at < $2 AND id >= $3 AND outcome <> 'not_checked' GROUP BY tenant_id
    UNION ALL
    SELECT tenant_id, 0, count(*) FROM notifications WHERE sent_at >= $1 AND sent_at < $2 GROUP BY tenant_id
) c
GROUP BY tenant_id
ON CONFLICT (tenant_id, hour) DO UPDATE SET checks = u.checks + excluded.checks, notifications = u.notifications + excluded.notifications`
	expireUsage = `DELETE FROM monitor_usage WHERE hour < now() - $1::interval`
)

// Usage counts what tenants used of checks and notifications.
func (s *Store) Usage() usage.Counting {
	return usage.Counting{
		DB: s.db, Role: postgres.RoleMonitor, Part: usage.Monitor, Tables: []string{"monitor_checks"}, Expire: expireUsage,
		Count: func(ctx context.Context, q postgres.Querier, from, until time.Time, low uuid.UUID) error {
			_, err := q.Exec(ctx, countUsage, from, until, low)
			return err
		},
	}
}
