package postgres

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/beaconpost/beaconpost/pkg/postgres"
	"github.com/beaconpost/beaconpost/pkg/tenant"
	"github.com/beaconpost/beaconpost/services/monitor/internal/calendar"
	"github.com/beaconpost/beaconpost/services/monitor/internal/verdict"
)

// The windows of tenants, most of which have none.
const selectWindows = `SELECT tenant_id, monitors, tags, spec FROM maintenance_windows WHERE tenant_id = ANY ($1)`

const (
	windowsBack  = 36 * time.Hour      // what began since a monitor was looked at last
	windowsAhead = 45 * 24 * time.Hour // the next one of most rules; what begins later is seen when it comes nearer
	windowsNext  = 50                  // spans ahead of each window that are known: more than are over when others are
	windowsSteps = 3600                // occurrences that are gone through: of every minute, those back and a day ahead
	windowsKept  = 10000               // windows whose spans are remembered
	windowsEvery = time.Hour           // for so long: going through a rule takes up to milliseconds
)

// window is one that a tenant defined.
type window struct {
	monitors []uuid.UUID
	tags     []string
	when     []calendar.Interval
}

// covers says whether a window is for a monitor: named, or by a tag, or for all.
func (w *window) covers(j *judged) bool {
	return len(w.monitors) == 0 && len(w.tags) == 0 || slices.Contains(w.monitors, j.ID) ||
		slices.ContainsFunc(w.tags, func(tag string) bool { return slices.Contains(j.tags, tag) })
}

// addWindows gives the rules of monitors the times of maintenance that matter now.
func (s *Store) addWindows(ctx context.Context, q postgres.Querier, all []*judged) error {
	var owners []uuid.UUID
	for _, j := range all {
		if owner := j.Tenant.UUID(); !slices.Contains(owners, owner) {
			owners = append(owners, owner)
		}
	}
	rows, err := q.Query(ctx, selectWindows, owners)
	if err != nil {
		return err
	}
	now, of := time.Now(), map[tenant.ID][]window{}
	_, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (struct{}, error) {
		var owner uuid.UUID
		var w window
		var spec []byte
		if err := row.Scan(&owner, &w.monitors, &w.tags, &spec); err != nil {
			return struct{}{}, err
		}
		var when calendar.Window
		if err := json.Unmarshal(spec, &when); err != nil {
			return struct{}{}, err
		}
		w.when = s.spans(when, string(spec), now)
		of[tenant.ID(owner)] = append(of[tenant.ID(owner)], w)
		return struct{}{}, nil
	})
	if err != nil {
		return err
	}
	for _, j := range all {
		for _, w := range of[j.Tenant] {
			if !w.covers(j) {
				continue
			}
			for _, i := range w.when {
				if i.To.After(j.state.Since) { // what was before is settled
					j.rules.Maintenance = append(j.rules.Maintenance, verdict.Window{From: i.From, To: i.To})
				}
			}
		}
	}
	return nil
}

// spanKey names spans that were worked out: of a window as it is defined, in an hour.
type spanKey struct {
	spec string
	hour int64
}

// spans gives the times of a window from a while ago on, those that overlap or follow at once joined.
func (s *Store) spans(w calendar.Window, spec string, now time.Time) []calendar.Interval {
	key := spanKey{spec, now.Unix() / int64(windowsEvery.Seconds())}
	if known, ok := s.windows.Get(key); ok {
		return known
	}
	from, ahead, steps := now.Truncate(windowsEvery).Add(-windowsBack), 0, 0
	var joined []calendar.Interval
	for i := range w.All(from, now.Add(windowsAhead)) {
		if steps++; steps > windowsSteps {
			break
		}
		if n := len(joined); n > 0 && !i.From.After(joined[n-1].To) {
			if i.To.After(joined[n-1].To) {
				joined[n-1].To = i.To
			}
			continue
		}
		if i.From.After(now) {
			if ahead++; ahead > windowsNext {
				break
			}
		}
		joined = append(joined, i)
	}
	s.windows.Add(key, joined)
	return joined
}
