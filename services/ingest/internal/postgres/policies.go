package postgres

import (
	"context"
	"errors"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/beaconpost/beaconpost/pkg/backoff"
	"github.com/beaconpost/beaconpost/pkg/fault"
	"github.com/beaconpost/beaconpost/pkg/postgres"
	"github.com/beaconpost/beaconpost/pkg/tenant"
)

const (
	selectPolicy = `SELECT max_attempts, schedule_ms, base_ms, cap_ms, max_age_ms FROM retry_policies WHERE tenant_id = $1 AND project_id = $2`
	putPolicy    = `
INSERT INTO retry_policies (tenant_id, project_id, max_attempts, schedule_ms, base_ms, cap_ms, max_age_ms)
VALUES (@tenant, @project, @max_attempts, @schedule_ms, @base_ms, @cap_ms, @max_age_ms)
ON CONFLICT (tenant_id, project_id) DO UPDATE SET max_attempts = excluded.max_attempts, schedule_ms = excluded.schedule_ms, base_ms = excluded.base_ms,
    cap_ms = excluded.cap_ms, max_age_ms = excluded.max_age_ms, updated_at = now()`
	deletePolicy = `DELETE FROM retry_policies WHERE tenant_id = $1 AND project_id = $2`
)

// RetryPolicy gives the policy of a project of t, or of t itself if project is nil; the zero policy if there is none.
func (s *Accounts) RetryPolicy(ctx context.Context, t tenant.ID, project *uuid.UUID) (p backoff.Policy, err error) {
	err = s.db.InTenant(ctx, t, func(ctx context.Context, q postgres.Querier) error {
		of, err := policyOf(ctx, q, t, project)
		if err != nil {
			return err
		}
		var retry postgres.RetryColumns
		err = q.QueryRow(ctx, selectPolicy, t.UUID(), of).Scan(retry.Into()...)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		p = retry.Policy()
		return err
	})
	return p, err
}

// SetRetryPolicy replaces the policy of a project of t, or of t itself if project is nil; the zero policy removes it.
func (s *Accounts) SetRetryPolicy(ctx context.Context, t tenant.ID, project *uuid.UUID, p backoff.Policy) error {
	return s.db.InTenant(ctx, t, func(ctx context.Context, q postgres.Querier) error {
		of, err := policyOf(ctx, q, t, project)
		if err != nil {
			return err
		}
		if p.IsZero() {
			_, err = q.Exec(ctx, deletePolicy, t.UUID(), of)
		} else {
			args := pgx.NamedArgs{"tenant": t.UUID(), "project": of}
			retryArgs(args, p)
			_, err = q.Exec(ctx, putPolicy, args)
		}
		return unknownTenant(err)
	})
}

// policyOf gives the key of a policy, after a look whether the project exists.
func policyOf(ctx context.Context, q postgres.Querier, t tenant.ID, project *uuid.UUID) (uuid.UUID, error) {
	if project == nil {
		return t.UUID(), nil
	}
	var exists bool
	err := q.QueryRow(ctx, selectProject, t.UUID(), *project).Scan(&exists)
	if err == nil && !exists {
		err = fault.NotFound("project_not_found", "There is no project with this id.")
	}
	return *project, err
}

// retryArgs adds a policy to the arguments of a statement.
func retryArgs(args pgx.NamedArgs, p backoff.Policy) {
	var schedule []int64
	for _, d := range p.Schedule {
		schedule = append(schedule, d.Milliseconds())
	}
	args["max_attempts"], args["schedule_ms"] = positive(p.MaxAttempts), schedule
	args["base_ms"], args["cap_ms"], args["max_age_ms"] = millis(p.Base), millis(p.Cap), millis(p.MaxAge)
}
