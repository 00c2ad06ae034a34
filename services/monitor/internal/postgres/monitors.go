package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/beaconpost/beaconpost/pkg/fault"
	"github.com/beaconpost/beaconpost/pkg/postgres"
	"github.com/beaconpost/beaconpost/pkg/secretbox"
	"github.com/beaconpost/beaconpost/pkg/tenant"
	"github.com/beaconpost/beaconpost/services/monitor/internal/ledger"
	"github.com/beaconpost/beaconpost/services/monitor/internal/monitor"
	"github.com/beaconpost/beaconpost/services/monitor/internal/verdict"
)

// Tenancy is the database as a tenant sees it: every method is one transaction under the tenant's row-level security.
type Tenancy struct {
	db   *postgres.DB
	ring *secretbox.Keyring
}

// NewTenancy makes a Tenancy; ring seals and opens the secrets of specs.
func NewTenancy(db *postgres.DB, ring *secretbox.Keyring) *Tenancy {
	return &Tenancy{db: db, ring: ring}
}

const (
	insertMonitor = `
INSERT INTO monitors (tenant_id, id, project_id, name, kind, spec, sealed_key_id, sealed, interval_ms, timeout_ms, degraded_ms, failure_threshold, recovery_threshold,
    confirm, paused, regions, tags, slo_target, token)
VALUES (@tenant, @id, @project, @name, @kind, @spec, @key_id, @sealed, @interval, @timeout, nullif(@degraded, 0), @failure, @recovery,
    @confirm, @paused, @regions, @tags, nullif(@slo::double precision, 0), nullif(@token, ''))
RETURNING version, created_at, updated_at`
	// The state knows no version of the rules yet, so that the first look at it, or the first result, learns them. That is at once if the monitor is paused.
	insertState = `
WITH state AS (
    INSERT INTO monitor_states (tenant_id, monitor_id, status, since, state, rules, look_at) VALUES ($1, $2, $3, $4, $5, 0, CASE WHEN $6 THEN now() END)
)
INSERT INTO monitor_intervals (tenant_id, monitor_id, started_at, status) VALUES ($1, $2, $4, $3)`
)

// Create stores a new monitor, of which nothing is known yet, and fills in version and times.
func (s *Tenancy) Create(ctx context.Context, m *monitor.Monitor) error {
	args, err := s.args(m)
	if err != nil {
		return err
	}
	err = s.db.InTenant(ctx, m.Tenant, func(ctx context.Context, q postgres.Querier) error {
		if err := checkProject(ctx, q, m.Tenant, m.ProjectID); err != nil {
			return err
		}
		if err := q.QueryRow(ctx, insertMonitor, args).Scan(&m.Version, &m.CreatedAt, &m.UpdatedAt); err != nil {
			return err
		}
		begin := verdict.Begin(m.CreatedAt)
		state, err := json.Marshal(begin)
		if err != nil {
			return err
		}
		_, err = q.Exec(ctx, insertState, m.Tenant.UUID(), m.ID, string(begin.Status), begin.Since, string(state), m.Paused)
		return err
	})
	return nameTaken(err)
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

// CheckProject says whether a project of t exists; nil does.
func (s *Tenancy) CheckProject(ctx context.Context, t tenant.ID, id *uuid.UUID) error {
	return s.db.InTenant(ctx, t, func(ctx context.Context, q postgres.Querier) error { return checkProject(ctx, q, t, id) })
}

func nameTaken(err error) error {
	if postgres.IsConstraint(err, "monitors_name") {
		taken := fault.Conflict("monitor_name_taken", "There is a monitor with this name.")
		taken.Field = "name"
		return taken
	}
	if postgres.IsConstraint(err, "monitors_tenant_id_fkey") {
		return fault.Forbidden("unknown_tenant", "The credential is for a tenant that does not exist.")
	}
	return err
}

func (s *Tenancy) args(m *monitor.Monitor) (pgx.NamedArgs, error) {
	open, secrets := m.Spec.Split()
	spec, err := json.Marshal(open)
	if err != nil {
		return nil, err
	}
	args := pgx.NamedArgs{
		"tenant": m.Tenant.UUID(), "id": m.ID, "project": m.ProjectID, "name": m.Name, "kind": string(m.Spec.Kind), "spec": string(spec), "key_id": nil, "sealed": nil,
		"interval": m.Interval.Milliseconds(), "timeout": m.Timeout.Milliseconds(), "degraded": m.Degraded.Milliseconds(),
		"failure": m.FailureThreshold, "recovery": m.RecoveryThreshold, "confirm": m.Confirm, "paused": m.Paused, "regions": m.Regions, "tags": m.Tags,
		"slo": m.SLOTarget, "token": m.Token,
	}
	if m.Tags == nil {
		args["tags"] = []string{}
	}
	if secrets.Empty() {
		return args, nil
	}
	plain, err := json.Marshal(secrets) //nolint:gosec // to be sealed
	if err != nil {
		return nil, err
	}
	keyID, sealed, err := s.ring.Seal(plain, postgres.SecretAAD(m.Tenant, m.ID, m.ID))
	args["key_id"], args["sealed"] = keyID, sealed
	return args, err
}

// Status is where a monitor stands.
type Status = ledger.Status

// Watched is a monitor with where it stands.
type Watched = ledger.Watched

const (
	watchedColumns = monitorColumns + `, s.status, s.since, s.incident_id, s.reported_at, s.account`
	selectWatched  = `SELECT ` + watchedColumns + ` FROM monitors m JOIN monitor_states s ON s.tenant_id = m.tenant_id AND s.monitor_id = m.id `
	selectMonitor  = selectWatched + `WHERE m.tenant_id = $1 AND m.id = $2 AND m.deleted_at IS NULL`
)

func (s *Tenancy) scan(r pgx.CollectableRow) (Watched, error) {
	stored := &row{}
	var st Status
	var account []byte
	err := r.Scan(append(stored.into(), &st.Status, &st.Since, &st.Incident, postgres.Instant{Time: &st.ReportedAt}, &account)...)
	if err != nil {
		return Watched{}, err
	}
	var sums ledger.Account
	if err := json.Unmarshal(account, &sums); err != nil {
		return Watched{}, fmt.Errorf("read account: %w", err)
	}
	st.CertEnds = sums.CertEnds()
	m, err := stored.monitor(s.ring)
	_, locked := errors.AsType[*lockedError](err)
	if err != nil && !locked {
		return Watched{}, err
	}
	return Watched{Monitor: *m, Status: st, Locked: locked}, nil
}

func (s *Tenancy) get(ctx context.Context, q postgres.Querier, query string, t tenant.ID, id uuid.UUID) (Watched, error) {
	rows, err := q.Query(ctx, query, t.UUID(), id)
	if err != nil {
		return Watched{}, err
	}
	w, err := pgx.CollectExactlyOneRow(rows, s.scan)
	if errors.Is(err, pgx.ErrNoRows) {
		return w, monitorNotFound()
	}
	return w, err
}

func monitorNotFound() error {
	return fault.NotFound("monitor_not_found", "There is no monitor with this id.")
}

// Monitor gives one monitor of t.
func (s *Tenancy) Monitor(ctx context.Context, t tenant.ID, id uuid.UUID) (w Watched, err error) {
	err = s.db.InTenant(ctx, t, func(ctx context.Context, q postgres.Querier) (err error) {
		w, err = s.get(ctx, q, selectMonitor, t, id)
		return err
	})
	return w, err
}

// Filter narrows a list of monitors; zero fields do not.
type Filter = ledger.Filter

const listMonitors = selectWatched + `
WHERE m.tenant_id = @tenant AND m.deleted_at IS NULL AND (@cursor::uuid IS NULL OR m.id < @cursor) AND (@name = '' OR m.name = @name) AND (@kind = '' OR m.kind = @kind)
    AND (@status = '' OR s.status = @status) AND (@tag = '' OR @tag = ANY (m.tags)) AND (@project::uuid IS NULL OR m.project_id = @project)
ORDER BY m.id DESC LIMIT @limit`

// List gives at most limit+1 monitors of t, newest first.
func (s *Tenancy) List(ctx context.Context, t tenant.ID, f Filter) (list []Watched, err error) {
	err = s.db.InTenant(ctx, t, func(ctx context.Context, q postgres.Querier) error {
		rows, err := q.Query(ctx, listMonitors, pgx.NamedArgs{
			"tenant": t.UUID(), "cursor": f.Cursor, "name": f.Name, "kind": f.Kind, "status": f.Status, "tag": f.Tag, "project": f.Project, "limit": f.Limit + 1,
		})
		if err != nil {
			return err
		}
		list, err = pgx.CollectRows(rows, s.scan)
		return err
	})
	return list, err
}

const (
	lockMonitor   = selectMonitor + ` FOR NO KEY UPDATE OF m`
	updateMonitor = `
UPDATE monitors SET project_id = @project, name = @name, spec = @spec, interval_ms = @interval, timeout_ms = @timeout,
    degraded_ms = nullif(@degraded, 0), failure_threshold = @failure, recovery_threshold = @recovery, confirm = @confirm, paused = @paused, regions = @regions, tags = @tags,
    slo_target = nullif(@slo::double precision, 0), version = version + 1, updated_at = now(),
    sealed_key_id = CASE WHEN @keep_sealed THEN sealed_key_id ELSE @key_id END, sealed = CASE WHEN @keep_sealed THEN sealed ELSE @sealed END
WHERE tenant_id = @tenant AND id = @id`
	// Whoever works on the state sees the new rules at its next look, which is now.
	// In the order of wakePolicy.
	wakeAlertsOf = `
WITH open AS (
    SELECT p.incident_id, p.policy_id FROM alert_progress p JOIN incidents i ON i.tenant_id = p.tenant_id AND i.id = p.incident_id
    WHERE p.tenant_id = $1 AND i.monitor_id = $2 AND i.resolved_at IS NULL ORDER BY p.incident_id, p.policy_id FOR UPDATE OF p
)
UPDATE alert_progress p SET look_at = now() FROM open o WHERE p.tenant_id = $1 AND p.incident_id = o.incident_id AND p.policy_id = o.policy_id`
	lookNow = `UPDATE monitor_states SET look_at = now() WHERE tenant_id = $1 AND monitor_id = $2`
)

// Update changes a monitor by change, which sees the present state and may refuse. Nothing that is known of it is forgotten.
func (s *Tenancy) Update(ctx context.Context, t tenant.ID, id uuid.UUID, change func(*monitor.Monitor) error) (w Watched, err error) {
	err = s.db.InTenant(ctx, t, func(ctx context.Context, q postgres.Querier) (err error) {
		if w, err = s.get(ctx, q, lockMonitor, t, id); err != nil {
			return err
		}
		before := w.Spec
		if err := change(&w.Monitor); err != nil {
			return err
		}
		if err := checkProject(ctx, q, t, w.ProjectID); err != nil {
			return err
		}
		args, err := s.args(&w.Monitor)
		if err != nil {
			return err
		}
		keep := w.Locked && args["sealed"] == nil // what cannot be opened now may be when its key is back
		if keep && !w.Spec.SameTarget(&before) {
			return fault.Conflict("secrets_locked", "The installation cannot open the monitor's passwords, tokens and keys, so another target, proxy or resolver has to come with new ones.")
		}
		args["keep_sealed"] = keep
		if _, err := q.Exec(ctx, updateMonitor, args); err != nil {
			return err
		}
		for _, wake := range []string{lookNow, wakeAlertsOf} { // tags, which policies go by, may have changed
			if _, err := q.Exec(ctx, wake, t.UUID(), id); err != nil {
				return err
			}
		}
		w, err = s.get(ctx, q, selectMonitor, t, id)
		return err
	})
	return w, nameTaken(err)
}

const deleteMonitor = `UPDATE monitors SET deleted_at = now(), updated_at = now(), version = version + 1 WHERE tenant_id = $1 AND id = $2 AND deleted_at IS NULL`

// Delete removes a monitor. What was found of it can still be read; an incident of it is resolved at the next look, which is now.
func (s *Tenancy) Delete(ctx context.Context, t tenant.ID, id uuid.UUID) error {
	return s.db.InTenant(ctx, t, func(ctx context.Context, q postgres.Querier) error {
		tag, err := q.Exec(ctx, deleteMonitor, t.UUID(), id)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return monitorNotFound()
		}
		_, err = q.Exec(ctx, lookNow, t.UUID(), id)
		return err
	})
}
