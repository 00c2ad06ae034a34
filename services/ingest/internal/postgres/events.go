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
	err := s.db.InTenant(ctx, t, func(ctx context.Context, q postgres.Querier) error {
		rows, err := q.Query(ctx, selectEvent, t.UUID(), id)
		if err != nil {
			return err
		}
		e, err = pgx.CollectExactlyOneRow(rows, scanEvent)
		if isNoRows(err) {
			return fault.NotFound("event_not_found", "There is no event with this id.")
		}
		return err
	})
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
