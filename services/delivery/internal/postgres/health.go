package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/beaconpost/beaconpost/pkg/notice/pgnotice"
	"github.com/beaconpost/beaconpost/pkg/postgres"
	"github.com/beaconpost/beaconpost/pkg/stream"
	"github.com/beaconpost/beaconpost/pkg/tenant"
	"github.com/beaconpost/beaconpost/pkg/uuid7"
	"github.com/beaconpost/beaconpost/services/delivery/internal/delivery"
	"github.com/beaconpost/beaconpost/services/delivery/internal/health"
)

var _ health.Store = (*Store)(nil)

const healthColumns = `h.state, coalesce(h.reason, ''), h.since, h.failures, h.failing_since, h.last_failed_at, coalesce(h.last_status, 0), coalesce(h.last_class, ''),
    h.succeeded_at, h.not_before, h.gone_at, h.probes, h.probed_at, h.probe_at, h.drain_rate, h.warned_at, h.announced_at`

func healthInto(h *health.Health) []any {
	return []any{
		&h.State, &h.Reason, &h.Since, &h.Failures, postgres.Instant{Time: &h.FailingSince}, postgres.Instant{Time: &h.LastFailedAt}, &h.LastStatus, &h.LastClass,
		postgres.Instant{Time: &h.SucceededAt}, postgres.Instant{Time: &h.NotBefore}, postgres.Instant{Time: &h.GoneAt}, &h.Probes, postgres.Instant{Time: &h.ProbedAt}, postgres.Instant{Time: &h.ProbeAt}, &h.DrainRate, postgres.Instant{Time: &h.WarnedAt}, postgres.Instant{Time: &h.AnnouncedAt},
	}
}

const (
	// In the order of the key, as everywhere: two replicas that note the same endpoints cannot deadlock.
	lockHealth = `
SELECT h.tenant_id, h.endpoint_id, ` + healthColumns + `
FROM endpoint_health h WHERE (h.tenant_id, h.endpoint_id) IN (SELECT * FROM unnest($1::uuid[], $2::uuid[])) ORDER BY h.tenant_id, h.endpoint_id FOR UPDATE`
	// Two replicas may make a record at the same time; then the later one's failures count.
	noteHealth = `
INSERT INTO endpoint_health AS h (tenant_id, endpoint_id, state, failures, failing_since, last_failed_at, last_status, last_class, succeeded_at, not_before, gone_at, look_at)
SELECT tenant_id, endpoint_id, 'failing', failures, nullif(failing_since, 'infinity'), nullif(last_failed_at, 'infinity'), last_status, last_class,
    nullif(succeeded_at, 'infinity'), nullif(not_before, 'infinity'), nullif(gone_at, 'infinity'), look_at
FROM unnest($1::uuid[], $2::uuid[], $3::int[], $4::timestamptz[], $5::timestamptz[], $6::int[], $7::text[], $8::timestamptz[], $9::timestamptz[], $10::timestamptz[], $11::timestamptz[])
    AS n (tenant_id, endpoint_id, failures, failing_since, last_failed_at, last_status, last_class, succeeded_at, not_before, gone_at, look_at)
ON CONFLICT (tenant_id, endpoint_id) DO UPDATE SET
    failures = excluded.failures, failing_since = excluded.failing_since, last_failed_at = excluded.last_failed_at, last_status = excluded.last_status,
    last_class = excluded.last_class, succeeded_at = excluded.succeeded_at, not_before = excluded.not_before, gone_at = excluded.gone_at,
    look_at = least(h.look_at, excluded.look_at)`
)

// Note implements health.Store.
func (s *Store) Note(ctx context.Context, facts map[health.Key]health.Facts, rules health.Rules) (map[health.Key]health.Health, error) {
	keys := make([]health.Key, 0, len(facts))
	for key := range facts {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, compareKeys)
	noted := map[health.Key]health.Health{}
	err := s.relaxed.As(ctx, postgres.RoleDelivery, func(ctx context.Context, q postgres.Querier) error {
		tenants, endpoints := keyArrays(keys)
		rows, err := q.Query(ctx, lockHealth, tenants, endpoints)
		if err != nil {
			return err
		}
		clear(noted)
		if err := readHealth(rows, noted); err != nil {
			return err
		}
		write := make([]health.Key, 0, len(keys))
		for _, key := range keys {
			h, known := noted[key]
			h.Facts = h.Learn(facts[key])
			if !known {
				h.State = health.Failing
			}
			if known || h.Failures > 0 || !h.NotBefore.IsZero() || !h.GoneAt.IsZero() {
				noted[key] = h
				write = append(write, key)
			}
		}
		_, err = q.Exec(ctx, noteHealth, noteArgs(write, noted, rules)...)
		return err
	})
	return noted, err
}

func compareKeys(a, b health.Key) int {
	if c := bytes.Compare(a.Tenant[:], b.Tenant[:]); c != 0 {
		return c
	}
	return bytes.Compare(a.Endpoint[:], b.Endpoint[:])
}

func keyArrays(keys []health.Key) (tenants, endpoints postgres.Array) {
	n := len(keys)
	return postgres.UUIDs(n, func(i int) uuid.UUID { return keys[i].Tenant.UUID() }), postgres.UUIDs(n, func(i int) uuid.UUID { return keys[i].Endpoint })
}

func readHealth(rows pgx.Rows, into map[health.Key]health.Health) error {
	defer rows.Close()
	for rows.Next() {
		var t uuid.UUID
		var key health.Key
		var h health.Health
		if err := rows.Scan(append([]any{&t, &key.Endpoint}, healthInto(&h)...)...); err != nil {
			return err
		}
		key.Tenant = tenant.ID(t)
		into[key] = h
	}
	return rows.Err()
}

func noteArgs(keys []health.Key, of map[health.Key]health.Health, rules health.Rules) []any {
	n, now := len(keys), time.Now()
	tenants, endpoints := keyArrays(keys)
	at := func(i int) health.Health { return of[keys[i]] }
	return []any{
		tenants, endpoints,
		postgres.Ints(n, func(i int) int { return at(i).Failures }),
		postgres.Times(n, func(i int) time.Time { return at(i).FailingSince }),
		postgres.Times(n, func(i int) time.Time { return at(i).LastFailedAt }),
		postgres.NullInts(n, func(i int) int { return at(i).LastStatus }),
		postgres.NullTexts(n, func(i int) string { return at(i).LastClass }),
		postgres.Times(n, func(i int) time.Time { return at(i).SucceededAt }),
		postgres.Times(n, func(i int) time.Time { return at(i).NotBefore }),
		postgres.Times(n, func(i int) time.Time { return at(i).GoneAt }),
		// Somebody has to look even if this replica dies now.
		postgres.Times(n, func(i int) time.Time {
			// An open breaker that may probe again is asked whether there is something to probe with.
			step := rules.Next(at(i), health.Endpoint{Parked: at(i).State == health.Open}, now)
			if step.State != at(i).State || step.Disable || step.Warn || step.Forget || step.Probe {
				return now
			}
			return step.Look
		}),
	}
}

const dueHealth = `SELECT tenant_id, endpoint_id FROM endpoint_health WHERE look_at <= now() ORDER BY look_at LIMIT $1`

// Due implements health.Store.
func (s *Store) Due(ctx context.Context, limit int) ([]health.Key, error) {
	return s.healthKeys(ctx, dueHealth, limit)
}

const watchedHealth = `SELECT tenant_id, endpoint_id FROM endpoint_health WHERE failing_since IS NOT NULL OR state = 'open'`

// Watched implements health.Store.
func (s *Store) Watched(ctx context.Context) (map[health.Key]bool, error) {
	keys, err := s.healthKeys(ctx, watchedHealth)
	watched := make(map[health.Key]bool, len(keys))
	for _, key := range keys {
		watched[key] = true
	}
	return watched, err
}

func (s *Store) healthKeys(ctx context.Context, query string, args ...any) (keys []health.Key, err error) {
	err = s.db.As(ctx, postgres.RoleDelivery, func(ctx context.Context, q postgres.Querier) error {
		rows, err := q.Query(ctx, query, args...)
		if err != nil {
			return err
		}
		keys, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (key health.Key, err error) {
			var t uuid.UUID
			err = row.Scan(&t, &key.Endpoint)
			key.Tenant = tenant.ID(t)
			return key, err
		})
		return err
	})
	return keys, err
}

const (
	// The endpoint first, then its record, then deliveries: the order of everybody who locks more than one of them.
	lockTroubled = `
WITH p AS MATERIALIZED (
    SELECT tenant_id, id, status, deleted_at, breaker, timeout_ms FROM endpoints WHERE tenant_id = $1 AND id = $2 FOR NO KEY UPDATE SKIP LOCKED
), h AS MATERIALIZED (
    SELECT h.* FROM p JOIN endpoint_health h ON h.tenant_id = p.tenant_id AND h.endpoint_id = p.id WHERE NOT $3 OR h.look_at <= now() FOR UPDATE OF h SKIP LOCKED
)
SELECT p.status = 'disabled', p.deleted_at IS NOT NULL, p.breaker, p.timeout_ms, now(), h.recover_from IS NOT NULL,
    EXISTS (SELECT FROM deliveries WHERE tenant_id = $1 AND endpoint_id = $2 AND status = 'pending' AND next_attempt_at = 'infinity'), ` + healthColumns + `
FROM p, h`
	// Exhausted deliveries that somebody asked for become pending and parked again, a handful at a time, when nothing else is.
	recoverSome = `
WITH asked AS (
    SELECT recover_from, recover_until FROM endpoint_health WHERE tenant_id = $1 AND endpoint_id = $2 AND recover_from IS NOT NULL
), chosen AS (
    SELECT d.id FROM asked a CROSS JOIN LATERAL (
        SELECT id FROM deliveries x
        WHERE tenant_id = $1 AND endpoint_id = $2 AND status = 'exhausted' AND id > a.recover_from AND id < a.recover_until
            AND EXISTS (SELECT FROM webhook_events e WHERE e.tenant_id = x.tenant_id AND e.id = x.event_id AND e.payload <> '')
        ORDER BY id LIMIT $3 FOR UPDATE
    ) d
), again AS (
    UPDATE deliveries d SET status = 'pending', next_attempt_at = 'infinity', completed_at = NULL, claimed_until = NULL FROM chosen s WHERE d.tenant_id = $1 AND d.id = s.id
    RETURNING d.id
), counted AS (
    SELECT count(*) AS n FROM again
)
UPDATE endpoint_health h SET recovered = h.recovered + c.n,
    recover_from = CASE WHEN c.n > 0 THEN (SELECT id FROM chosen ORDER BY id DESC LIMIT 1) END, recover_until = CASE WHEN c.n > 0 THEN h.recover_until END
FROM counted c WHERE h.tenant_id = $1 AND h.endpoint_id = $2 AND h.recover_from IS NOT NULL
RETURNING c.n > 0`
)

// Step implements health.Store.
func (s *Store) Step(ctx context.Context, key health.Key, look bool, decide func(health.Health, health.Endpoint, time.Time) health.Step) (taken health.Taken, err error) {
	var due []stream.DeliveryReady
	err = s.relaxed.AsKeys(ctx, postgres.RoleDelivery, func(ctx context.Context, q postgres.Querier) error {
		taken, due = health.Taken{}, nil
		var e health.Endpoint
		var h health.Health
		var timeout *int64
		var now time.Time
		var breaker string
		var recovering bool
		into := []any{&e.Disabled, &e.Deleted, &breaker, &timeout, &now, &recovering, &e.Parked}
		err := q.QueryRow(ctx, lockTroubled, key.Tenant.UUID(), key.Endpoint, look).Scan(append(into, healthInto(&h)...)...)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil // another replica is at it, or it is over
		}
		if err != nil {
			return err
		}
		e.Timeout = s.defaults.Timeout
		if timeout != nil {
			e.Timeout = time.Duration(*timeout) * time.Millisecond
		}
		if recovering && !e.Parked && !e.Disabled && !e.Deleted {
			if err := q.QueryRow(ctx, recoverSome, key.Tenant.UUID(), key.Endpoint, recoverBatch).Scan(&e.Parked); err != nil {
				return fmt.Errorf("recover deliveries: %w", err)
			}
		}
		e.Jitter = rand.Float64()
		taken = health.Taken{Before: h.State, Step: decide(h, e, now.UTC()), Done: true}
		if err := s.take(ctx, q, key, breaker, &taken); err != nil || taken.Step.Tell == "" {
			return err
		}
		told, err := taken.Step.Notice(key, s.defaults.Rules, now)
		if err != nil {
			return err
		}
		if due, err = pgnotice.Insert(ctx, q, told); err != nil {
			return fmt.Errorf("tell the tenant: %w", err)
		}
		return nil
	})
	if err == nil && len(due) > 0 {
		s.defaults.Announce(due...)
	}
	return taken, err
}

const recoverBatch = 500

const tellIngest = `
UPDATE tenants SET routing_version = routing_version + 1, parking_at = now() WHERE id = $1 AND parking_at < now() - interval '1 second'`

const (
	forgetHealth = `DELETE FROM endpoint_health WHERE tenant_id = $1 AND endpoint_id = $2`
	updateHealth = `
UPDATE endpoint_health SET state = @state, reason = nullif(@reason, ''), since = @since, failures = @failures, probes = @probes, probed_at = @probed_at, probe_at = @probe_at,
    drain_rate = @drain_rate, warned_at = @warned_at, announced_at = @announced_at, look_at = coalesce(@look_at::timestamptz, 'infinity')
WHERE tenant_id = @tenant AND endpoint_id = @endpoint`
	setBreaker      = `UPDATE endpoints SET breaker = $3 WHERE tenant_id = $1 AND id = $2 AND status = 'enabled' AND deleted_at IS NULL`
	disableEndpoint = `
UPDATE endpoints SET breaker = 'closed', status = 'disabled', disabled_at = now(), disabled_reason = CASE $3 WHEN 'gone' THEN 'gone' ELSE 'failing' END
WHERE tenant_id = $1 AND id = $2 AND status = 'enabled'`
)

// take writes what was decided.
func (s *Store) take(ctx context.Context, q postgres.Querier, key health.Key, breaker string, taken *health.Taken) (err error) {
	step := &taken.Step
	switch {
	case step.Disable:
		_, err = q.Exec(ctx, disableEndpoint, key.Tenant.UUID(), key.Endpoint, string(step.Reason))
	case breakerOf(step) != breaker:
		_, err = q.Exec(ctx, setBreaker, key.Tenant.UUID(), key.Endpoint, breakerOf(step))
	}
	if err == nil && taken.Before == health.Closed {
		// Of many breakers that change in a second ingest hears of one: what it has not heard of since this one closed it does now.
		_, err = q.Exec(ctx, tellIngest, key.Tenant.UUID())
	}
	if err != nil {
		return fmt.Errorf("change endpoint: %w", err)
	}
	if step.Forget {
		_, err = q.Exec(ctx, forgetHealth, key.Tenant.UUID(), key.Endpoint)
		return err
	}
	_, err = q.Exec(ctx, updateHealth, pgx.NamedArgs{
		"tenant": key.Tenant.UUID(), "endpoint": key.Endpoint, "state": string(step.State), "reason": string(step.Reason), "since": step.Since,
		"failures": step.Failures, "probes": step.Probes, "probed_at": postgres.NullTime(step.ProbedAt), "probe_at": postgres.NullTime(step.ProbeAt),
		"drain_rate": step.DrainRate, "warned_at": postgres.NullTime(step.WarnedAt), "announced_at": postgres.NullTime(step.AnnouncedAt), "look_at": postgres.NullTime(step.Look),
	})
	if err != nil {
		return fmt.Errorf("update health: %w", err)
	}
	if !step.Probe {
		return nil
	}
	released, err := release(ctx, q, map[health.Key]int{key: 1}, s.defaults.Timeout)
	for _, r := range released[key] {
		taken.Probe = &r
	}
	return err
}

// breakerOf is what the endpoint's own row says: whether ingest and admission park.
func breakerOf(step *health.Step) string {
	if !step.Forget && (step.State == health.Open || step.State == health.Draining) {
		return string(step.State)
	}
	return string(health.Closed)
}

const (
	keepRates = `
WITH mine AS (
    SELECT h.tenant_id, h.endpoint_id, m.rate FROM unnest($1::uuid[], $2::uuid[], $3::int[]) AS m (tenant_id, endpoint_id, rate)
    JOIN endpoint_health h ON h.tenant_id = m.tenant_id AND h.endpoint_id = m.endpoint_id AND h.lease_by = $4 AND h.state = 'draining' AND h.drain_rate <> m.rate
    ORDER BY h.tenant_id, h.endpoint_id FOR UPDATE OF h
)
UPDATE endpoint_health h SET drain_rate = m.rate FROM mine m WHERE h.tenant_id = m.tenant_id AND h.endpoint_id = m.endpoint_id`
	// Those that are free, and of the replica's own those whose lease is half over.
	leaseDrains = `
WITH free AS (
    SELECT tenant_id, endpoint_id FROM endpoint_health
    WHERE state = 'draining' AND (lease_until IS NULL OR lease_until < now() OR lease_by = $1 AND lease_until < now() + $2::interval / 2)
    ORDER BY tenant_id, endpoint_id FOR UPDATE SKIP LOCKED
)
UPDATE endpoint_health h SET lease_by = $1, lease_until = now() + $2::interval FROM free f, endpoints p
WHERE h.tenant_id = f.tenant_id AND h.endpoint_id = f.endpoint_id AND p.tenant_id = h.tenant_id AND p.id = h.endpoint_id AND p.status = 'enabled' AND p.deleted_at IS NULL`
	leasedDrains = `SELECT tenant_id, endpoint_id, drain_rate FROM endpoint_health WHERE state = 'draining' AND lease_by = $1 AND lease_until > now()`
)

// Drains implements health.Store.
func (s *Store) Drains(ctx context.Context, replica uuid.UUID, lease time.Duration, rates map[health.Key]int) (map[health.Key]int, error) {
	keys := make([]health.Key, 0, len(rates))
	for key := range rates {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, compareKeys)
	mine := map[health.Key]int{}
	err := s.relaxed.As(ctx, postgres.RoleDelivery, func(ctx context.Context, q postgres.Querier) error {
		clear(mine)
		if len(keys) > 0 {
			tenants, endpoints := keyArrays(keys)
			if _, err := q.Exec(ctx, keepRates, tenants, endpoints, postgres.Ints(len(keys), func(i int) int { return rates[keys[i]] }), replica); err != nil {
				return err
			}
		}
		if _, err := q.Exec(ctx, leaseDrains, replica, lease); err != nil {
			return err
		}
		rows, err := q.Query(ctx, leasedDrains, replica)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var t uuid.UUID
			var key health.Key
			var rate int
			if err := rows.Scan(&t, &key.Endpoint, &rate); err != nil {
				return err
			}
			key.Tenant = tenant.ID(t)
			mine[key] = rate
		}
		return rows.Err()
	})
	return mine, err
}

const (
	arrivingMost  = 50000
	countArriving = `
SELECT count(*) FROM (SELECT FROM deliveries WHERE tenant_id = $1 AND endpoint_id = $2 AND status = 'pending' AND next_attempt_at = 'infinity' AND id >= $3 LIMIT $4) d`
)

// Arriving implements health.Store.
func (s *Store) Arriving(ctx context.Context, key health.Key, since time.Duration) (n int, err error) {
	err = s.db.AsKeys(ctx, postgres.RoleDelivery, func(ctx context.Context, q postgres.Querier) error {
		return q.QueryRow(ctx, countArriving, key.Tenant.UUID(), key.Endpoint, uuid7.Floor(time.Now().Add(-since)), arrivingMost).Scan(&n)
	})
	return n, err
}

// Release implements health.Store.
func (s *Store) Release(ctx context.Context, quotas map[health.Key]int) (released map[health.Key][]delivery.Request, err error) {
	err = s.db.AsKeys(ctx, postgres.RoleDelivery, func(ctx context.Context, q postgres.Querier) error {
		released, err = release(ctx, q, quotas, s.defaults.Timeout)
		return err
	})
	return released, err
}

// Due and claimed in one: if nobody attempts them they are overdue when the claim has run out. The claim covers the wait for the attempt too.
// A backlog may be our own doing, unless the endpoint has a rate; whatever else had them parked was the endpoint's.
const releaseParked = `
WITH oldest AS (
    SELECT d.tenant_id, d.id, p.timeout_ms, p.rate_per_second IS NOT NULL OR coalesce(h.reason NOT IN ('backlog', 'adopted'), false) AS waited
    FROM unnest($1::uuid[], $2::uuid[], $3::int[]) AS m (tenant_id, endpoint_id, quota)
    CROSS JOIN LATERAL (SELECT timeout_ms, rate_per_second FROM endpoints p WHERE p.tenant_id = m.tenant_id AND p.id = m.endpoint_id OFFSET 0) p
    LEFT JOIN LATERAL (SELECT reason FROM endpoint_health h WHERE h.tenant_id = m.tenant_id AND h.endpoint_id = m.endpoint_id OFFSET 0) h ON true
    CROSS JOIN LATERAL (
        SELECT tenant_id, id FROM deliveries
        WHERE tenant_id = m.tenant_id AND endpoint_id = m.endpoint_id AND status = 'pending' AND next_attempt_at = 'infinity'
        ORDER BY id LIMIT m.quota FOR UPDATE SKIP LOCKED
    ) d
)
UPDATE deliveries d SET next_attempt_at = now(), claimed_until = now() + (coalesce(o.timeout_ms, $4) + $5) * interval '1 millisecond'
FROM oldest o WHERE d.tenant_id = o.tenant_id AND d.id = o.id
RETURNING d.tenant_id, d.endpoint_id, d.id, d.attempts + 1, d.next_attempt_at, d.claimed_until, coalesce(d.traceparent, ''), o.waited`

func release(ctx context.Context, q postgres.Querier, quotas map[health.Key]int, timeout time.Duration) (map[health.Key][]delivery.Request, error) {
	keys := make([]health.Key, 0, len(quotas))
	for key := range quotas {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, compareKeys)
	tenants, endpoints := keyArrays(keys)
	rows, err := q.Query(ctx, releaseParked, tenants, endpoints, postgres.Ints(len(keys), func(i int) int { return quotas[keys[i]] }),
		timeout.Milliseconds(), delivery.ClaimFor(&delivery.Target{}).Milliseconds())
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	released := map[health.Key][]delivery.Request{}
	for rows.Next() {
		var t uuid.UUID
		var key health.Key
		var r delivery.Request
		if err := rows.Scan(&t, &key.Endpoint, &r.ID, &r.Attempt, &r.Due, &r.Held, &r.Traceparent, &r.Waited); err != nil {
			return nil, err
		}
		key.Tenant = tenant.ID(t)
		r.Tenant = key.Tenant
		released[key] = append(released[key], r)
	}
	for _, requests := range released {
		slices.SortFunc(requests, func(a, b delivery.Request) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	}
	return released, rows.Err()
}

const (
	lockOverflowing = `
SELECT FROM endpoints p WHERE (p.tenant_id, p.id) IN (SELECT * FROM unnest($1::uuid[], $2::uuid[])) ORDER BY p.tenant_id, p.id FOR NO KEY UPDATE`
	drainOverflowing = `
UPDATE endpoints p SET breaker = 'draining' FROM unnest($1::uuid[], $2::uuid[]) AS m (tenant_id, id)
WHERE p.tenant_id = m.tenant_id AND p.id = m.id AND p.breaker = 'closed' AND p.status = 'enabled' AND p.deleted_at IS NULL`
	noteOverflowing = `
INSERT INTO endpoint_health AS h (tenant_id, endpoint_id, state, reason, drain_rate, look_at)
SELECT m.tenant_id, m.id, 'draining', 'backlog', $3, now() + interval '5 seconds' FROM unnest($1::uuid[], $2::uuid[]) AS m (tenant_id, id) ORDER BY 1, 2
ON CONFLICT (tenant_id, endpoint_id) DO UPDATE SET state = 'draining', reason = 'backlog', since = now(), drain_rate = excluded.drain_rate, look_at = least(h.look_at, excluded.look_at)
    WHERE h.state IN ('failing', 'closed')`
	// As long as nobody else has taken it up.
	parkOverflow = `
UPDATE deliveries d SET next_attempt_at = 'infinity', claimed_until = NULL
FROM unnest($1::uuid[], $2::uuid[], $3::int[], $4::timestamptz[]) AS m (tenant_id, id, attempt, claim)
WHERE d.tenant_id = m.tenant_id AND d.id = m.id AND d.id BETWEEN $5 AND $6 AND d.status = 'pending' AND d.attempts = m.attempt - 1
    AND (d.claimed_until IS NULL OR d.claimed_until < now() OR d.claimed_until = m.claim)`
)

// Park implements delivery.Store. The endpoints drain from the same moment on, at half of the full rate. Failures that were noted before still count, so that
// one that hangs goes on to an open breaker instead of starting to fail anew.
func (s *Store) Park(ctx context.Context, jobs []*delivery.Job) error {
	endpoints := map[health.Key]bool{}
	for _, job := range jobs {
		endpoints[health.Key{Tenant: job.Tenant, Endpoint: job.Target.EndpointID}] = true
	}
	keys := make([]health.Key, 0, len(endpoints))
	for key := range endpoints {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, compareKeys)
	ids := make([]uuid.UUID, len(jobs))
	for i, job := range jobs {
		ids[i] = job.ID
	}
	low, high := bounds(ids)
	tenants, which := keyArrays(keys)
	p := &postgres.Pipeline{}
	p.RoleForBatch(postgres.RoleDelivery)
	p.Queue(lockOverflowing, nil, tenants, which)
	p.Queue(noteOverflowing, nil, tenants, which, max(s.defaults.Rules.DrainMost/2, 1))
	p.Queue(drainOverflowing, nil, tenants, which)
	p.Queue(parkOverflow, nil,
		postgres.UUIDs(len(jobs), func(i int) uuid.UUID { return jobs[i].Tenant.UUID() }), postgres.UUIDs(len(jobs), func(i int) uuid.UUID { return ids[i] }),
		postgres.Ints(len(jobs), func(i int) int { return jobs[i].Attempt }), postgres.Times(len(jobs), func(i int) time.Time { return jobs[i].ClaimedUntil }), low, high)
	return s.relaxed.Run(ctx, p)
}
