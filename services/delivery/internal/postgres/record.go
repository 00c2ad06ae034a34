package postgres

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/beaconpost/beaconpost/pkg/postgres"
	"github.com/beaconpost/beaconpost/pkg/tenant"
	"github.com/beaconpost/beaconpost/services/delivery/internal/delivery"
)

const insertAttempts = `
INSERT INTO delivery_attempts (tenant_id, id, delivery_id, number, started_at, duration_us, status_code, error_class, error_detail, response_excerpt, response_truncated, trace_id)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::int[], $5::timestamptz[], $6::bigint[], $7::int[], $8::text[], $9::text[], $10::bytea[], $11::bool[], $12::text[])`

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

func (s *Store) record(ctx context.Context, finished []delivery.Finished, attempts bool) ([]bool, error) {
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
	if err := s.db.Run(ctx, p); err != nil {
		return nil, err
	}
	changed := make([]bool, len(finished))
	for i, f := range finished {
		changed[i] = moved[f.Job.Ref]
	}
	return changed, nil
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
	var (
		tenants, ids, deliveries = make([]uuid.UUID, n), make([]uuid.UUID, n), make([]uuid.UUID, n)
		numbers                  = make([]int, n)
		started                  = make([]time.Time, n)
		durations                = make([]int64, n)
		codes                    = make([]*int, n)
		classes, details, traces = make([]*string, n), make([]*string, n), make([]*string, n)
		excerpts                 = make([][]byte, n)
		truncated                = make([]bool, n)
	)
	for i, f := range finished {
		a := f.Attempt
		tenants[i], ids[i], deliveries[i] = f.Job.Tenant.UUID(), a.ID, f.Job.ID
		numbers[i], started[i], durations[i] = a.Number, a.StartedAt, max(a.Duration.Microseconds(), 0)
		codes[i], classes[i], details[i] = set(a.StatusCode), set(string(a.Class)), set(a.Detail)
		excerpts[i], truncated[i], traces[i] = a.Excerpt, a.Truncated, set(a.TraceID)
	}
	return []any{tenants, ids, deliveries, numbers, started, durations, codes, classes, details, excerpts, truncated, traces}
}

func outcomeArgs(finished []delivery.Finished) []any {
	n := len(finished)
	var (
		tenants, ids = make([]uuid.UUID, n), make([]uuid.UUID, n)
		numbers      = make([]int, n)
		statuses     = make([]string, n)
		next         = make([]pgtype.Timestamptz, n)
		codes        = make([]*int, n)
		errs         = make([]*string, n)
	)
	for i, f := range finished {
		tenants[i], ids[i], numbers[i] = f.Job.Tenant.UUID(), f.Job.ID, f.Attempt.Number
		statuses[i] = string(f.Outcome.Status)
		next[i] = pgtype.Timestamptz{InfinityModifier: pgtype.Infinity, Valid: true}
		if f.Outcome.Status == delivery.Pending {
			next[i] = pgtype.Timestamptz{Time: f.Outcome.Next, Valid: true}
		}
		codes[i], errs[i] = set(f.Attempt.StatusCode), set(string(f.Attempt.Class))
	}
	low, high := bounds(ids)
	return []any{tenants, ids, numbers, statuses, next, codes, errs, low, high}
}

// set stores zero values as null.
func set[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}
