// Package ledger owns what is known of monitors over time and how it is summed up: where a monitor stands, for how long it was in which status (uptime,
// error budget), how fast it answered (rollups), its incidents and windows of maintenance.
//
// It decides nothing (package verdict does) and stores nothing (package postgres does): its rules are functions of what is stored and a time.
package ledger

import (
	"time"

	"github.com/google/uuid"

	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
	"github.com/beaconpost/beaconpost/services/monitor/internal/monitor"
)

// Status is where a monitor stands.
type Status struct {
	Status     string
	Since      time.Time
	Incident   *uuid.UUID
	ReportedAt time.Time
	CertEnds   time.Time // see Account
}

// Watched is a monitor with where it stands.
type Watched struct {
	monitor.Monitor
	Status
	Locked bool // its secrets cannot be opened, and are not in Spec
}

// Filter narrows a list of monitors; zero fields do not.
type Filter struct {
	Name    string
	Kind    string
	Status  string
	Tag     string
	Project *uuid.UUID
	Cursor  *uuid.UUID
	Limit   int
}

// Range is a time: From ≤ t < To.
type Range struct{ From, To time.Time }

// Check is a check that was made, or a call of a heartbeat's URL. CertEnds is not kept.
type Check struct {
	ID           uuid.UUID // carries the slot's time
	Monitor      uuid.UUID
	Region       string
	Slot         int64
	Confirmation int
	Lag          time.Duration
	check.Result
}

// CheckFilter narrows a list of a monitor's checks; zero fields do not.
type CheckFilter struct {
	Outcome string
	Region  string
	Range   // of the slots
	Cursor  *uuid.UUID
	Limit   int
}

// Interval is a time that a monitor was in a status.
type Interval struct {
	Status string
	Cause  check.Cause
	Start  time.Time
	End    time.Time // zero: it is the present one
}

// IntervalFilter narrows a list of a monitor's intervals to those that reach into a range.
type IntervalFilter struct {
	Range
	Before time.Time // start earlier than this; zero: any
	Limit  int
}

// What a tenant may have: each of them is asked about every incident, or about every check.
const (
	WindowsMost  = 100
	PoliciesMost = 100
	ChannelsMost = 200
	ByHandMost   = 1000 // incidents that are open
)
