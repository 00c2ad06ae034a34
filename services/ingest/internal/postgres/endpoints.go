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
INSERT INTO endpoints (tenant_id, id, project_id, url, description, event_types, status, timeout_ms, max_attempts, retry_schedule_ms, retry_base_ms, retry_cap_ms, retry_max_age_ms)
VALUES (@tenant, @id, @project, @url, @description, @event_types, @status, @timeout_ms, @max_attempts, @schedule_ms, @base_ms, @cap_ms, @max_age_ms)
RETURNING created_at, updated_at`

// Create stores a new endpoint with its first secret and fills in the times.
func (s *Endpoints) Create(ctx context.Context, t tenant.ID, e *endpoint.Endpoint, secret endpoint.Secret) error {
	return s.db.InTenant(ctx, t, func(ctx context.Context, q postgres.Querier) error {
		if err := checkProject(ctx, q, t, e.ProjectID); err != nil {
			return err
		}
		if err := q.QueryRow(ctx, insertEndpoint, endpointArgs(t, e)).Scan(&e.CreatedAt, &e.UpdatedAt); err != nil {
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

const selectEndpointColumns = `
SELECT id, project_id, url, description, event_types, status, timeout_ms, max_attempts, retry_schedule_ms, retry_base_ms, retry_cap_ms, retry_max_age_ms, created_at, updated_at
FROM endpoints `

const selectEndpoint = selectEndpointColumns + `WHERE tenant_id = $1 AND id = $2 AND deleted_at IS NULL`

// Endpoint gives one endpoint of t.
func (s *Endpoints) Endpoint(ctx context.Context, t tenant.ID, id uuid.UUID) (endpoint.Endpoint, error) {
	var e endpoint.Endpoint
	err := s.db.InTenant(ctx, t, func(ctx context.Context, q postgres.Querier) (err error) {
		e, err = getEndpoint(ctx, q, selectEndpoint, t, id)
		return err
	})
	return e, err
}

const listEndpoints = selectEndpointColumns + `
WHERE tenant_id = $1 AND id < $2 AND deleted_at IS NULL AND ($3::uuid IS NULL OR project_id = $3) ORDER BY id DESC LIMIT $4`

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
	lockEndpoint   = selectEndpoint + ` FOR UPDATE`
	updateEndpoint = `
UPDATE endpoints SET url = @url, description = @description, event_types = @event_types, status = @status, timeout_ms = @timeout_ms,
    max_attempts = @max_attempts, retry_schedule_ms = @schedule_ms, retry_base_ms = @base_ms, retry_cap_ms = @cap_ms, retry_max_age_ms = @max_age_ms, project_id = @project
WHERE tenant_id = @tenant AND id = @id RETURNING created_at, updated_at`
	parkDeliveries = `UPDATE deliveries SET next_attempt_at = 'infinity' WHERE tenant_id = $1 AND endpoint_id = $2 AND status = 'pending'`
	// Overdue rather than due: no message exists for them, so the reconciler's next round has to take them, whatever the broker holds.
	resumeDeliveries = `UPDATE deliveries SET next_attempt_at = now() - interval '1 hour' WHERE tenant_id = $1 AND endpoint_id = $2 AND status = 'pending' AND next_attempt_at = 'infinity' AND beaconpost_shard(tenant_id) = beaconpost_shard($1)`
)

// Update changes an endpoint by change, which sees the present state and may refuse. Disabling parks the pending deliveries,
// enabling makes the parked ones due.
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
		if err := q.QueryRow(ctx, updateEndpoint, endpointArgs(t, &e)).Scan(&e.CreatedAt, &e.UpdatedAt); err != nil {
			return err
		}
		switch {
		case before == endpoint.Enabled && e.Status == endpoint.Disabled:
			_, err = q.Exec(ctx, parkDeliveries, t.UUID(), id)
		case before == endpoint.Disabled && e.Status == endpoint.Enabled:
			_, err = q.Exec(ctx, resumeDeliveries, t.UUID(), id)
		}
		return err
	})
	return e, err
}

const (
	deleteEndpoint   = `UPDATE endpoints SET deleted_at = now() WHERE tenant_id = $1 AND id = $2 AND deleted_at IS NULL`
	cancelDeliveries = `
UPDATE deliveries SET status = 'cancelled', cancel_reason = 'endpoint_deleted', completed_at = now(), next_attempt_at = 'infinity'
WHERE tenant_id = $1 AND endpoint_id = $2 AND status = 'pending' AND beaconpost_shard(tenant_id) = beaconpost_shard($1)`
)

// Delete removes an endpoint, cancels its pending deliveries and says how many they were.
func (s *Endpoints) Delete(ctx context.Context, t tenant.ID, id uuid.UUID) (cancelled int64, err error) {
	err = s.db.InTenant(ctx, t, func(ctx context.Context, q postgres.Querier) error {
		tag, err := q.Exec(ctx, deleteEndpoint, t.UUID(), id)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return endpointNotFound()
		}
		tag, err = q.Exec(ctx, cancelDeliveries, t.UUID(), id)
		cancelled = tag.RowsAffected()
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
	}
	retryArgs(args, e.Retry)
	return args
}

// millis and positive store "not set" as null.
func millis(d time.Duration) *int64 { return positive(d.Milliseconds()) }

func positive[N int | int64](n N) *N {
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
	err := row.Scan(append(into, &e.CreatedAt, &e.UpdatedAt)...)
	e.Timeout, e.Retry = duration(timeout), retry.Policy()
	return e, err
}

func duration(ms *int64) time.Duration {
	if ms == nil {
		return 0
	}
	return time.Duration(*ms) * time.Millisecond
}
