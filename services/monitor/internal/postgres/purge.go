package postgres

import (
	"context"
	"time"

	"github.com/beaconpost/beaconpost/pkg/postgres"
	"github.com/beaconpost/beaconpost/pkg/uuid7"
)

// Rows that are few and live long are deleted one by one, unlike results: so many of each tenant, or monitor, at a time. Ids begin with the time, so that the
// keys give the oldest first.
const (
	tryPurge = `SELECT pg_try_advisory_xact_lock(hashtext('beaconpost_monitor_purge'))`

	purgeNotifications = `
DELETE FROM notifications n USING (
    SELECT t.id AS tenant_id, x.id FROM tenants t
    CROSS JOIN LATERAL (SELECT id FROM notifications WHERE tenant_id = t.id AND id < $1 AND status <> 'pending' ORDER BY id LIMIT 1000) x) old
WHERE n.tenant_id = old.tenant_id AND n.id = old.id`

	// Of what is told of incidents that are over, nothing is needed any more.
	purgeIncidents = `
WITH old AS MATERIALIZED (
    SELECT t.id AS tenant_id, x.id FROM tenants t
    CROSS JOIN LATERAL (SELECT id FROM incidents WHERE tenant_id = t.id AND id < $1 AND resolved_at < $2 AND untold = '{}' ORDER BY id LIMIT 1000) x),
notes AS (DELETE FROM incident_notes n USING old WHERE n.tenant_id = old.tenant_id AND n.incident_id = old.id),
sends AS (DELETE FROM notifications n USING old WHERE n.tenant_id = old.tenant_id AND n.incident_id = old.id),
progress AS (DELETE FROM alert_progress a USING old WHERE a.tenant_id = old.tenant_id AND a.incident_id = old.id)
DELETE FROM incidents i USING old WHERE i.tenant_id = old.tenant_id AND i.id = old.id`

	purgeIntervals = `
DELETE FROM monitor_intervals i USING (
    SELECT s.tenant_id, s.monitor_id, x.started_at FROM monitor_states s
    CROSS JOIN LATERAL (SELECT started_at FROM monitor_intervals
        WHERE tenant_id = s.tenant_id AND monitor_id = s.monitor_id AND started_at < $1 AND ended_at < $1 ORDER BY started_at LIMIT 1000) x) old
WHERE i.tenant_id = old.tenant_id AND i.monitor_id = old.monitor_id AND i.started_at = old.started_at`
)

// Purge deletes notifications that were settled, and incidents and intervals that were over, for so long; 0: none. It says whether there may be more.
func (s *Store) Purge(ctx context.Context, now time.Time, notifications, history time.Duration) (more bool, err error) {
	err = s.db.As(ctx, postgres.RoleMonitor, func(ctx context.Context, q postgres.Querier) error {
		var mine bool
		if err := q.QueryRow(ctx, tryPurge).Scan(&mine); err != nil || !mine {
			return err
		}
		purge := func(query string, args ...any) error {
			tag, err := q.Exec(ctx, query, args...)
			more = more || tag.RowsAffected() > 0
			return err
		}
		if notifications > 0 {
			if err := purge(purgeNotifications, uuid7.Floor(now.Add(-notifications))); err != nil {
				return err
			}
		}
		if history == 0 {
			return nil
		}
		from := now.Add(-history)
		if err := purge(purgeIncidents, uuid7.Floor(from), from); err != nil {
			return err
		}
		return purge(purgeIntervals, from)
	})
	return more && err == nil, err
}
