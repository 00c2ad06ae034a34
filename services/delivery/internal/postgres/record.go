package postgres

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/beaconpost/beaconpost/pkg/notice"
	"github.com/beaconpost/beaconpost/pkg/notice/pgnotice"
	"github.com/beaconpost/beaconpost/pkg/postgres"
	"github.com/beaconpost/beaconpost/pkg/stream"
	"github.com/beaconpost/beaconpost/pkg/telemetry"
	"github.com/beaconpost/beaconpost/pkg/tenant"
	"github.com/beaconpost/beaconpost/services/delivery/internal/delivery"
)

const insertAttempts = `
INSERT INTO delivery_attempts (tenant_id, id, delivery_id, number, started_at, duration_us, status_code, error_class, error_detail, response_excerpt, response_truncated, trace_id, exhausted)
SELECT tenant_id, id, delivery_id, number, started_at, duration_us, status_code, error_class, error_detail, response_excerpt, response_truncated, trace_id, nullif(exhausted, false)
FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::int[], $5::timestamptz[], $6::bigint[], $7::int[], $8::text[], $9::text[], $10::bytea[], $11::bool[], $12::text[], $13::bool[])
    AS a (tenant_id, id, delivery_id, number, started_at, duration_us, status_code, error_class, error_detail, response_excerpt, response_truncated, trace_id, exhausted)`

// A delivery whose attempt was recorded already does not change. One that was cancelled while the attempt ran stays cancelled and only counts it;
// one that was parked stays so.
const updateDeliveries = `
UPDATE deliveries d SET
    attempts = r.number, claimed_until = NULL, last_status = r.last_status, last_error = r.last_error,
    status = CASE WHEN d.status = 'pending' THEN r.status ELSE d.status END,
    next_attempt_at = CASE WHEN d.status = 'pending' AND r.status = 'pending' AND isfinite(d.next_attempt_at) THEN r.next_attempt_at ELSE 'infinity' END,
    completed_at = CASE WHEN d.status <> 'pending' THEN d.completed_at WHEN r.status <> 'pending' THEN now() END
FROM unnest($1::uuid[], $2::uuid[], $3::int[], $4::text[], $5::timestamptz[], $6::int[], $7::text[])
    AS r (tenant_id, id, number, status, next_attempt_at, last_status, last_error)
WHERE d.tenant_id = r.tenant_id AND d.id = r.id AND d.id BETWEEN $8 AND $9 AND d.status IN ('pending', 'cancelled') AND d.attempts = r.number - 1
RETURNING d.tenant_id, d.id, d.status <> 'cancelled'`

// Record implements delivery.Store: one transaction, one round trip.
func (s *Store) Record(ctx context.Context, finished []delivery.Finished) ([]bool, error) {
	return s.record(ctx, finished, true)
}

// Advance implements delivery.Store.
func (s *Store) Advance(ctx context.Context, f delivery.Finished) (bool, error) {
	changed, err := s.record(ctx, []delivery.Finished{f}, false)
	return err == nil && changed[0], err
}

func (s *Store) record(ctx context.Context, finished []delivery.Finished, attempts bool) (_ []bool, err error) {
	ctx, end := s.db.Joint(ctx, "record", telemetry.Contexts(finished, func(f *delivery.Finished) string { return f.Job.Traceparent }))
	defer func() { end(err) }()
	var moved map[delivery.Ref]bool
	p := &postgres.Pipeline{}
	p.RoleForBatch(postgres.RoleDelivery)
	if attempts {
		p.Queue(insertAttempts, nil, attemptArgs(finished)...)
	}
	p.Queue(updateDeliveries, func(rows pgx.Rows) (err error) {
		moved, err = collectMoved(rows)
		return err
	}, outcomeArgs(finished)...)
	notices, err := exhausted(finished)
	if err != nil {
		return nil, err
	}
	var due []stream.DeliveryReady
	pgnotice.Queue(p, notices, &due)
	if err := s.db.Run(ctx, p); err != nil {
		return nil, err
	}
	if len(due) > 0 {
		s.defaults.Announce(due...)
	}
	changed := make([]bool, len(finished))
	for i, f := range finished {
		changed[i] = moved[f.Job.Ref]
	}
	return changed, nil
}

func exhausted(finished []delivery.Finished) (notices []notice.Notice, err error) {
	for _, f := range finished {
		n, ok, err := delivery.ExhaustedNotice(f)
		if err != nil {
			return nil, err
		}
		if ok {
			notices = append(notices, n)
		}
	}
	return notices, nil
}

func collectMoved(rows pgx.Rows) (map[delivery.Ref]bool, error) {
	moved := map[delivery.Ref]bool{}
	for rows.Next() {
		var t, id uuid.UUID
		var was bool
		if err := rows.Scan(&t, &id, &was); err != nil {
			return nil, err
		}
		moved[delivery.Ref{Tenant: tenant.ID(t), ID: id}] = was
	}
	return moved, rows.Err()
}

func attemptArgs(finished []delivery.Finished) []any {
	n := len(finished)
	at := func(i int) *delivery.Attempt { return finished[i].Attempt }
	return []any{
		postgres.UUIDs(n, func(i int) uuid.UUID { return finished[i].Job.Tenant.UUID() }),
		postgres.UUIDs(n, func(i int) uuid.UUID { return at(i).ID }),
		postgres.UUIDs(n, func(i int) uuid.UUID { return finished[i].Job.ID }),
		postgres.Ints(n, func(i int) int { return at(i).Number }),
		postgres.Times(n, func(i int) time.Time { return at(i).StartedAt }),
		postgres.BigInts(n, func(i int) int64 { return max(at(i).Duration.Microseconds(), 0) }),
		postgres.NullInts(n, func(i int) int { return at(i).StatusCode }),
		postgres.NullTexts(n, func(i int) string { return string(at(i).Class) }),
		postgres.NullTexts(n, func(i int) string { return at(i).Detail }),
		postgres.NullBytes(n, func(i int) []byte { return at(i).Excerpt }),
		postgres.Bools(n, func(i int) bool { return at(i).Truncated }),
		postgres.NullTexts(n, func(i int) string { return at(i).TraceID }),
		postgres.Bools(n, func(i int) bool { return finished[i].Outcome.Status == delivery.Exhausted }),
	}
}

func outcomeArgs(finished []delivery.Finished) []any {
	n := len(finished)
	low, high := finished[0].Job.ID, finished[0].Job.ID
	for _, f := range finished[1:] {
		low, high = earlier(low, f.Job.ID), later(high, f.Job.ID)
	}
	return []any{
		postgres.UUIDs(n, func(i int) uuid.UUID { return finished[i].Job.Tenant.UUID() }),
		postgres.UUIDs(n, func(i int) uuid.UUID { return finished[i].Job.ID }),
		postgres.Ints(n, func(i int) int { return finished[i].Attempt.Number }),
		postgres.Texts(n, func(i int) string { return string(finished[i].Outcome.Status) }),
		postgres.Times(n, func(i int) time.Time { return nextAttempt(finished[i].Outcome) }),
		postgres.NullInts(n, func(i int) int { return finished[i].Attempt.StatusCode }),
		postgres.NullTexts(n, func(i int) string { return string(finished[i].Attempt.Class) }),
		low, high,
	}
}

// nextAttempt is when an outcome's next attempt is due; the zero time, which is stored as infinity, if there is none.
func nextAttempt(o delivery.Outcome) time.Time {
	if o.Status == delivery.Pending {
		return o.Next
	}
	return time.Time{}
}
