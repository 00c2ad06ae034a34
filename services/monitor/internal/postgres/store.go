// Package postgres stores monitors, what was found of them and what follows from it.
//
// Background statements run across tenants as beaconpost_monitor; what a tenant asks for runs as beaconpost_api.
package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/jackc/pgx/v5"
	"github.com/rs/zerolog"

	"github.com/beaconpost/beaconpost/pkg/postgres"
	"github.com/beaconpost/beaconpost/pkg/secretbox"
	"github.com/beaconpost/beaconpost/pkg/stream"
	"github.com/beaconpost/beaconpost/pkg/tenant"
	"github.com/beaconpost/beaconpost/services/monitor/internal/calendar"
	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
	"github.com/beaconpost/beaconpost/services/monitor/internal/monitor"
)

var _ monitor.Store = (*Store)(nil)

// Store is the database of the engine and of everything that goes on without being asked. It is safe for concurrent use.
type Store struct {
	db   *postgres.DB
	ring *secretbox.Keyring
	// announce tells the broker of deliveries that were stored, without waiting. What it loses delivery's reconciler finds.
	announce func(due ...stream.DeliveryReady)
	log      zerolog.Logger
	windows  *lru.Cache[spanKey, []calendar.Interval]

	// Since when this process could take heartbeats' calls, as far as it knows, in Unix nanoseconds: a call that nobody could take was not missed.
	available atomic.Int64
	lost      atomic.Bool // the database did not answer when it was asked last
}

// NewStore makes a Store; ring opens the secrets of specs.
func NewStore(db *postgres.DB, ring *secretbox.Keyring, announce func(due ...stream.DeliveryReady), log zerolog.Logger) (*Store, error) {
	windows, err := lru.New[spanKey, []calendar.Interval](windowsKept)
	if err != nil {
		return nil, err
	}
	s := &Store{db: db, ring: ring, announce: announce, log: log, windows: windows}
	s.available.Store(time.Now().UnixNano())
	return s, nil
}

// Temporary implements monitor.Store.
func (s *Store) Temporary(err error) bool { return postgres.IsUnavailable(err) }

const monitorColumns = `m.tenant_id, m.id, m.project_id, m.name, m.spec, m.sealed_key_id, m.sealed, m.interval_ms, m.timeout_ms, coalesce(m.degraded_ms, 0),
    m.failure_threshold, m.recovery_threshold, m.confirm, m.paused, m.regions, m.tags, coalesce(m.slo_target, 0), coalesce(m.token, ''), m.version, m.created_at, m.updated_at`

// row is a monitor as it is stored.
type row struct {
	monitor.Monitor
	owner                       uuid.UUID
	spec                        []byte
	keyID                       *string
	sealed                      []byte
	interval, timeout, degraded int64
}

func (r *row) into() []any {
	m := &r.Monitor
	return []any{
		&r.owner, &m.ID, &m.ProjectID, &m.Name, &r.spec, &r.keyID, &r.sealed, &r.interval, &r.timeout, &r.degraded,
		&m.FailureThreshold, &m.RecoveryThreshold, &m.Confirm, &m.Paused, &m.Regions, &m.Tags, &m.SLOTarget, &m.Token, &m.Version, &m.CreatedAt, &m.UpdatedAt,
	}
}

// lockedError says that secrets cannot be opened: the ring has lost their key, or they are another's.
type lockedError struct{ err error }

func (e *lockedError) Error() string { return e.err.Error() }
func (e *lockedError) Unwrap() error { return e.err }

// monitor gives what was scanned, with its secrets; with a lockedError, without.
func (r *row) monitor(ring *secretbox.Keyring) (*monitor.Monitor, error) {
	m := &r.Monitor
	m.Tenant = tenant.ID(r.owner)
	m.Interval, m.Timeout, m.Degraded = millis(r.interval), millis(r.timeout), millis(r.degraded)
	if err := json.Unmarshal(r.spec, &m.Spec); err != nil {
		return nil, fmt.Errorf("read spec of monitor %s: %w", m.ID, err)
	}
	if r.keyID == nil {
		return m, nil
	}
	plain, err := ring.Open(*r.keyID, r.sealed, postgres.SecretAAD(m.Tenant, m.ID, m.ID))
	if err != nil {
		return m, &lockedError{fmt.Errorf("open secrets of monitor %s: %w", m.ID, err)}
	}
	var secrets check.Secrets
	if err := json.Unmarshal(plain, &secrets); err != nil {
		return m, &lockedError{fmt.Errorf("read secrets of monitor %s: %w", m.ID, err)}
	}
	m.Spec.Join(secrets)
	return m, nil
}

func millis(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

const loadMonitors = `SELECT ` + monitorColumns + ` FROM unnest($1::uuid[], $2::uuid[]) AS k (tenant_id, id)
CROSS JOIN LATERAL (SELECT * FROM monitors m WHERE m.tenant_id = k.tenant_id AND m.id = k.id AND NOT m.paused AND m.deleted_at IS NULL OFFSET 0) m`

// Load implements monitor.Store.
func (s *Store) Load(ctx context.Context, keys []monitor.Key) (map[monitor.Key]*monitor.Monitor, error) {
	found := make(map[monitor.Key]*monitor.Monitor, len(keys))
	p := &postgres.Pipeline{}
	p.RoleForKeys(postgres.RoleMonitor)
	p.Queue(loadMonitors, func(rows pgx.Rows) error {
		for rows.Next() {
			r := &row{}
			if err := rows.Scan(r.into()...); err != nil {
				return err
			}
			m, err := r.monitor(s.ring)
			if err != nil { // one monitor's trouble, and ours: it is not checked, the others are
				s.log.Error().Err(err).Msg("a monitor cannot be read; it is not checked")
				continue
			}
			found[m.Key] = m
		}
		return rows.Err()
	}, postgres.UUIDs(len(keys), func(i int) uuid.UUID { return keys[i].Tenant.UUID() }), postgres.UUIDs(len(keys), func(i int) uuid.UUID { return keys[i].ID }))
	return found, s.db.Run(ctx, p)
}

// Monitor gives one that is neither paused nor deleted; nil if there is none.
func (s *Store) Monitor(ctx context.Context, key monitor.Key) (*monitor.Monitor, error) {
	found, err := s.Load(ctx, []monitor.Key{key})
	return found[key], err
}

// Planned is what a schedule at the broker is made of.
type Planned struct {
	monitor.Key
	Interval time.Duration
	Regions  []string
	Version  int64
	Gone     bool
}

const (
	plannedColumns  = `tenant_id, id, interval_ms, regions, version, paused OR deleted_at IS NOT NULL OR kind = 'heartbeat'`
	changedMonitors = `SELECT ` + plannedColumns + `, now() FROM monitors WHERE updated_at >= $1 ORDER BY updated_at LIMIT $2`
	allMonitors     = `SELECT ` + plannedColumns + ` FROM monitors WHERE NOT paused AND deleted_at IS NULL AND kind <> 'heartbeat'`
)

// Changed gives monitors that changed at or after since, at most limit, with the time up to which they were looked at.
func (s *Store) Changed(ctx context.Context, since time.Time, limit int) (changes []Planned, until time.Time, err error) {
	until = since
	err = s.db.As(ctx, postgres.RoleMonitor, func(ctx context.Context, q postgres.Querier) error {
		if err := q.QueryRow(ctx, `SELECT now()`).Scan(&until); err != nil {
			return err
		}
		rows, err := q.Query(ctx, changedMonitors, since, limit)
		if err != nil {
			return err
		}
		changes, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (Planned, error) { return scanPlanned(row, &until) })
		return err
	})
	return changes, until, err
}

func scanPlanned(row pgx.CollectableRow, more ...any) (p Planned, err error) {
	var owner uuid.UUID
	var interval int64
	err = row.Scan(append([]any{&owner, &p.ID, &interval, &p.Regions, &p.Version, &p.Gone}, more...)...)
	p.Tenant, p.Interval = tenant.ID(owner), millis(interval)
	return p, err
}

// All gives every monitor that has to have a schedule.
func (s *Store) All(ctx context.Context, each func(Planned)) error {
	return s.db.As(ctx, postgres.RoleMonitor, func(ctx context.Context, q postgres.Querier) error {
		rows, err := q.Query(ctx, allMonitors)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			p, err := scanPlanned(rows)
			if err != nil {
				return err
			}
			each(p)
		}
		return rows.Err()
	})
}
