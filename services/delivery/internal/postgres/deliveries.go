package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/beaconpost/beaconpost/pkg/fault"
	"github.com/beaconpost/beaconpost/pkg/postgres"
	"github.com/beaconpost/beaconpost/pkg/tenant"
	"github.com/beaconpost/beaconpost/pkg/uuid7"
	"github.com/beaconpost/beaconpost/services/delivery/internal/delivery"
)

// Deliveries answers what tenants ask about their deliveries. It is safe for concurrent use.
type Deliveries struct {
	db      *postgres.DB
	timeout time.Duration
}

// NewDeliveries makes the reader. timeout is that of attempts at endpoints that have none of their own.
func NewDeliveries(db *postgres.DB, timeout time.Duration) *Deliveries {
	return &Deliveries{db: db, timeout: timeout}
}

const deliveryColumns = `d.id, d.event_id, d.endpoint_id, e.event_type, d.status, d.attempts, d.next_attempt_at, d.completed_at,
    coalesce(d.last_status, 0), coalesce(d.last_error, ''), coalesce(d.cancel_reason, '')`

// eventOf finds a delivery's event by its key; without OFFSET 0 the planner may join all of the tenant's events.
const eventOf = ` LEFT JOIN LATERAL (SELECT event_type FROM webhook_events e WHERE e.tenant_id = d.tenant_id AND e.id = d.event_id OFFSET 0) e ON true`

const listDeliveries = `
SELECT ` + deliveryColumns + ` FROM (
    SELECT * FROM deliveries WHERE tenant_id = @tenant AND id >= @from AND id < @until
        AND (@status = '' OR status = @status) AND (@endpoint::uuid IS NULL OR endpoint_id = @endpoint) AND (@event::uuid IS NULL OR event_id = @event)
    ORDER BY id DESC LIMIT @limit
) d` + eventOf + ` ORDER BY d.id DESC`

// List gives at most limit+1 deliveries of t, newest first. Those of one event are a range of the key.
func (s *Deliveries) List(ctx context.Context, t tenant.ID, query delivery.Query) ([]delivery.Delivery, error) {
	from, until := keyRange(query)
	var list []delivery.Delivery
	err := s.db.InTenant(ctx, t, func(ctx context.Context, q postgres.Querier) error {
		rows, err := q.Query(ctx, listDeliveries, pgx.NamedArgs{
			"tenant": t.UUID(), "from": from, "until": until, "status": query.Status,
			"endpoint": query.Endpoint, "event": query.Event, "limit": query.Limit + 1,
		})
		if err != nil {
			return err
		}
		list, err = pgx.CollectRows(rows, scanDelivery)
		return err
	})
	return list, err
}

// keyRange gives the key range of a query: its times, narrowed to the event's millisecond and to what comes after the cursor.
func keyRange(query delivery.Query) (from, until uuid.UUID) {
	from, until = uuid7.Floor(query.After), uuid.Max
	if !query.Before.IsZero() {
		until = uuid7.Floor(query.Before)
	}
	if query.Event != nil {
		at := uuid7.Time(*query.Event)
		from, until = later(from, uuid7.Floor(at)), earlier(until, uuid7.Floor(at.Add(time.Millisecond)))
	}
	if query.Cursor != nil {
		until = earlier(until, *query.Cursor)
	}
	return from, until
}

func later(a, b uuid.UUID) uuid.UUID {
	if string(a[:]) > string(b[:]) {
		return a
	}
	return b
}

func earlier(a, b uuid.UUID) uuid.UUID {
	if string(a[:]) < string(b[:]) {
		return a
	}
	return b
}

const (
	selectDelivery = `SELECT ` + deliveryColumns + ` FROM deliveries d` + eventOf + ` WHERE d.tenant_id = $1 AND d.id = $2`
	selectAttempts = `
SELECT id, number, started_at, duration_us, coalesce(status_code, 0), coalesce(error_class, ''), coalesce(error_detail, ''), response_excerpt, response_truncated, coalesce(trace_id, '')
FROM delivery_attempts WHERE tenant_id = $1 AND delivery_id = $2 AND id >= $3 ORDER BY id LIMIT 1000`
)

// Delivery gives one delivery of t with its attempts, in order.
func (s *Deliveries) Delivery(ctx context.Context, t tenant.ID, id uuid.UUID) (delivery.Delivery, []delivery.Attempt, error) {
	var d delivery.Delivery
	var attempts []delivery.Attempt
	err := s.db.InTenant(ctx, t, func(ctx context.Context, q postgres.Querier) (err error) {
		if d, err = getDelivery(ctx, q, t, id); err != nil {
			return err
		}
		// No attempt is older than its delivery: partitions before that need no look. A minute for clocks that differ.
		rows, err := q.Query(ctx, selectAttempts, t.UUID(), id, uuid7.Floor(uuid7.Time(id).Add(-time.Minute)))
		if err != nil {
			return err
		}
		attempts, err = pgx.CollectRows(rows, scanAttempt)
		return err
	})
	return d, attempts, err
}

func getDelivery(ctx context.Context, q postgres.Querier, t tenant.ID, id uuid.UUID) (delivery.Delivery, error) {
	rows, err := q.Query(ctx, selectDelivery, t.UUID(), id)
	if err != nil {
		return delivery.Delivery{}, err
	}
	d, err := pgx.CollectExactlyOneRow(rows, scanDelivery)
	if errors.Is(err, pgx.ErrNoRows) {
		return d, fault.NotFound("delivery_not_found", "There is no delivery with this id.")
	}
	return d, err
}

func scanDelivery(row pgx.CollectableRow) (delivery.Delivery, error) {
	var d delivery.Delivery
	var next pgtype.Timestamptz
	var completed *time.Time
	var eventType *string
	err := row.Scan(&d.ID, &d.EventID, &d.EndpointID, &eventType, &d.Status, &d.Attempts, &next, &completed, &d.LastStatus, &d.LastError, &d.CancelReason)
	if completed != nil {
		d.CompletedAt = completed.UTC()
	}
	if eventType != nil {
		d.EventType = *eventType
	}
	if d.Status == delivery.Pending {
		d.NextAttemptAt = next.Time.UTC()
		if next.InfinityModifier != pgtype.Finite {
			d.NextAttemptAt, d.Parked = time.Time{}, true
		}
	}
	return d, err
}

func scanAttempt(row pgx.CollectableRow) (delivery.Attempt, error) {
	var a delivery.Attempt
	var micros int64
	err := row.Scan(&a.ID, &a.Number, &a.StartedAt, &micros, &a.StatusCode, &a.Class, &a.Detail, &a.Excerpt, &a.Truncated, &a.TraceID)
	a.StartedAt = a.StartedAt.UTC()
	a.Duration = time.Duration(micros) * time.Microsecond
	return a, err
}

const (
	lockDelivery = `
SELECT d.status, d.attempts, isfinite(d.next_attempt_at), d.next_attempt_at <= now(), coalesce(d.claimed_until > now(), false), coalesce(d.traceparent, ''),
    p.status = 'disabled', p.deleted_at IS NOT NULL, coalesce(p.timeout_ms, $3),
    EXISTS (SELECT FROM webhook_events e WHERE e.tenant_id = d.tenant_id AND e.id = d.event_id AND e.payload = '')
FROM deliveries d JOIN endpoints p ON p.tenant_id = d.tenant_id AND p.id = d.endpoint_id
WHERE d.tenant_id = $1 AND d.id = $2 FOR UPDATE OF d FOR SHARE OF p`
	makeDue = `
UPDATE deliveries SET status = 'pending', next_attempt_at = now(), claimed_until = now() + $3::bigint * interval '1 millisecond', completed_at = NULL, cancel_reason = NULL
WHERE tenant_id = $1 AND id = $2 RETURNING next_attempt_at, claimed_until`
)

// Retry makes a delivery of t due now and claims it for the attempt, which is asked for by what it returns beside it: nil when the delivery was due already.
func (s *Deliveries) Retry(ctx context.Context, t tenant.ID, id uuid.UUID) (d delivery.Delivery, attempt *delivery.Request, err error) {
	err = s.db.InTenant(ctx, t, func(ctx context.Context, q postgres.Querier) error {
		attempt = nil
		var state delivery.RetryState
		r := delivery.Request{Ref: delivery.Ref{Tenant: t, ID: id}, MustClaim: true}
		var attempts int
		var timeout int64
		err := q.QueryRow(ctx, lockDelivery, t.UUID(), id, s.timeout.Milliseconds()).Scan(
			&state.Status, &attempts, &state.Planned, &state.Due, &state.Claimed, &r.Traceparent, &state.Disabled, &state.Deleted, &timeout, &state.Scrubbed)
		if errors.Is(err, pgx.ErrNoRows) {
			return fault.NotFound("delivery_not_found", "There is no delivery with this id.")
		}
		if err != nil {
			return err
		}
		again, err := state.MayRetry()
		if err != nil {
			return err
		}
		if again {
			claim := delivery.ClaimFor(&delivery.Target{Timeout: time.Duration(timeout) * time.Millisecond})
			if err := q.QueryRow(ctx, makeDue, t.UUID(), id, claim.Milliseconds()).Scan(&r.Due, &r.Held); err != nil {
				return err
			}
			r.Attempt = attempts + 1
			attempt = &r
		}
		d, err = getDelivery(ctx, q, t, id)
		return err
	})
	return d, attempt, err
}

// An attempt that runs without a claim may be under way if the delivery is due: the claim keeps a retry by hand from running beside it.
const cancelDelivery = `
UPDATE deliveries SET status = 'cancelled', cancel_reason = 'requested', completed_at = now(), next_attempt_at = 'infinity',
    claimed_until = CASE WHEN next_attempt_at <= now() THEN greatest(claimed_until, now() + interval '1 minute') ELSE claimed_until END
WHERE tenant_id = $1 AND id = $2 AND status = 'pending'`

// Cancel ends a pending delivery of t. An attempt that runs meanwhile is recorded but changes nothing. Cancelling again changes nothing;
// a delivery that ended otherwise is a conflict.
func (s *Deliveries) Cancel(ctx context.Context, t tenant.ID, id uuid.UUID) (delivery.Delivery, error) {
	var d delivery.Delivery
	err := s.db.InTenant(ctx, t, func(ctx context.Context, q postgres.Querier) error {
		_, err := q.Exec(ctx, cancelDelivery, t.UUID(), id)
		if err != nil {
			return err
		}
		if d, err = getDelivery(ctx, q, t, id); err != nil {
			return err
		}
		if d.Status != delivery.Cancelled {
			return fault.Conflict("delivery_ended", "The delivery is "+string(d.Status)+" already; only a pending one can be cancelled.")
		}
		return nil
	})
	return d, err
}
