package postgres

import (
	"context"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/beaconpost/beaconpost/pkg/postgres"
	"github.com/beaconpost/beaconpost/pkg/tenant"
	"github.com/beaconpost/beaconpost/services/delivery/internal/delivery"
)

const (
	nameTenants = `SELECT set_config('app.tenant_ids', $1, true)`
	// Who subscribes does so by name: an endpoint that wants everything did not mean this. A delivery shares the millisecond of its event's id. Of a delivery
	// that did not become exhausted by the same transaction nothing is told.
	insertNotices = `
WITH subscribed AS MATERIALIZED (
    SELECT n.tenant_id, n.id, n.event_type, n.payload, about.project_id, p.id AS endpoint_id, p.status = 'disabled' OR p.breaker <> 'closed' AS parked
    FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::uuid[], $5::uuid[], $6::bytea[]) AS n (tenant_id, id, event_type, about, delivery_id, payload)
    JOIN endpoints about ON about.tenant_id = n.tenant_id AND about.id = n.about
    JOIN endpoints p ON p.tenant_id = n.tenant_id AND p.id <> n.about AND p.deleted_at IS NULL AND (p.project_id IS NULL OR p.project_id = about.project_id)
        AND p.event_types && ARRAY['endpoint.*', 'endpoint.failing', 'endpoint.disabled', 'endpoint.recovered', 'delivery.*', 'delivery.exhausted']
        AND p.event_types && ARRAY[n.event_type, split_part(n.event_type, '.', 1) || '.*']
    WHERE n.delivery_id IS NULL OR EXISTS (
        SELECT FROM deliveries d WHERE d.tenant_id = n.tenant_id AND d.id = n.delivery_id AND d.status = 'exhausted' AND d.completed_at = now())
), events AS (
    INSERT INTO webhook_events (tenant_id, id, project_id, event_type, payload) SELECT DISTINCT tenant_id, id, project_id, event_type, payload FROM subscribed
)
INSERT INTO deliveries (tenant_id, id, event_id, endpoint_id, next_attempt_at)
SELECT tenant_id, (left(id::text, 13) || '-7' || substr(gen_random_uuid()::text, 16))::uuid, id, endpoint_id, CASE WHEN parked THEN 'infinity' ELSE now() END FROM subscribed
RETURNING tenant_id, id, next_attempt_at, isfinite(next_attempt_at)`
)

func noticeArgs(notices []delivery.Notice) []any {
	n := len(notices)
	return []any{
		postgres.UUIDs(n, func(i int) uuid.UUID { return notices[i].Tenant.UUID() }),
		postgres.UUIDs(n, func(i int) uuid.UUID { return notices[i].ID }),
		postgres.Texts(n, func(i int) string { return notices[i].Type }),
		postgres.UUIDs(n, func(i int) uuid.UUID { return notices[i].About }),
		postgres.NullUUIDs(n, func(i int) *uuid.UUID {
			if notices[i].Delivery == uuid.Nil {
				return nil
			}
			return &notices[i].Delivery
		}),
		postgres.NullBytes(n, func(i int) []byte { return notices[i].Payload }),
	}
}

func noticedTenants(notices []delivery.Notice) string {
	ids := make([]string, len(notices))
	for i, n := range notices {
		ids[i] = n.Tenant.String()
	}
	return strings.Join(ids, ",")
}

// readNotified gives the deliveries of notices that are due.
func readNotified(rows pgx.Rows) (due []delivery.Request, err error) {
	for rows.Next() {
		var t uuid.UUID
		var at postgres.Instant
		var when time.Time
		at.Time = &when
		var now bool
		r := delivery.Request{Attempt: 1}
		if err := rows.Scan(&t, &r.ID, at, &now); err != nil {
			return nil, err
		}
		r.Tenant, r.Due = tenant.ID(t), when
		if now {
			due = append(due, r)
		}
	}
	return due, rows.Err()
}

// notify stores notices with their deliveries in q's transaction, and gives those that are to be announced after it.
func notify(ctx context.Context, q postgres.Querier, notices ...delivery.Notice) ([]delivery.Request, error) {
	if _, err := q.Exec(ctx, nameTenants, noticedTenants(notices)); err != nil {
		return nil, err
	}
	rows, err := q.Query(ctx, insertNotices, noticeArgs(notices)...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	return readNotified(rows)
}
