package postgres

import (
	"context"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/beaconpost/beaconpost/pkg/fault"
	"github.com/beaconpost/beaconpost/pkg/postgres"
	"github.com/beaconpost/beaconpost/pkg/tenant"
	"github.com/beaconpost/beaconpost/pkg/uuid7"
	"github.com/beaconpost/beaconpost/services/ingest/internal/event"
)

// Events reads events back.
type Events struct{ db *postgres.DB }

// NewEvents makes the reader.
func NewEvents(db *postgres.DB) *Events { return &Events{db: db} }

const selectEvent = `
SELECT id, project_id, endpoint_id, event_type, payload FROM webhook_events WHERE tenant_id = $1 AND id = $2`

// Event gives one event of t.
func (s *Events) Event(ctx context.Context, t tenant.ID, id uuid.UUID) (event.Event, error) {
	var e event.Event
	err := s.db.InTenant(ctx, t, func(ctx context.Context, q postgres.Querier) (err error) {
		e, err = getEvent(ctx, q, t, id)
		return err
	})
	return e, err
}

func getEvent(ctx context.Context, q postgres.Querier, t tenant.ID, id uuid.UUID) (event.Event, error) {
	rows, err := q.Query(ctx, selectEvent, t.UUID(), id)
	if err != nil {
		return event.Event{}, err
	}
	e, err := pgx.CollectExactlyOneRow(rows, scanEvent)
	if isNoRows(err) {
		return e, fault.NotFound("event_not_found", "There is no event with this id.")
	}
	return e, err
}

// The newest first, from the key: the id is the time. A type filter is applied to what is read, there is no index for it.
const selectEvents = `
SELECT id, project_id, endpoint_id, event_type, octet_length(payload) FROM webhook_events
WHERE tenant_id = @tenant AND id >= @from AND id < @until AND (@type = '' OR event_type = @type OR starts_with(event_type, @prefix))
ORDER BY id DESC LIMIT @limit`

// List gives at most limit+1 events of t, newest first.
func (s *Events) List(ctx context.Context, t tenant.ID, query event.Query) ([]event.Summary, error) {
	var events []event.Summary
	err := s.db.InTenant(ctx, t, func(ctx context.Context, q postgres.Querier) error {
		rows, err := q.Query(ctx, selectEvents, pgx.NamedArgs{
			"tenant": t.UUID(), "from": uuid7.Floor(query.After), "until": until(query.Before, query.Cursor),
			"type": query.Type, "prefix": typePrefix(query.Type), "limit": query.Limit + 1,
		})
		if err != nil {
			return err
		}
		events, err = pgx.CollectRows(rows, pgx.RowToStructByPos[event.Summary])
		return err
	})
	return events, err
}

// typePrefix gives what order.* matches by, or a text that no type starts with.
func typePrefix(pattern string) string {
	if prefix, ok := strings.CutSuffix(pattern, "*"); ok {
		return prefix
	}
	return " "
}

// until gives the exclusive upper bound of a page: the cursor if there is one, else the time, else everything.
func until(before time.Time, cursor *uuid.UUID) uuid.UUID {
	switch {
	case cursor != nil:
		return *cursor
	case before.IsZero():
		return uuid.Max
	}
	return uuid7.Floor(before)
}

func scanEvent(row pgx.CollectableRow) (event.Event, error) {
	var e event.Event
	err := row.Scan(&e.ID, &e.ProjectID, &e.EndpointID, &e.Type, &e.Payload)
	return e, err
}

const (
	// The deliveries of an event share its millisecond: a range of the key.
	selectSent = `
SELECT id, endpoint_id, status, attempts, next_attempt_at, coalesce(claimed_until > now(), false), coalesce(cancel_reason, '')
FROM deliveries WHERE tenant_id = $1 AND id >= $2 AND id < $3 AND event_id = $4`
	selectCandidates = `
SELECT p.id, p.url, p.project_id, p.event_types, p.status, p.deleted_at IS NOT NULL, p.breaker, CASE WHEN h.state = 'open' THEN h.probe_at END
FROM endpoints p LEFT JOIN endpoint_health h ON h.tenant_id = p.tenant_id AND h.endpoint_id = p.id
WHERE p.tenant_id = $1 AND p.id < $2 AND (p.deleted_at IS NULL OR p.id = ANY ($3)) ORDER BY p.id DESC LIMIT $4`
)

// Candidates gives an event of t and at most limit+1 of the tenant's endpoints with their deliveries of it, newest first.
func (s *Events) Candidates(ctx context.Context, t tenant.ID, id uuid.UUID, cursor *uuid.UUID, limit int) (e event.Event, list []event.Candidate, err error) {
	err = s.db.InTenant(ctx, t, func(ctx context.Context, q postgres.Querier) error {
		if e, err = getEvent(ctx, q, t, id); err != nil {
			return err
		}
		rows, err := q.Query(ctx, selectSent, t.UUID(), uuid7.Floor(e.CreatedAt()), uuid7.Floor(e.CreatedAt().Add(time.Millisecond)), id)
		if err != nil {
			return err
		}
		sent, err := pgx.CollectRows(rows, scanSent)
		if err != nil {
			return err
		}
		chosen := make([]uuid.UUID, len(sent))
		for i, d := range sent {
			chosen[i] = d.EndpointID
		}
		if rows, err = q.Query(ctx, selectCandidates, t.UUID(), until(time.Time{}, cursor), chosen, limit+1); err != nil {
			return err
		}
		list, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (c event.Candidate, err error) {
			err = row.Scan(&c.ID, &c.URL, &c.ProjectID, &c.Filter, &c.Status, &c.Deleted, &c.Health.Breaker, postgres.Instant{Time: &c.Health.NextProbeAt})
			c.Sent = event.SentTo(sent, c.ID)
			return c, err
		})
		return err
	})
	return e, list, err
}

func scanSent(row pgx.CollectableRow) (d event.Sent, err error) {
	err = row.Scan(&d.ID, &d.EndpointID, &d.Status, &d.Attempts, postgres.Instant{Time: &d.NextAttemptAt}, &d.Claimed, &d.CancelReason)
	if d.Status != "pending" {
		d.NextAttemptAt = time.Time{}
	}
	return d, err
}
