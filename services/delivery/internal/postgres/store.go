// Package postgres reads due deliveries, records attempts and outcomes, finds what was lost, and answers the deliveries API.
//
// Background statements run across tenants as beaconpost_delivery; what a tenant asks for runs as beaconpost_api.
package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/rs/zerolog"

	"github.com/beaconpost/beaconpost/pkg/backoff"
	"github.com/beaconpost/beaconpost/pkg/postgres"
	"github.com/beaconpost/beaconpost/pkg/secretbox"
	"github.com/beaconpost/beaconpost/pkg/stream"
	"github.com/beaconpost/beaconpost/pkg/telemetry"
	"github.com/beaconpost/beaconpost/pkg/tenant"
	"github.com/beaconpost/beaconpost/pkg/uuid7"
	"github.com/beaconpost/beaconpost/services/delivery/internal/delivery"
	"github.com/beaconpost/beaconpost/services/delivery/internal/health"
)

var _ delivery.Store = (*Store)(nil)

// Defaults are the installation's values for what endpoints leave open.
type Defaults struct {
	Timeout time.Duration
	Retry   backoff.Policy
	// Fresh is how long after its due time a message can have no twin: until the reconciler or the broker gives it out again.
	Fresh time.Duration
	// Rules are those of endpoint health.
	Rules health.Rules
	// Announce tells the broker of deliveries that the store made, without waiting. What it loses the reconciler finds.
	Announce func(due ...stream.DeliveryReady)
}

const targetsCached = 200000

// Store is the delivery engine's database. It is safe for concurrent use.
type Store struct {
	db       *postgres.DB
	relaxed  *postgres.DB // for what is found out again (endpoint health, parking of what is still due) and for statistics
	ring     *secretbox.Keyring
	defaults Defaults
	targets  *lru.Cache[delivery.Ref, *delivery.Target] // by endpoint; a hit counts only if its version is the row's
	log      zerolog.Logger
}

// NewStore makes a Store; ring opens the endpoints' secrets.
func NewStore(db *postgres.DB, ring *secretbox.Keyring, defaults Defaults, log zerolog.Logger) (*Store, error) {
	targets, err := lru.New[delivery.Ref, *delivery.Target](targetsCached)
	if err != nil {
		return nil, fmt.Errorf("make target cache: %w", err)
	}
	return &Store{db: db, relaxed: db.Relaxed(), ring: ring, defaults: defaults, targets: targets, log: log}, nil
}

// Temporary says whether repeating may help.
func (s *Store) Temporary(err error) bool { return postgres.IsUnavailable(err) }

// One look-up for many messages. An event or endpoint that does not exist leaves its delivery out, as if it did not exist. OFFSET 0 keeps the
// order: each delivery by its key, then its event and endpoint by theirs. Left alone, the planner joins by tenant_id, which a tenant's millions share.
const selectDue = `
SELECT m.n, d.status, d.attempts, d.next_attempt_at, d.next_attempt_at = 'infinity', coalesce(d.claimed_until > now(), false), coalesce(d.claimed_until, '-infinity'),
    CASE WHEN isfinite(d.next_attempt_at) THEN extract(epoch FROM now() - d.next_attempt_at)::float8 ELSE 0 END,
    coalesce(d.traceparent, ''), d.event_id, e.event_type, e.payload, d.endpoint_id, p.version
FROM unnest($1::uuid[], $2::uuid[]) WITH ORDINALITY AS m (tenant_id, id, n)
CROSS JOIN LATERAL (SELECT * FROM deliveries d WHERE d.tenant_id = m.tenant_id AND d.id = m.id AND d.id BETWEEN $3 AND $4 OFFSET 0) d
CROSS JOIN LATERAL (SELECT * FROM webhook_events e WHERE e.tenant_id = d.tenant_id AND e.id = d.event_id AND e.id BETWEEN $5 AND $6 OFFSET 0) e
CROSS JOIN LATERAL (SELECT version FROM endpoints p WHERE p.tenant_id = d.tenant_id AND p.id = d.endpoint_id OFFSET 0) p`

// due is what was read for one message.
type due struct {
	row      delivery.Row
	job      *delivery.Job
	endpoint delivery.Ref
	version  int64
}

// Admit implements delivery.Store. It is one round trip, but for endpoints that are not cached.
func (s *Store) Admit(ctx context.Context, in []delivery.Incoming) (_ []delivery.Admitted, err error) {
	ctx, end := s.db.Joint(ctx, "admit", telemetry.Contexts(in, func(r *delivery.Incoming) string { return r.Traceparent }))
	defer func() { end(err) }()
	found, err := s.readDue(ctx, in)
	if err != nil {
		return nil, fmt.Errorf("read due deliveries: %w", err)
	}
	if err := s.fillTargets(ctx, found); err != nil {
		return nil, fmt.Errorf("read endpoints: %w", err)
	}
	return s.sort(in, found), nil
}

func (s *Store) readDue(ctx context.Context, in []delivery.Incoming) ([]*due, error) {
	ids := make([]uuid.UUID, len(in))
	for i, r := range in {
		ids[i] = r.ID
	}
	// A delivery and its event share the millisecond, so the bounds of one give those of the other.
	low, high := bounds(ids)
	eventLow, eventHigh := uuid7.Floor(uuid7.Time(low)), uuid7.Floor(uuid7.Time(high).Add(time.Millisecond))
	found := make([]*due, len(in))
	p := &postgres.Pipeline{}
	p.RoleForKeys(postgres.RoleDelivery)
	p.Queue(selectDue, func(rows pgx.Rows) error { return scanDue(rows, in, found) },
		postgres.UUIDs(len(in), func(i int) uuid.UUID { return in[i].Tenant.UUID() }),
		postgres.UUIDs(len(in), func(i int) uuid.UUID { return ids[i] }), low, high, eventLow, eventHigh)
	return found, s.db.Run(ctx, p)
}

func scanDue(rows pgx.Rows, in []delivery.Incoming, found []*due) error {
	for rows.Next() {
		var n int64
		var age float64
		var next, claimed pgtype.Timestamptz
		d := &due{job: &delivery.Job{}}
		if err := rows.Scan(&n, &d.row.Status, &d.row.Attempts, &next, &d.row.Parked, &d.row.Claimed, &claimed, &age,
			&d.job.Traceparent, &d.job.EventID, &d.job.EventType, &d.job.Payload, &d.endpoint.ID, &d.version); err != nil {
			return err
		}
		r := in[n-1]
		d.row.NextAttemptAt, d.row.ClaimedUntil, d.row.Age = next.Time, claimed.Time, time.Duration(age*float64(time.Second))
		d.job.Late, d.row.Scrubbed = d.row.Age, len(d.job.Payload) == 0
		d.job.Ref, d.job.Attempt, d.endpoint.Tenant = r.Ref, r.Attempt, r.Tenant
		if r.Traceparent != "" {
			d.job.Traceparent = r.Traceparent
		}
		found[n-1] = d
	}
	return rows.Err()
}

// sort applies the rules.
func (s *Store) sort(in []delivery.Incoming, found []*due) []delivery.Admitted {
	admitted := make([]delivery.Admitted, len(in))
	seen := make(map[delivery.Ref]bool, len(in))
	for i, d := range found {
		if d == nil || seen[in[i].Ref] {
			continue // a second message for it in this batch is as good as stale
		}
		admission := delivery.Admit(in[i].Request, in[i].Redelivered, d.row, d.job.Target, s.defaults.Fresh)
		if admission == delivery.Stale {
			continue
		}
		seen[in[i].Ref] = true
		d.job.ClaimedUntil, d.job.Waited = in[i].Held, in[i].Waited
		admitted[i] = delivery.Admitted{Admission: admission, Job: d.job}
	}
	return admitted
}

// Change implements delivery.Store.
func (s *Store) Change(ctx context.Context, admitted []delivery.Admitted) ([]bool, error) {
	claimed := make([]bool, len(admitted))
	of := map[delivery.Admission][]int{}
	for i, a := range admitted {
		of[a.Admission] = append(of[a.Admission], i)
	}
	err := s.db.AsBatch(ctx, postgres.RoleDelivery, func(ctx context.Context, q postgres.Querier) error {
		// The endpoints' lock comes before those of deliveries, as everywhere.
		if err := park(ctx, q, of[delivery.Park], admitted); err != nil {
			return fmt.Errorf("park deliveries: %w", err)
		}
		if err := cancel(ctx, q, of[delivery.Cancel], admitted); err != nil {
			return fmt.Errorf("cancel deliveries: %w", err)
		}
		if err := s.claim(ctx, q, of[delivery.Claim], admitted, claimed); err != nil {
			return fmt.Errorf("claim deliveries: %w", err)
		}
		return nil
	})
	return claimed, err
}

const claimDeliveries = `
UPDATE deliveries d SET claimed_until = now() + m.lease_ms * interval '1 millisecond'
FROM unnest($1::uuid[], $2::uuid[], $3::int[], $4::bigint[]) AS m (tenant_id, id, attempt, lease_ms)
WHERE d.tenant_id = m.tenant_id AND d.id = m.id AND d.id BETWEEN $5 AND $6 AND d.status = 'pending' AND d.attempts = m.attempt - 1
    AND d.next_attempt_at <= now() + interval '1 second' AND coalesce(d.claimed_until <= now(), true)
RETURNING d.tenant_id, d.id, d.claimed_until`

func (s *Store) claim(ctx context.Context, q postgres.Querier, which []int, admitted []delivery.Admitted, claimed []bool) error {
	if len(which) == 0 {
		return nil
	}
	tenants, ids := refs(which, admitted)
	attempts, leases := make([]int, len(which)), make([]int64, len(which))
	for n, i := range which {
		attempts[n] = admitted[i].Job.Attempt
		leases[n] = delivery.ClaimFor(admitted[i].Job.Target).Milliseconds()
	}
	low, high := bounds(ids)
	rows, err := q.Query(ctx, claimDeliveries, tenants, ids, attempts, leases, low, high)
	if err != nil {
		return err
	}
	defer rows.Close()
	won := map[delivery.Ref]time.Time{}
	for rows.Next() {
		var t, id uuid.UUID
		var until time.Time
		if err := rows.Scan(&t, &id, &until); err != nil {
			return err
		}
		won[delivery.Ref{Tenant: tenant.ID(t), ID: id}] = until
	}
	for _, i := range which {
		if until, ok := won[admitted[i].Job.Ref]; ok {
			claimed[i] = true
			admitted[i].Job.ClaimedUntil = until
		}
	}
	return rows.Err()
}

const unclaimDelivery = `UPDATE deliveries SET claimed_until = NULL WHERE tenant_id = $1 AND id = $2 AND claimed_until = $3`

// Unclaim implements delivery.Store.
func (s *Store) Unclaim(ctx context.Context, job *delivery.Job) error {
	return s.db.AsBatch(ctx, postgres.RoleDelivery, func(ctx context.Context, q postgres.Querier) error {
		_, err := q.Exec(ctx, unclaimDelivery, job.Tenant.UUID(), job.ID, job.ClaimedUntil)
		return err
	})
}

const (
	// The lock on the endpoint makes sure that it is not enabled, or its drain over, between the look and the parking. Nor has anybody else taken the delivery up.
	parkDeliveries = `
WITH off AS (
    SELECT tenant_id, id FROM endpoints p
    WHERE (tenant_id, id) IN (SELECT * FROM unnest($3::uuid[], $4::uuid[])) AND (status = 'disabled' OR breaker <> 'closed') AND deleted_at IS NULL
    ORDER BY tenant_id, id FOR SHARE
)
UPDATE deliveries d SET next_attempt_at = 'infinity', claimed_until = NULL
FROM unnest($1::uuid[], $2::uuid[], $5::int[], $6::timestamptz[]) AS m (tenant_id, id, attempt, claim), off
WHERE d.tenant_id = m.tenant_id AND d.id = m.id AND d.status = 'pending' AND off.tenant_id = d.tenant_id AND off.id = d.endpoint_id
    AND d.attempts = m.attempt - 1 AND (d.claimed_until IS NULL OR d.claimed_until < now() OR d.claimed_until = m.claim)`
	cancelDeliveries = `
UPDATE deliveries d SET status = 'cancelled', cancel_reason = m.reason, completed_at = now(), next_attempt_at = 'infinity'
FROM unnest($1::uuid[], $2::uuid[], $3::text[]) AS m (tenant_id, id, reason)
WHERE d.tenant_id = m.tenant_id AND d.id = m.id AND d.status = 'pending'`
)

func cancel(ctx context.Context, q postgres.Querier, which []int, admitted []delivery.Admitted) error {
	if len(which) == 0 {
		return nil
	}
	tenants, ids := refs(which, admitted)
	reasons := make([]string, len(which))
	for n, i := range which {
		reasons[n] = "endpoint_deleted"
		if !admitted[i].Job.Target.Deleted {
			reasons[n] = "payload_scrubbed"
		}
	}
	_, err := q.Exec(ctx, cancelDeliveries, tenants, ids, reasons)
	return err
}

func park(ctx context.Context, q postgres.Querier, which []int, admitted []delivery.Admitted) error {
	if len(which) == 0 {
		return nil
	}
	tenants, ids := refs(which, admitted)
	at := func(n int) *delivery.Job { return admitted[which[n]].Job }
	_, err := q.Exec(ctx, parkDeliveries, tenants, ids, tenants,
		postgres.UUIDs(len(which), func(n int) uuid.UUID { return at(n).Target.EndpointID }), postgres.Ints(len(which), func(n int) int { return at(n).Attempt }),
		postgres.Times(len(which), func(n int) time.Time { return at(n).ClaimedUntil }))
	return err
}

func refs(which []int, admitted []delivery.Admitted) (tenants, ids []uuid.UUID) {
	for _, i := range which {
		tenants = append(tenants, admitted[i].Job.Tenant.UUID())
		ids = append(ids, admitted[i].Job.ID)
	}
	return tenants, ids
}

// bounds gives the least and the greatest of ids. There is at least one.
func bounds(ids []uuid.UUID) (low, high uuid.UUID) {
	low, high = ids[0], ids[0]
	for _, id := range ids[1:] {
		low, high = earlier(low, id), later(high, id)
	}
	return low, high
}
