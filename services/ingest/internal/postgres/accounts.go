package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/beaconpost/beaconpost/pkg/fault"
	"github.com/beaconpost/beaconpost/pkg/postgres"
	"github.com/beaconpost/beaconpost/pkg/tenant"
	"github.com/beaconpost/beaconpost/services/ingest/internal/account"
)

// Accounts stores tenants, projects and API keys.
type Accounts struct {
	db    *postgres.DB
	usage chan struct{} // holds one for each question for usage that is being answered
}

// NewAccounts makes the store.
func NewAccounts(db *postgres.DB) *Accounts {
	return &Accounts{db: db, usage: make(chan struct{}, min(usageAtOnce, max(db.Stat().MaxConns()/4, 1)))}
}

const insertTenant = `INSERT INTO tenants (id, name) VALUES ($1, $2) RETURNING created_at`

// CreateTenant stores a new tenant together with its first API key. Its caller is the operator.
func (s *Accounts) CreateTenant(ctx context.Context, t *account.Tenant, first *account.APIKey, hash []byte) error {
	p := &postgres.Pipeline{}
	p.Role(postgres.RoleIngest)
	p.Queue(insertTenant, scanOne(&t.CreatedAt), t.ID.UUID(), t.Name)
	p.Tenant(t.ID)
	p.Queue(insertKey, scanOne(&first.CreatedAt), t.ID.UUID(), first.ID, first.Name, first.Prefix, hash, first.Scopes, first.ExpiresAt)
	return s.db.Run(ctx, p)
}

// scanOne reads a single value.
func scanOne(into any) func(pgx.Rows) error {
	return func(rows pgx.Rows) error {
		for rows.Next() {
			if err := rows.Scan(into); err != nil {
				return err
			}
		}
		return rows.Err()
	}
}

const listTenants = `SELECT id, name, created_at FROM tenants WHERE id < $1 ORDER BY id DESC LIMIT $2`

// Tenants gives at most limit+1 tenants, newest first.
func (s *Accounts) Tenants(ctx context.Context, cursor *uuid.UUID, limit int) ([]account.Tenant, error) {
	var list []account.Tenant
	err := s.db.As(ctx, postgres.RoleIngest, func(ctx context.Context, q postgres.Querier) error {
		rows, err := q.Query(ctx, listTenants, until(time.Time{}, cursor), limit+1)
		if err != nil {
			return err
		}
		list, err = pgx.CollectRows(rows, scanTenant)
		return err
	})
	return list, err
}

const selectTenant = `SELECT id, name, created_at FROM tenants WHERE id = $1`

// Tenant gives one tenant.
func (s *Accounts) Tenant(ctx context.Context, id tenant.ID) (account.Tenant, error) {
	var t account.Tenant
	err := s.db.As(ctx, postgres.RoleIngest, func(ctx context.Context, q postgres.Querier) error {
		rows, err := q.Query(ctx, selectTenant, id.UUID())
		if err != nil {
			return err
		}
		t, err = pgx.CollectExactlyOneRow(rows, scanTenant)
		if isNoRows(err) {
			return fault.NotFound("tenant_not_found", "There is no tenant with this id.")
		}
		return err
	})
	return t, err
}

func scanTenant(row pgx.CollectableRow) (account.Tenant, error) {
	var t account.Tenant
	var id uuid.UUID
	err := row.Scan(&id, &t.Name, &t.CreatedAt)
	t.ID = tenant.ID(id)
	return t, err
}

const insertProject = `INSERT INTO projects (tenant_id, id, name) VALUES ($1, $2, $3) RETURNING created_at`

// CreateProject stores a new project of t.
func (s *Accounts) CreateProject(ctx context.Context, t tenant.ID, p *account.Project) error {
	return s.db.InTenant(ctx, t, func(ctx context.Context, q postgres.Querier) error {
		err := q.QueryRow(ctx, insertProject, t.UUID(), p.ID, p.Name).Scan(&p.CreatedAt)
		if postgres.IsConstraint(err, "projects_tenant_id_name_key") {
			conflict := fault.Conflict("project_exists", "There is a project with this name already.")
			conflict.Field = "name"
			return conflict
		}
		return unknownTenant(err)
	})
}

const listProjects = `SELECT id, name, created_at FROM projects WHERE tenant_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3`

// Projects gives at most limit+1 projects of t, newest first.
func (s *Accounts) Projects(ctx context.Context, t tenant.ID, cursor *uuid.UUID, limit int) ([]account.Project, error) {
	var list []account.Project
	err := s.db.InTenant(ctx, t, func(ctx context.Context, q postgres.Querier) error {
		rows, err := q.Query(ctx, listProjects, t.UUID(), until(time.Time{}, cursor), limit+1)
		if err != nil {
			return err
		}
		list, err = pgx.CollectRows(rows, pgx.RowToStructByPos[account.Project])
		return err
	})
	return list, err
}

const insertKey = `
INSERT INTO api_keys (tenant_id, id, name, prefix, key_hash, scopes, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING created_at`

// CreateKey stores an API key of t by its hash.
func (s *Accounts) CreateKey(ctx context.Context, t tenant.ID, k *account.APIKey, hash []byte) error {
	return s.db.InTenant(ctx, t, func(ctx context.Context, q postgres.Querier) error {
		return unknownTenant(q.QueryRow(ctx, insertKey, t.UUID(), k.ID, k.Name, k.Prefix, hash, k.Scopes, k.ExpiresAt).Scan(&k.CreatedAt))
	})
}

const listKeys = `
SELECT id, name, prefix, scopes, created_at, expires_at, revoked_at FROM api_keys WHERE tenant_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3`

// Keys gives at most limit+1 API keys of t, newest first, revoked ones included.
func (s *Accounts) Keys(ctx context.Context, t tenant.ID, cursor *uuid.UUID, limit int) ([]account.APIKey, error) {
	var list []account.APIKey
	err := s.db.InTenant(ctx, t, func(ctx context.Context, q postgres.Querier) error {
		rows, err := q.Query(ctx, listKeys, t.UUID(), until(time.Time{}, cursor), limit+1)
		if err != nil {
			return err
		}
		list, err = pgx.CollectRows(rows, pgx.RowToStructByPos[account.APIKey])
		return err
	})
	return list, err
}

const revokeKey = `
UPDATE api_keys k SET revoked_at = coalesce(old.revoked_at, now())
FROM (SELECT tenant_id, id, revoked_at FROM api_keys WHERE tenant_id = $1 AND id = $2 FOR UPDATE) old
WHERE k.tenant_id = old.tenant_id AND k.id = old.id RETURNING old.revoked_at IS NULL`

// RevokeKey makes a key of t useless and reports whether it was not before.
func (s *Accounts) RevokeKey(ctx context.Context, t tenant.ID, id uuid.UUID) (revoked bool, err error) {
	err = s.db.InTenant(ctx, t, func(ctx context.Context, q postgres.Querier) error {
		err := q.QueryRow(ctx, revokeKey, t.UUID(), id).Scan(&revoked)
		if errors.Is(err, pgx.ErrNoRows) {
			return fault.NotFound("api_key_not_found", "There is no API key with this id.")
		}
		return err
	})
	return revoked, err
}

// In small steps, so that no statement holds many locks; the index on created_at finds them.
const expireKeys = `
DELETE FROM idempotency_keys WHERE (tenant_id, key) IN (
    SELECT tenant_id, key FROM idempotency_keys WHERE created_at < now() - $1::interval ORDER BY created_at LIMIT 5000)`

// ExpireIdempotencyKeys forgets keys older than age and says how many.
func (s *Accounts) ExpireIdempotencyKeys(ctx context.Context, age time.Duration) (int64, error) {
	var total int64
	for {
		var n int64
		err := s.db.As(ctx, postgres.RoleIngest, func(ctx context.Context, q postgres.Querier) error {
			tag, err := q.Exec(ctx, expireKeys, age)
			n = tag.RowsAffected()
			return err
		})
		total += n
		if err != nil || n == 0 {
			return total, err
		}
	}
}

const partitionsAhead = `SELECT beaconpost_partitions_ahead()`

// PartitionsAhead says for how many days after today events can be stored; -1: not today.
func (s *Accounts) PartitionsAhead(ctx context.Context) (int, error) {
	var days int
	err := s.db.As(ctx, postgres.RoleIngest, func(ctx context.Context, q postgres.Querier) error {
		return q.QueryRow(ctx, partitionsAhead).Scan(&days)
	})
	return days, err
}
