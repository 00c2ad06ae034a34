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
	"github.com/beaconpost/beaconpost/pkg/tenant"
)

const (
	tellMost      = 200
	untoldOfHands = `
SELECT i.tenant_id, i.id, i.project_id, i.monitor_id, coalesce(m.name, ''), i.manual, i.title, i.severity, coalesce(i.detail, ''), i.opened_at, i.acknowledged_at, coalesce(i.acknowledged_by, ''),
    i.resolved_at, i.untold
FROM incidents i LEFT JOIN monitors m ON m.tenant_id = i.tenant_id AND m.id = i.monitor_id
WHERE i.untold <> '{}' ORDER BY i.tenant_id, i.id LIMIT $1 FOR UPDATE OF i SKIP LOCKED`
	told = `UPDATE incidents SET untold = '{}' WHERE tenant_id = $1 AND id = $2`
)

// incidentData is what the tenant is told of an incident that somebody did something about.
type incidentData struct {
	Incident       uuid.UUID  `json:"incident_id"`
	Monitor        *uuid.UUID `json:"monitor_id,omitempty"`
	Name           string     `json:"name,omitempty"`
	Manual         bool       `json:"manual,omitempty"`
	Title          string     `json:"title"`
	Severity       string     `json:"severity"`
	Detail         string     `json:"detail,omitempty"`
	At             time.Time  `json:"at"`
	AcknowledgedBy string     `json:"acknowledged_by,omitempty"`
}

// Tell stores the events of what people did about incidents, and says whether there are more.
func (s *Store) Tell(ctx context.Context) (more bool, err error) {
	var due []stream.DeliveryReady
	err = s.db.As(ctx, postgres.RoleMonitor, func(ctx context.Context, q postgres.Querier) error {
		rows, err := q.Query(ctx, untoldOfHands, tellMost)
		if err != nil {
			return err
		}
		batch := &pgx.Batch{}
		var notices []notice.Notice
		lists, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) ([]notice.Notice, error) { return scanUntold(row, batch) })
		if err != nil || len(lists) == 0 {
			return err
		}
		for _, list := range lists {
			notices = append(notices, list...)
		}
		if err := q.SendBatch(ctx, batch).Close(); err != nil {
			return err
		}
		more = len(lists) == tellMost
		due, err = pgnotice.Insert(ctx, q, notices...)
		return err
	})
	if err == nil && len(due) > 0 {
		s.announce(due...)
	}
	return more, err
}

// scanUntold makes the events of one incident.
func scanUntold(row pgx.CollectableRow, batch *pgx.Batch) (list []notice.Notice, err error) {
	var owner uuid.UUID
	var project *uuid.UUID
	var d incidentData
	var opened, acknowledged, resolved time.Time
	var by string
	var types []string
	err = row.Scan(&owner, &d.Incident, &project, &d.Monitor, &d.Name, &d.Manual, &d.Title, &d.Severity, &d.Detail, postgres.Instant{Time: &opened},
		postgres.Instant{Time: &acknowledged}, &by, postgres.Instant{Time: &resolved}, &types)
	if err != nil {
		return nil, err
	}
	batch.Queue(told, owner, d.Incident)
	for _, eventType := range types {
		d.At, d.AcknowledgedBy = opened, ""
		switch eventType {
		case notice.IncidentAcknowledged:
			d.At, d.AcknowledgedBy = acknowledged, by
		case notice.IncidentResolved:
			d.At = resolved
		}
		n, err := notice.New(tenant.ID(owner), eventType, d.At, d)
		if err != nil {
			return nil, err
		}
		if project != nil {
			n.Project = *project
		}
		list = append(list, n)
	}
	return list, nil
}
