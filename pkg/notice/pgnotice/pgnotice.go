// Package pgnotice stores notices with their deliveries, in the transaction that changes what they tell of.
package pgnotice

import (
	"context"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/beaconpost/beaconpost/pkg/notice"
	"github.com/beaconpost/beaconpost/pkg/postgres"
	"github.com/beaconpost/beaconpost/pkg/stream"
	"github.com/beaconpost/beaconpost/pkg/tenant"
)

const (
	nameTenants = `SELECT set_config('app.tenant_ids', $1, true)`
	// subscribable is what the index endpoints_operational is for, word for word.
	subscribable = `ARRAY['endpoint.*', 'endpoint.failing', 'endpoint.disabled', 'endpoint.recovered', 'delivery.*', 'delivery.exhausted',
            'monitor.*', 'monitor.down', 'monitor.degraded', 'monitor.up', 'monitor.certificate_expiring', 'heartbeat.*', 'heartbeat.missed',
            'incident.*', 'incident.opened', 'incident.acknowledged', 'incident.resolved']`
	// Who subscribes does so by name: an endpoint that wants everything did not mean this. A delivery shares the millisecond of its event's id. Of a delivery
	// that did not become exhausted by the same transaction nothing is told.
	insertNotices = `
WITH subscribed AS MATERIALIZED (
    SELECT n.tenant_id, n.id, n.event_type, n.payload, coalesce(n.project_id, about.project_id) AS project_id, p.id AS endpoint_id, p.status = 'disabled' OR p.breaker <> 'closed' AS parked
    FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::uuid[], $5::uuid[], $6::bytea[], $7::uuid[]) AS n (tenant_id, id, event_type, about, delivery_id, payload, project_id)
    LEFT JOIN endpoints about ON about.tenant_id = n.tenant_id AND about.id = n.about
    JOIN endpoints p ON p.tenant_id = n.tenant_id AND p.id IS DISTINCT FROM n.about AND p.deleted_at IS NULL
        AND (p.project_id IS NULL OR p.project_id = coalesce(n.project_id, about.project_id))
        AND p.event_types && ` + subscribable + `
        AND p.event_types && ARRAY[n.event_type, split_part(n.event_type, '.', 1) || '.*']
    WHERE n.delivery_id IS NULL OR EXISTS (
        SELECT FROM deliveries d WHERE d.tenant_id = n.tenant_id AND d.id = n.delivery_id AND d.status = 'exhausted' AND d.completed_at = now())
), events AS (
    INSERT INTO webhook_events (tenant_id, id, project_id, event_type, payload, fanout)
    SELECT tenant_id, id, project_id, event_type, payload, count(*) FROM subscribed GROUP BY tenant_id, id, project_id, event_type, payload
)
INSERT INTO deliveries (tenant_id, id, event_id, endpoint_id, next_attempt_at)
SELECT tenant_id, (left(id::text, 13) || '-7' || substr(gen_random_uuid()::text, 16))::uuid, id, endpoint_id, CASE WHEN parked THEN 'infinity' ELSE now() END FROM subscribed
RETURNING tenant_id, id, next_attempt_at, isfinite(next_attempt_at)`
)

// Queue adds what stores notices to a pipeline, whose role must be allowed to. The first deliveries that are due go to due, to be announced after the commit.
func Queue(p *postgres.Pipeline, notices []notice.Notice, due *[]stream.DeliveryReady) {
	if len(notices) == 0 {
		return
	}
	p.Queue(nameTenants, nil, tenantsOf(notices))
	p.Queue(insertNotices, func(rows pgx.Rows) (err error) {
		*due, err = read(rows)
		return err
	}, args(notices)...)
}

// Insert stores notices in q's transaction, and gives the deliveries that are to be announced after it.
func Insert(ctx context.Context, q postgres.Querier, notices ...notice.Notice) ([]stream.DeliveryReady, error) {
	if len(notices) == 0 {
		return nil, nil
	}
	if _, err := q.Exec(ctx, nameTenants, tenantsOf(notices)); err != nil {
		return nil, err
	}
	rows, err := q.Query(ctx, insertNotices, args(notices)...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	return read(rows)
}

func args(notices []notice.Notice) []any {
	n := len(notices)
	optional := func(of func(notice.Notice) uuid.UUID) postgres.Array {
		return postgres.NullUUIDs(n, func(i int) *uuid.UUID {
			if id := of(notices[i]); id != uuid.Nil {
				return &id
			}
			return nil
		})
	}
	return []any{
		postgres.UUIDs(n, func(i int) uuid.UUID { return notices[i].Tenant.UUID() }),
		postgres.UUIDs(n, func(i int) uuid.UUID { return notices[i].ID }),
		postgres.Texts(n, func(i int) string { return notices[i].Type }),
		optional(func(n notice.Notice) uuid.UUID { return n.About }),
		optional(func(n notice.Notice) uuid.UUID { return n.Exhausted }),
		postgres.NullBytes(n, func(i int) []byte { return notices[i].Payload }),
		optional(func(n notice.Notice) uuid.UUID { return n.Project }),
	}
}

func tenantsOf(notices []notice.Notice) string {
	ids := make([]string, len(notices))
	for i, n := range notices {
		ids[i] = n.Tenant.String()
	}
	return strings.Join(ids, ",")
}

// read gives the deliveries that are due.
func read(rows pgx.Rows) (due []stream.DeliveryReady, err error) {
	for rows.Next() {
		var t uuid.UUID
		var when time.Time
		var now bool
		d := stream.DeliveryReady{Attempt: 1}
		if err := rows.Scan(&t, &d.DeliveryID, postgres.Instant{Time: &when}, &now); err != nil {
			return nil, err
		}
		if d.Tenant, d.Due = tenant.ID(t), when; now {
			due = append(due, d)
		}
	}
	return due, rows.Err()
}
