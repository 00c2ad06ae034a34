package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/beaconpost/beaconpost/pkg/fault"
	"github.com/beaconpost/beaconpost/pkg/postgres"
	"github.com/beaconpost/beaconpost/pkg/stream"
	"github.com/beaconpost/beaconpost/pkg/tenant"
	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
	"github.com/beaconpost/beaconpost/services/monitor/internal/monitor"
	"github.com/beaconpost/beaconpost/services/monitor/internal/verdict"
)

// callsRegion is where the calls of heartbeats come from, as far as we know.
const callsRegion = "heartbeat"

const (
	findToken  = `SELECT tenant_id, id FROM monitors WHERE token = $1 AND deleted_at IS NULL`
	insertBeat = `
INSERT INTO monitor_checks (tenant_id, id, monitor_id, slot, started_at, duration_us, lag_us, outcome, cause, region, detail)
VALUES ($1, $2, $3, 0, $4, $5, 0, $6, nullif($7, ''), '` + callsRegion + `', nullif($8, ''))`
)

// Beat takes a call of a heartbeat's URL. note is what came with it.
func (s *Store) Beat(ctx context.Context, token string, b verdict.Beat, note string) error {
	var due []stream.DeliveryReady
	err := s.db.AsKeys(ctx, postgres.RoleMonitor, func(ctx context.Context, q postgres.Querier) error {
		key, err := findHeartbeat(ctx, q, token)
		if err != nil {
			return err
		}
		found, err := s.lock(ctx, q, []monitor.Key{key})
		if err != nil {
			return fmt.Errorf("lock state: %w", err)
		}
		j, now := found[key], time.Now()
		if j == nil || j.deleted { // while we waited for its state
			return heartbeatNotFound()
		}
		j.learn(now)
		state, effects := j.rules.Beat(j.state, b, now)
		j.take(state, effects)
		j.reports = true
		if b.Kind != verdict.BeatStart {
			outcome, cause := check.Up, check.Cause("")
			if b.Kind == verdict.BeatFail || b.Kind == verdict.BeatExit && b.ExitCode != 0 {
				outcome, cause = check.Down, check.CauseReported
			}
			if err := insertCall(ctx, q, key, outcome, cause, effects.Took, note); err != nil {
				return fmt.Errorf("store call: %w", err)
			}
			j.account.Add(callsRegion, &check.Result{Outcome: outcome, StartedAt: now})
		}
		_, due, err = s.write(ctx, q, []*judged{j}, nil, now)
		return err
	})
	if err == nil && len(due) > 0 {
		s.announce(due...)
	}
	return err
}

// Log keeps what a job says of itself. It says nothing of how it does.
func (s *Store) Log(ctx context.Context, token, note string) error {
	return s.db.AsKeys(ctx, postgres.RoleMonitor, func(ctx context.Context, q postgres.Querier) error {
		key, err := findHeartbeat(ctx, q, token)
		if err != nil {
			return err
		}
		return insertCall(ctx, q, key, check.NotChecked, "", 0, note)
	})
}

func findHeartbeat(ctx context.Context, q postgres.Querier, token string) (key monitor.Key, err error) {
	var owner uuid.UUID
	err = q.QueryRow(ctx, findToken, token).Scan(&owner, &key.ID)
	if errors.Is(err, pgx.ErrNoRows) {
		return key, heartbeatNotFound()
	}
	key.Tenant = tenant.ID(owner)
	return key, err
}

func heartbeatNotFound() error {
	return fault.NotFound("heartbeat_not_found", "There is no heartbeat at this URL.")
}

// insertCall keeps a call.
func insertCall(ctx context.Context, q postgres.Querier, key monitor.Key, outcome check.Outcome, cause check.Cause, took time.Duration, note string) error {
	id, err := uuid.NewV7()
	if err != nil {
		return err
	}
	_, err = q.Exec(ctx, insertBeat, key.Tenant.UUID(), id, key.ID, time.Now(), took.Microseconds(), string(outcome), string(cause), storable(note))
	return err
}
