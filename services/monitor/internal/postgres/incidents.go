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
	"github.com/beaconpost/beaconpost/services/monitor/internal/ledger"
)

const (
	incidentColumns = `id, monitor_id, project_id, manual, title, severity, coalesce(cause, ''), coalesce(detail, ''), opened_at, acknowledged_at, coalesce(acknowledged_by, ''), resolved_at`
	listIncidents   = `SELECT ` + incidentColumns + ` FROM incidents
WHERE tenant_id = @tenant AND (@cursor::uuid IS NULL OR id < @cursor) AND (@monitor::uuid IS NULL OR monitor_id = @monitor)
    AND (@open::boolean IS NULL OR (resolved_at IS NULL) = @open) AND (@from::timestamptz IS NULL OR opened_at >= @from) AND (@to::timestamptz IS NULL OR opened_at < @to)
ORDER BY id DESC LIMIT @limit`
)

// Incidents gives at most limit+1 incidents of t, newest first.
func (s *Tenancy) Incidents(ctx context.Context, t tenant.ID, f ledger.IncidentFilter) (list []ledger.Incident, err error) {
	err = s.db.InTenant(ctx, t, func(ctx context.Context, q postgres.Querier) error {
		rows, err := q.Query(ctx, listIncidents, pgx.NamedArgs{
			"tenant": t.UUID(), "cursor": f.Cursor, "monitor": f.Monitor, "open": f.Open, "from": postgres.NullTime(f.From), "to": postgres.NullTime(f.To), "limit": f.Limit + 1,
		})
		if err != nil {
			return err
		}
		list, err = pgx.CollectRows(rows, scanIncident)
		return err
	})
	return list, err
}

func scanIncident(row pgx.CollectableRow) (i ledger.Incident, err error) {
	err = row.Scan(&i.ID, &i.Monitor, &i.Project, &i.Manual, &i.Title, &i.Severity, &i.Cause, &i.Detail, postgres.Instant{Time: &i.OpenedAt},
		postgres.Instant{Time: &i.AcknowledgedAt}, &i.AcknowledgedBy, postgres.Instant{Time: &i.ResolvedAt})
	return i, err
}

func getIncident(ctx context.Context, q postgres.Querier, query string, args ...any) (i ledger.Incident, err error) {
	rows, err := q.Query(ctx, query, args...)
	if err != nil {
		return i, err
	}
	i, err = pgx.CollectExactlyOneRow(rows, scanIncident)
	if errors.Is(err, pgx.ErrNoRows) {
		return i, fault.NotFound("incident_not_found", "There is no incident with this id.")
	}
	return i, err
}

const (
	selectIncident = `SELECT ` + incidentColumns + ` FROM incidents WHERE tenant_id = $1 AND id = $2`
	listNotes      = `SELECT id, author, text FROM incident_notes WHERE tenant_id = $1 AND incident_id = $2 ORDER BY id`
	listSends      = `
SELECT id, channel_id, policy_id, kind, status, attempts, CASE WHEN status = 'pending' THEN next_at END, sent_at, coalesce(last_error, '')
FROM notifications WHERE tenant_id = $1 AND incident_id = $2 ORDER BY id`
)

// Incident gives one incident of t with its notes and notifications, the first ones first.
func (s *Tenancy) Incident(ctx context.Context, t tenant.ID, id uuid.UUID) (i ledger.Incident, notes []ledger.Note, sends []ledger.Notification, err error) {
	err = s.db.InTenant(ctx, t, func(ctx context.Context, q postgres.Querier) (err error) {
		if i, err = getIncident(ctx, q, selectIncident, t.UUID(), id); err != nil {
			return err
		}
		batch := &pgx.Batch{}
		batch.Queue(listNotes, t.UUID(), id).Query(func(rows pgx.Rows) (err error) {
			notes, err = pgx.CollectRows(rows, pgx.RowToStructByPos[ledger.Note])
			return err
		})
		batch.Queue(listSends, t.UUID(), id).Query(func(rows pgx.Rows) (err error) {
			sends, err = pgx.CollectRows(rows, scanNotification)
			return err
		})
		return q.SendBatch(ctx, batch).Close()
	})
	return i, notes, sends, err
}

func scanNotification(row pgx.CollectableRow) (n ledger.Notification, err error) {
	err = row.Scan(&n.ID, &n.Channel, &n.Policy, &n.Kind, &n.Status, &n.Attempts, postgres.Instant{Time: &n.NextAt}, postgres.Instant{Time: &n.SentAt}, &n.Error)
	return n, err
}

const (
	selectProjectOf = `SELECT project_id FROM monitors WHERE tenant_id = $1 AND id = $2 AND deleted_at IS NULL`
	countByHand     = `SELECT count(*) FROM incidents WHERE tenant_id = $1 AND resolved_at IS NULL AND manual`
	insertIncident  = `
INSERT INTO incidents (tenant_id, id, monitor_id, project_id, manual, title, severity, detail, opened_at, untold)
VALUES ($1, $2, $3, $4, true, $5, $6, nullif($7, ''), now(), '{incident.opened}') RETURNING opened_at`
)

// Open stores an incident made by hand and fills in its project, which is its monitor's, and its time.
func (s *Tenancy) Open(ctx context.Context, t tenant.ID, i *ledger.Incident) error {
	return s.db.InTenant(ctx, t, func(ctx context.Context, q postgres.Querier) error {
		if i.Monitor != nil {
			err := q.QueryRow(ctx, selectProjectOf, t.UUID(), *i.Monitor).Scan(&i.Project)
			if errors.Is(err, pgx.ErrNoRows) {
				return fault.Invalid("unknown_monitor", "monitor_id", "There is no monitor with this id.")
			}
			if err != nil {
				return err
			}
		}
		i.Manual = true
		if err := checkRoom(ctx, q, countByHand, t, ledger.ByHandMost, "too_many_incidents"); err != nil {
			return err
		}
		err := q.QueryRow(ctx, insertIncident, t.UUID(), i.ID, i.Monitor, i.Project, i.Title, i.Severity, i.Detail).Scan(postgres.Instant{Time: &i.OpenedAt})
		if err != nil {
			return err
		}
		_, err = q.Exec(ctx, beginAlerts, t.UUID(), i.ID, i.OpenedAt)
		return err
	})
}

const (
	lockIncident = selectIncident + ` FOR NO KEY UPDATE`
	acknowledge  = `
UPDATE incidents SET acknowledged_at = greatest(now(), opened_at), acknowledged_by = $3, untold = untold || '{incident.acknowledged}' WHERE tenant_id = $1 AND id = $2 RETURNING ` + incidentColumns
)

// Acknowledge says that somebody knows of an incident. Who said so first stays; one that is resolved is refused.
func (s *Tenancy) Acknowledge(ctx context.Context, t tenant.ID, id uuid.UUID, by string) (i ledger.Incident, err error) {
	err = s.db.InTenant(ctx, t, func(ctx context.Context, q postgres.Querier) (err error) {
		if i, err = getIncident(ctx, q, lockIncident, t.UUID(), id); err != nil || !i.AcknowledgedAt.IsZero() {
			return err
		}
		if !i.ResolvedAt.IsZero() {
			return fault.Conflict("incident_is_resolved", "The incident is over, so there is nothing to acknowledge.")
		}
		if i, err = getIncident(ctx, q, acknowledge, t.UUID(), id, by); err != nil {
			return err
		}
		_, err = q.Exec(ctx, wakeAlerts, t.UUID(), id, time.Now())
		return err
	})
	return i, err
}

const resolveByHand = `UPDATE incidents SET resolved_at = greatest(now(), opened_at), untold = untold || '{incident.resolved}' WHERE tenant_id = $1 AND id = $2 RETURNING ` + incidentColumns

// Resolve ends an incident that was made by hand; one that is over stays as it is.
func (s *Tenancy) Resolve(ctx context.Context, t tenant.ID, id uuid.UUID) (i ledger.Incident, err error) {
	err = s.db.InTenant(ctx, t, func(ctx context.Context, q postgres.Querier) (err error) {
		if i, err = getIncident(ctx, q, lockIncident, t.UUID(), id); err != nil {
			return err
		}
		if !i.Manual {
			return fault.Conflict("incident_is_automatic", "The incident was opened by the monitor's checks and ends when they are good again. Acknowledging it stops reminders.")
		}
		if !i.ResolvedAt.IsZero() {
			return nil
		}
		if i, err = getIncident(ctx, q, resolveByHand, t.UUID(), id); err != nil {
			return err
		}
		_, err = q.Exec(ctx, wakeAlerts, t.UUID(), id, time.Now())
		return err
	})
	return i, err
}

const insertNote = `INSERT INTO incident_notes (tenant_id, id, incident_id, author, text) VALUES ($1, $2, $3, $4, $5)`

// AddNote stores a note about an incident.
func (s *Tenancy) AddNote(ctx context.Context, t tenant.ID, id uuid.UUID, n ledger.Note) error {
	return s.db.InTenant(ctx, t, func(ctx context.Context, q postgres.Querier) error {
		if _, err := getIncident(ctx, q, selectIncident, t.UUID(), id); err != nil {
			return err
		}
		_, err := q.Exec(ctx, insertNote, t.UUID(), n.ID, id, n.Author, n.Text)
		return err
	})
}
