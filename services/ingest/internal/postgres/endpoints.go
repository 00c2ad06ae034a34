package postgres

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/beaconpost/beaconpost/pkg/fault"
	"github.com/beaconpost/beaconpost/pkg/postgres"
	"github.com/beaconpost/beaconpost/pkg/secretbox"
	"github.com/beaconpost/beaconpost/pkg/tenant"
	"github.com/beaconpost/beaconpost/services/ingest/internal/endpoint"
)

// Endpoints stores endpoints and their secrets. A change and what it means for pending deliveries is one transaction.
type Endpoints struct {
	db   *postgres.DB
	ring *secretbox.Keyring
}

// NewEndpoints makes the store; ring seals and opens secrets.
func NewEndpoints(db *postgres.DB, ring *secretbox.Keyring) *Endpoints {
	return &Endpoints{db: db, ring: ring}
}

const insertEndpoint = `
INSERT INTO endpoints (tenant_id, id, project_id, url, description, event_types, status, timeout_ms, max_attempts, retry_schedule_ms, retry_base_ms, retry_cap_ms, retry_max_age_ms,
    headers, signature_headers, rate_per_second, rate_burst, disabled_at, disabled_reason)
VALUES (@tenant, @id, @project, @url, @description, @event_types, @status, @timeout_ms, @max_attempts, @schedule_ms, @base_ms, @cap_ms, @max_age_ms,
    @headers, @signature, @per_second, @burst, CASE WHEN @status = 'disabled' THEN now() END, CASE WHEN @status = 'disabled' THEN 'requested' END)
RETURNING created_at, updated_at, disabled_at, coalesce(disabled_reason, '')`

// Create stores a new endpoint with its first secret and fills in the times.
func (s *Endpoints) Create(ctx context.Context, t tenant.ID, e *endpoint.Endpoint, secret endpoint.Secret) error {
	return s.db.InTenant(ctx, t, func(ctx context.Context, q postgres.Querier) error {
		if err := checkProject(ctx, q, t, e.ProjectID); err != nil {
			return err
		}
		if err := q.QueryRow(ctx, insertEndpoint, endpointArgs(t, e)).Scan(changedInto(e)...); err != nil {
			return unknownTenant(err)
		}
		return s.insertSecret(ctx, q, t, e.ID, secret)
	})
}

const selectProject = `SELECT EXISTS (SELECT FROM projects WHERE tenant_id = $1 AND id = $2)`

func checkProject(ctx context.Context, q postgres.Querier, t tenant.ID, id *uuid.UUID) error {
	if id == nil {
		return nil
	}
	var exists bool
	if err := q.QueryRow(ctx, selectProject, t.UUID(), *id).Scan(&exists); err != nil {
		return err
	}
	if !exists {
		return fault.Invalid("unknown_project", "project_id", "There is no project with this id.")
	}
	return nil
}

// changedInto is what the statements that write an endpoint give back.
func changedInto(e *endpoint.Endpoint) []any {
	return []any{&e.CreatedAt, &e.UpdatedAt, postgres.Instant{Time: &e.Disabled.At}, &e.Disabled.Reason}
}

const (
	selectEndpointColumns = `
SELECT p.id, p.project_id, p.url, p.description, p.event_types, p.status, p.timeout_ms, p.max_attempts, p.retry_schedule_ms, p.retry_base_ms, p.retry_cap_ms, p.retry_max_age_ms,
    p.headers, p.signature_headers, coalesce(p.rate_per_second, 0), coalesce(p.rate_burst, 0), p.created_at, p.updated_at, p.disabled_at, coalesce(p.disabled_reason, ''), p.breaker, coalesce(h.reason, ''), h.since, coalesce(h.failures, 0), h.failing_since, h.last_failed_at,
    coalesce(h.last_status, 0), coalesce(h.last_class, ''), coalesce(h.probes, 0), CASE WHEN h.state = 'open' THEN h.probe_at END,
    CASE WHEN h.state = 'draining' THEN h.drain_rate ELSE 0 END, h.recover_from IS NOT NULL, coalesce(h.recovered, 0)
FROM endpoints p LEFT JOIN endpoint_health h ON h.tenant_id = p.tenant_id AND h.endpoint_id = p.id `
	selectEndpoint = selectEndpointColumns + `WHERE p.tenant_id = $1 AND p.id = $2 AND p.deleted_at IS NULL`
	countParked    = `
SELECT count(*) FROM (SELECT FROM deliveries WHERE tenant_id = $1 AND endpoint_id = $2 AND status = 'pending' AND next_attempt_at = 'infinity' LIMIT $3) d`
)

// Endpoint gives one endpoint of t, with the number of its parked deliveries.
func (s *Endpoints) Endpoint(ctx context.Context, t tenant.ID, id uuid.UUID) (endpoint.Endpoint, error) {
	var e endpoint.Endpoint
	err := s.db.InTenant(ctx, t, func(ctx context.Context, q postgres.Querier) (err error) {
		if e, err = getEndpoint(ctx, q, selectEndpoint, t, id); err != nil {
			return err
		}
		return q.QueryRow(ctx, countParked, t.UUID(), id, endpoint.ParkedMost).Scan(&e.Health.Parked)
	})
	return e, err
}

const listEndpoints = selectEndpointColumns + `
WHERE p.tenant_id = $1 AND p.id < $2 AND p.deleted_at IS NULL AND ($3::uuid IS NULL OR p.project_id = $3) ORDER BY p.id DESC LIMIT $4`

// List gives at most limit+1 endpoints of t, newest first.
func (s *Endpoints) List(ctx context.Context, t tenant.ID, project, cursor *uuid.UUID, limit int) ([]endpoint.Endpoint, error) {
	var list []endpoint.Endpoint
	err := s.db.InTenant(ctx, t, func(ctx context.Context, q postgres.Querier) error {
		rows, err := q.Query(ctx, listEndpoints, t.UUID(), until(time.Time{}, cursor), project, limit+1)
		if err != nil {
			return err
		}
		list, err = pgx.CollectRows(rows, scanEndpoint)
		return err
	})
	return list, err
}

const (
	lockEndpoint   = selectEndpoint + ` FOR NO KEY UPDATE OF p`
	updateEndpoint = `
UPDATE endpoints SET url = @url, description = @description, event_types = @event_types, status = @status, timeout_ms = @timeout_ms,
    max_attempts = @max_attempts, retry_schedule_ms = @schedule_ms, retry_base_ms = @base_ms, retry_cap_ms = @cap_ms, retry_max_age_ms = @max_age_ms, project_id = @project,
    headers = @headers, signature_headers = @signature, rate_per_second = @per_second, rate_burst = @burst,
    breaker = CASE WHEN @status = 'disabled' THEN 'closed' WHEN status = 'disabled' THEN 'draining' ELSE breaker END,
    disabled_at = CASE WHEN @status = 'disabled' THEN coalesce(disabled_at, now()) END,
    disabled_reason = CASE WHEN @status = 'disabled' THEN coalesce(disabled_reason, 'requested') END
WHERE tenant_id = @tenant AND id = @id RETURNING created_at, updated_at, disabled_at, coalesce(disabled_reason, '')`
	// Whatever was known of its health before it was disabled does not count any more.
	startDrain = `
INSERT INTO endpoint_health AS h (tenant_id, endpoint_id, state, reason, look_at) VALUES ($1, $2, 'draining', 'enabled', now())
ON CONFLICT (tenant_id, endpoint_id) DO UPDATE SET state = excluded.state, reason = excluded.reason, since = now(), failures = 0, failing_since = NULL, succeeded_at = NULL,
    not_before = NULL, gone_at = NULL, probes = 0, probed_at = NULL, probe_at = NULL, drain_rate = 0, warned_at = NULL, look_at = now()`
)

// Update changes an endpoint by change, which sees the present state and may refuse. Of a disabled endpoint deliveries are parked as their time comes;
// enabling it asks delivery to drain them.
func (s *Endpoints) Update(ctx context.Context, t tenant.ID, id uuid.UUID, change func(*endpoint.Endpoint) error) (endpoint.Endpoint, error) {
	var e endpoint.Endpoint
	err := s.db.InTenant(ctx, t, func(ctx context.Context, q postgres.Querier) (err error) {
		if e, err = getEndpoint(ctx, q, lockEndpoint, t, id); err != nil {
			return err
		}
		before := e.Status
		if err := change(&e); err != nil {
			return err
		}
		if err := checkProject(ctx, q, t, e.ProjectID); err != nil {
			return err
		}
		// Its health before itself, whose triggers lock the tenant: the order of everybody who locks more than one of them.
		if before == endpoint.Disabled && e.Status == endpoint.Enabled {
			if _, err = q.Exec(ctx, startDrain, t.UUID(), id); err != nil {
				return err
			}
		}
		if err := q.QueryRow(ctx, updateEndpoint, endpointArgs(t, &e)).Scan(changedInto(&e)...); err != nil {
			return err
		}
		e, err = getEndpoint(ctx, q, selectEndpoint, t, id)
		return err
	})
	return e, err
}

const (
	forgetHealth     = `UPDATE endpoint_health SET look_at = now() WHERE tenant_id = $1 AND endpoint_id = $2` // delivery looks, and removes it
	deleteEndpoint   = `UPDATE endpoints SET deleted_at = now() WHERE tenant_id = $1 AND id = $2 AND deleted_at IS NULL`
	cancelDeliveries = `
UPDATE deliveries SET status = 'cancelled', cancel_reason = 'endpoint_deleted', completed_at = now(), next_attempt_at = 'infinity'
WHERE tenant_id = $1 AND endpoint_id = $2 AND status = 'pending' AND beaconpost_shard(tenant_id) = beaconpost_shard($1)`
)

// Delete removes an endpoint, cancels its pending deliveries and says how many they were.
func (s *Endpoints) Delete(ctx context.Context, t tenant.ID, id uuid.UUID) (cancelled int64, err error) {
	err = s.db.InTenant(ctx, t, func(ctx context.Context, q postgres.Querier) error {
		if _, err := q.Exec(ctx, forgetHealth, t.UUID(), id); err != nil {
			return err
		}
		tag, err := q.Exec(ctx, deleteEndpoint, t.UUID(), id)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return endpointNotFound()
		}
		tag, err = q.Exec(ctx, cancelDeliveries, t.UUID(), id)
		cancelled = tag.RowsAffected()
		if err != nil {
			return err
		}
		_, err = q.Exec(ctx, expireAllKeys, t.UUID(), id) // public keys vouch for nothing any more
		return err
	})
	return cancelled, err
}

func getEndpoint(ctx context.Context, q postgres.Querier, query string, t tenant.ID, id uuid.UUID) (endpoint.Endpoint, error) {
	rows, err := q.Query(ctx, query, t.UUID(), id)
	if err != nil {
		return endpoint.Endpoint{}, err
	}
	e, err := pgx.CollectExactlyOneRow(rows, scanEndpoint)
	if isNoRows(err) {
		return e, endpointNotFound()
	}
	return e, err
}

func endpointNotFound() error {
	return fault.NotFound("endpoint_not_found", "There is no endpoint with this id.")
}

func endpointArgs(t tenant.ID, e *endpoint.Endpoint) pgx.NamedArgs {
	types := []string(e.Filter)
	if types == nil {
		types = []string{}
	}
	args := pgx.NamedArgs{
		"tenant": t.UUID(), "id": e.ID, "project": e.ProjectID, "url": e.URL, "description": e.Description,
		"event_types": types, "status": e.Status, "timeout_ms": millis(e.Timeout),
		"headers": e.Headers, "signature": e.Signature, "per_second": positive(e.Rate.PerSecond), "burst": positive(e.Rate.Burst),
	}
	if e.Headers == nil {
		args["headers"] = map[string]string{}
	}
	retryArgs(args, e.Retry)
	return args
}

// millis and positive store "not set" as null.
func millis(d time.Duration) *int64 { return positive(d.Milliseconds()) }

func positive[N int | int64 | float64](n N) *N {
	if n == 0 {
		return nil
	}
	return &n
}

func scanEndpoint(row pgx.CollectableRow) (endpoint.Endpoint, error) {
	var e endpoint.Endpoint
	var timeout *int64
	var retry postgres.RetryColumns
	into := append([]any{&e.ID, &e.ProjectID, &e.URL, &e.Description, &e.Filter, &e.Status, &timeout}, retry.Into()...)
	into = append(into, &e.Headers, &e.Signature, &e.Rate.PerSecond, &e.Rate.Burst)
	err := row.Scan(append(append(into, changedInto(&e)...), healthInto(&e.Health)...)...)
	e.Timeout, e.Retry = duration(timeout), retry.Policy()
	return e, err
}

func healthInto(h *endpoint.Health) []any {
	return []any{
		&h.Breaker, &h.Reason, postgres.Instant{Time: &h.Since}, &h.Failures, postgres.Instant{Time: &h.FailingSince}, postgres.Instant{Time: &h.LastFailedAt},
		&h.LastStatus, &h.LastClass, &h.Probes, postgres.Instant{Time: &h.NextProbeAt}, &h.DrainRate, &h.Recovering, &h.Recovered,
	}
}

func duration(ms *int64) time.Duration {
	if ms == nil {
		return 0
	}
	return time.Duration(*ms) * time.Millisecond
}
