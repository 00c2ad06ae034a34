package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/beaconpost/beaconpost/pkg/postgres"
	"github.com/beaconpost/beaconpost/pkg/uuid7"
)

const (
	scrubBatch = 2000
	// A tenant that no other replica works on, the one that was looked at least first.
	lockScrub = `
SELECT tenant_id, scrubbed_to, beaconpost_uuid_floor(now() - after_ms * interval '1 millisecond'), rescan_at <= now() FROM payload_retention
WHERE scrubbed_to < beaconpost_uuid_floor(now() - after_ms * interval '1 millisecond' - interval '1 minute') OR rescan_at <= now()
ORDER BY scrubbed_to LIMIT 1 FOR UPDATE SKIP LOCKED`
	// The deliveries of an event are a range of the key.
	scrubPayloads = `
WITH looked AS MATERIALIZED (
    SELECT id, payload <> '' AS kept FROM webhook_events WHERE tenant_id = $1 AND id > $2 AND id < $3 ORDER BY id LIMIT $4
), scrubbed AS (
    UPDATE webhook_events e SET payload = '' FROM looked l
    WHERE e.tenant_id = $1 AND e.id = l.id AND l.kept AND NOT EXISTS (
        SELECT FROM deliveries d WHERE d.tenant_id = $1 AND d.event_id = l.id AND d.status = 'pending'
            AND d.id >= (left(l.id::text, 13) || '-0000-0000-000000000000')::uuid AND d.id <= (left(l.id::text, 13) || '-ffff-ffff-ffffffffffff')::uuid)
    RETURNING 1
)
SELECT (SELECT count(*) FROM scrubbed), (SELECT count(*) FROM looked), (SELECT id FROM looked ORDER BY id DESC LIMIT 1)`
	noteScrub = `UPDATE payload_retention SET scrubbed_to = $2, rescan_at = CASE WHEN $3 THEN now() + interval '1 day' ELSE rescan_at END WHERE tenant_id = $1`
)

// Scrub empties payloads of one tenant that does not keep them, a batch of events, and says how many. more is false when there was nothing to look at.
// What was pending is looked at again a day later.
func (s *Store) Scrub(ctx context.Context) (scrubbed int, more bool, err error) {
	err = s.db.AsKeys(ctx, postgres.RoleDelivery, func(ctx context.Context, q postgres.Querier) error {
		var t, to, until uuid.UUID
		var rescan bool
		err := q.QueryRow(ctx, lockScrub).Scan(&t, &to, &until, &rescan)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		if rescan {
			to = uuid.Nil
		}
		var looked int
		var last *uuid.UUID
		if err := q.QueryRow(ctx, scrubPayloads, t, to, until, scrubBatch).Scan(&scrubbed, &looked, &last); err != nil {
			return err
		}
		more, to = true, until
		if looked == scrubBatch {
			to = *last
		}
		_, err = q.Exec(ctx, noteScrub, t, to, rescan)
		return err
	})
	return scrubbed, more, err
}

const (
	// From one endpoint with parked deliveries to the next, by the index of these.
	parkedEndpoints = `
WITH RECURSIVE e AS (
    (SELECT tenant_id, endpoint_id FROM deliveries WHERE status = 'pending' AND next_attempt_at = 'infinity' ORDER BY tenant_id, endpoint_id LIMIT 1)
    UNION ALL
    SELECT n.tenant_id, n.endpoint_id FROM e CROSS JOIN LATERAL (
        SELECT tenant_id, endpoint_id FROM deliveries d
        WHERE status = 'pending' AND next_attempt_at = 'infinity' AND (d.tenant_id, d.endpoint_id) > (e.tenant_id, e.endpoint_id)
        ORDER BY tenant_id, endpoint_id LIMIT 1
    ) n
), found AS MATERIALIZED (
    SELECT e.tenant_id, e.endpoint_id, p.deleted_at IS NOT NULL AS deleted, p.status = 'enabled' AND p.breaker = 'closed' AS well
    FROM e JOIN endpoints p ON p.tenant_id = e.tenant_id AND p.id = e.endpoint_id
)`
	adoptParked = parkedEndpoints + `
INSERT INTO endpoint_health (tenant_id, endpoint_id, state, since, look_at)
SELECT tenant_id, endpoint_id, 'closed', now() - interval '1 hour', now() FROM found WHERE well AND NOT deleted ORDER BY 1, 2
ON CONFLICT (tenant_id, endpoint_id) DO NOTHING`
	cancelParkedOfDeleted = parkedEndpoints + `, which AS MATERIALIZED (
    SELECT d.tenant_id, d.id FROM found f CROSS JOIN LATERAL (
        SELECT tenant_id, id FROM deliveries WHERE tenant_id = f.tenant_id AND endpoint_id = f.endpoint_id AND status = 'pending' AND next_attempt_at = 'infinity'
        ORDER BY id LIMIT 5000 FOR UPDATE SKIP LOCKED
    ) d WHERE f.deleted
)
UPDATE deliveries d SET status = 'cancelled', cancel_reason = 'endpoint_deleted', completed_at = now() FROM which w WHERE d.tenant_id = w.tenant_id AND d.id = w.id`
	expireParked = `
WITH old AS MATERIALIZED (
    SELECT tenant_id, id FROM deliveries WHERE status = 'pending' AND next_attempt_at = 'infinity' AND id < $1 LIMIT 5000 FOR UPDATE SKIP LOCKED
)
UPDATE deliveries d SET status = 'cancelled', cancel_reason = 'expired', completed_at = now() FROM old o WHERE d.tenant_id = o.tenant_id AND d.id = o.id`
)

// Adopt finds parked deliveries that nobody would take up: of endpoints that do well, which get a record that a drain follows from, and of deleted ones,
// which end. They were stored while a drain ended or an endpoint was deleted.
func (s *Store) Adopt(ctx context.Context) (adopted int64, err error) {
	err = s.db.AsKeys(ctx, postgres.RoleDelivery, func(ctx context.Context, q postgres.Querier) error {
		tag, err := q.Exec(ctx, adoptParked)
		if err != nil {
			return err
		}
		adopted = tag.RowsAffected()
		_, err = q.Exec(ctx, cancelParkedOfDeleted)
		return err
	})
	return adopted, err
}

// ExpireParked ends parked deliveries of that age, and says how many; at most a batch.
func (s *Store) ExpireParked(ctx context.Context, age time.Duration) (expired int64, err error) {
	err = s.db.AsKeys(ctx, postgres.RoleDelivery, func(ctx context.Context, q postgres.Querier) error {
		tag, err := q.Exec(ctx, expireParked, uuid7.Floor(time.Now().Add(-age)))
		expired = tag.RowsAffected()
		return err
	})
	return expired, err
}
