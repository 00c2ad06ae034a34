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
	"github.com/beaconpost/beaconpost/pkg/tenant"
	"github.com/beaconpost/beaconpost/services/monitor/internal/ledger"
)

const (
	insertWindow = `INSERT INTO maintenance_windows (tenant_id, id, name, monitors, tags, spec) VALUES ($1, $2, $3, $4, $5, $6)`
	countWindows = `SELECT count(*) FROM maintenance_windows WHERE tenant_id = $1`
	updateWindow = `UPDATE maintenance_windows SET name = $3, monitors = $4, tags = $5, spec = $6 WHERE tenant_id = $1 AND id = $2`
)

// CreateWindow stores a new window of maintenance.
func (s *Tenancy) CreateWindow(ctx context.Context, t tenant.ID, w ledger.Window) error {
	return s.db.InTenant(ctx, t, func(ctx context.Context, q postgres.Querier) error {
		if err := checkRoom(ctx, q, countWindows, t, ledger.WindowsMost, "too_many_maintenance_windows"); err != nil {
			return err
		}
		if err := putWindow(ctx, q, t, w, insertWindow); err != nil {
			return err
		}
		return wakeCovered(ctx, q, t, w)
	})
}

// ReplaceWindow stores a window in place of the one with its id.
func (s *Tenancy) ReplaceWindow(ctx context.Context, t tenant.ID, w ledger.Window) error {
	return s.db.InTenant(ctx, t, func(ctx context.Context, q postgres.Querier) error {
		was, err := getWindow(ctx, q, lockWindow, t, w.ID)
		if err != nil {
			return err
		}
		if err := putWindow(ctx, q, t, w, updateWindow); err != nil {
			return err
		}
		return wakeCovered(ctx, q, t, was, w)
	})
}

func putWindow(ctx context.Context, q postgres.Querier, t tenant.ID, w ledger.Window, query string) error {
	spec, err := json.Marshal(w.When)
	if err != nil {
		return err
	}
	if err := checkMonitors(ctx, q, t, w.Monitors, "monitors"); err != nil {
		return err
	}
	_, err = q.Exec(ctx, query, t.UUID(), w.ID, w.Name, orEmpty(w.Monitors), orEmpty(w.Tags), string(spec))
	return unknownTenant(err)
}

func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// In the order of keys, as everybody locks states.
const lookCovered = `
WITH covered AS (
    SELECT s.monitor_id FROM monitor_states s JOIN monitors m ON m.tenant_id = s.tenant_id AND m.id = s.monitor_id
    WHERE s.tenant_id = $1 AND m.deleted_at IS NULL AND (cardinality($2::uuid[]) + cardinality($3::text[]) = 0 OR m.id = ANY ($2) OR m.tags && $3)
    ORDER BY s.monitor_id FOR UPDATE OF s
)
UPDATE monitor_states s SET look_at = now() FROM covered c WHERE s.tenant_id = $1 AND s.monitor_id = c.monitor_id`

// wakeCovered has the rules look at the monitors of windows that changed: all at once, or their order would not be one.
func wakeCovered(ctx context.Context, q postgres.Querier, t tenant.ID, windows ...ledger.Window) error {
	monitors, tags := []uuid.UUID{}, []string{}
	for _, w := range windows {
		if len(w.Monitors)+len(w.Tags) == 0 {
			monitors, tags = []uuid.UUID{}, []string{} // it is for all
			break
		}
		monitors, tags = append(monitors, w.Monitors...), append(tags, w.Tags...)
	}
	_, err := q.Exec(ctx, lookCovered, t.UUID(), monitors, tags)
	return err
}

const windowColumns = `SELECT id, name, monitors, tags, spec FROM maintenance_windows WHERE tenant_id = $1 `

func scanWindow(row pgx.CollectableRow) (w ledger.Window, err error) {
	var spec []byte
	if err := row.Scan(&w.ID, &w.Name, &w.Monitors, &w.Tags, &spec); err != nil {
		return w, err
	}
	if err := json.Unmarshal(spec, &w.When); err != nil {
		return w, fmt.Errorf("read maintenance window %s: %w", w.ID, err)
	}
	return w, nil
}

const listWindows = windowColumns + `AND ($2::uuid IS NULL OR id < $2) ORDER BY id DESC LIMIT $3`

// Windows gives at most limit+1 windows of t, newest first.
func (s *Tenancy) Windows(ctx context.Context, t tenant.ID, cursor *uuid.UUID, limit int) ([]ledger.Window, error) {
	return listOf(ctx, s, t, scanWindow, listWindows, cursor, limit)
}

const (
	selectWindow = windowColumns + `AND id = $2`
	lockWindow   = selectWindow + ` FOR UPDATE`
)

// Window gives one window of t.
func (s *Tenancy) Window(ctx context.Context, t tenant.ID, id uuid.UUID) (ledger.Window, error) {
	return oneOf(ctx, s, t, scanWindow, selectWindow, id, windowNotFound())
}

func getWindow(ctx context.Context, q postgres.Querier, query string, t tenant.ID, id uuid.UUID) (w ledger.Window, err error) {
	rows, err := q.Query(ctx, query, t.UUID(), id)
	if err != nil {
		return w, err
	}
	w, err = pgx.CollectExactlyOneRow(rows, scanWindow)
	if errors.Is(err, pgx.ErrNoRows) {
		return w, windowNotFound()
	}
	return w, err
}

func windowNotFound() error {
	return fault.NotFound("maintenance_window_not_found", "There is no maintenance window with this id.")
}

const deleteWindow = `DELETE FROM maintenance_windows WHERE tenant_id = $1 AND id = $2`

// DeleteWindow removes a window; maintenance that is under way by it ends.
func (s *Tenancy) DeleteWindow(ctx context.Context, t tenant.ID, id uuid.UUID) error {
	return s.db.InTenant(ctx, t, func(ctx context.Context, q postgres.Querier) error {
		was, err := getWindow(ctx, q, lockWindow, t, id)
		if err != nil {
			return err
		}
		if _, err := q.Exec(ctx, deleteWindow, t.UUID(), id); err != nil {
			return err
		}
		return wakeCovered(ctx, q, t, was)
	})
}
