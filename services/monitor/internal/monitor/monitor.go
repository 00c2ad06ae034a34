// Package monitor owns how monitors are watched: what a monitor is, when a check of it is due and may still be made, how many are made at the same time, and
// what becomes of their results.
//
//	broker ─ Due ─▶ Engine: load (many at once) ─▶ the slot's moment ─▶ Prober.Check ─▶ our own fault? ─▶ Store.Record (many at once) ─▶ confirmations, alerts
//
// What a result means is package verdict's; what a check is, package check's. A check that is due is a chance, not a duty: it is acknowledged when it is
// taken, so it is never made twice, and what comes too late is left out and counted as missed.
package monitor

import (
	"container/list"
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/beaconpost/beaconpost/pkg/tenant"
	"github.com/beaconpost/beaconpost/services/monitor/internal/calendar"
	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
)

// Key names a monitor.
type Key struct {
	Tenant tenant.ID
	ID     uuid.UUID
}

// Monitor is something that is checked on a schedule.
type Monitor struct {
	Key
	ProjectID         *uuid.UUID
	Name              string
	Spec              check.Spec
	Interval          time.Duration
	Timeout           time.Duration // of one check, below Interval
	Degraded          time.Duration // an answer that takes longer is degraded; 0: none does
	FailureThreshold  int           // failing checks in a row that make it down
	RecoveryThreshold int           // good ones in a row that make it up again
	Confirm           bool          // a first failure is checked again at once
	Paused            bool
	Regions           []string // at least one
	Tags              []string
	SLOTarget         float64 // share of time that it is to be up, such as 0.999; 0: none
	Token             string  // of a heartbeat's URL
	Version           int64   // grows with every change
	CreatedAt         time.Time
	UpdatedAt         time.Time
}

// Schedule is when its slots are.
func (m *Monitor) Schedule() calendar.Schedule {
	return calendar.ScheduleOf(m.ID, m.Interval)
}

// Defaults of what a monitor leaves open.
const (
	DefaultInterval          = 30 * time.Second
	DefaultTimeout           = 10 * time.Second
	DefaultFailureThreshold  = 3
	DefaultRecoveryThreshold = 2
)

// Due is a check that is to be made.
type Due struct {
	Key
	FiredAt time.Time // by the broker's clock
	// Confirmation counts the checks of a slot after its own. Slot is set for these only.
	Confirmation int
	Slot         int64
	At           time.Time // not before this; zero: now. For confirmations that are asked for.
	Region       string
}

// Finding is a result with what it is of.
type Finding struct {
	Monitor      *Monitor
	Region       string
	Slot         int64
	Confirmation int
	Lag          time.Duration // from the slot's moment to the start; of a confirmation 0
	check.Result

	waits *list.Element // in the engine's buffer
}

// ID is the same for whoever makes this check and however often.
func (f *Finding) ID() uuid.UUID {
	return f.Monitor.Schedule().ID(f.Monitor.ID, f.Region, f.Slot, f.Confirmation)
}

// Store keeps monitors and what was found. It is safe for concurrent use.
type Store interface {
	// Load gives those monitors that are to be checked: neither paused nor deleted.
	Load(ctx context.Context, keys []Key) (map[Key]*Monitor, error)
	// Record commits findings and all that follows from them together, and says what of it goes on elsewhere. What was recorded before changes nothing.
	Record(ctx context.Context, findings []*Finding) (Consequences, error)
	// Temporary says whether repeating may help.
	Temporary(err error) bool
}

// Consequences are what follows from what was recorded, beside what is stored.
type Consequences struct {
	Confirm []Due        // checks that are wanted now
	Moved   []Transition // statuses that changed
}

// Transition is a change of a monitor's status.
type Transition struct{ From, To string }

// Prober makes checks. Every check ends within its timeout.
type Prober interface {
	Check(ctx context.Context, job *check.Job) check.Result
}

// Egress says whether this prober reaches anything at all.
type Egress interface {
	// Up says whether it does now, and as far as is known did all the time since. It may take a few seconds to find out.
	Up(ctx context.Context, since time.Time) bool
}

// Broker carries confirmations. What it loses is not asked again: the next slot comes.
type Broker interface {
	Confirm(due Due)
}

// Observer is told what happens, for metrics and logs. It is called concurrently.
type Observer interface {
	Checked(f *Finding)
	Skipped(d Due, why string) // late, or there was no room
	Recorded(findings int, what Consequences)
	Batch(doing string, items int, took time.Duration) // monitors that were loaded, or findings that were recorded, together
	Trouble(doing string, err error)
}
