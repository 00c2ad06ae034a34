// Package verdict owns what results mean for a monitor: its status, its incidents, and what the tenant is told. It makes no check, keeps nothing and
// waits for nothing: every rule is a pure function of a record (State), what happened, and the time. The record is stored whole, under a lock, in one
// transaction with what follows from it (Effects).
//
// The verdict is what the checks say:
//
//	           good                       not up in most
//	unknown ───────────▶ up ───────────────────────────────▶ degraded
//	 ▲ │ │               │ ▲ ◀───────── up in half ────────── ▲ │ ▲
//	 │ │ └── not up in ──│─│──────────────────────────────────┘ │ │
//	 │ │     most        │ │                                    │ │
//	 │ │    down in most ▼ │ up in half, and Hold               │ │
//	 │ └───────────────▶ down ◀────────── down in most ─────────┘ │
//	 │                     └───── not down in half, and Hold ─────┘
//	 │
//	 └── fewer than half of the regions report, from any state
//
// Most is a strict majority of the regions that report. Hold is for monitors that flap: an incident adds one to a score that halves in an hour; from 3
// on, until it is below 1, a recovery takes Hold without a failure of a region that had recovered.
//
// The status is what is shown: the verdict, or maintenance while a window is open, or paused. Checks go on and the verdict moves during maintenance,
// but no incident opens:
//
//	verdict shown ── a window begins ──▶ maintenance ── it ends ──▶ verdict shown; down opens an incident now
//	any           ── Paused ───────────▶ paused      ── not any more ──▶ unknown, regions start anew
//
// A region's verdict takes FailureThreshold consecutive results to get worse and RecoveryThreshold to get better. A region that has not spoken before,
// or was silent for too long, is up with its first good result, unless an incident is open. A monitor is down if a strict majority of the regions that
// report is down; degraded if a strict majority is not up. Regions that have not made up their mind hold it where it is.
//
// Flips are dated back to the first slot of the streaks that decide: that of the region which completed the majority (see flipped). What time alone
// changes is dated when it was due. No date is before the start of the status that it ends, so that the ledger is gapless; starts are at least a
// microsecond apart, because they are its key.
//
// An incident opens when down is shown and none is open. Only a verdict of up or degraded resolves it (it answers again, if slowly), or the monitor's
// end. Unknown, pauses, windows and edits do not.
//
// Heartbeats (Beat) have no regions: a call says up or down at once, and a call that is missing says down.
package verdict

import (
	"time"

	"github.com/google/uuid"

	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
)

// Status is how a monitor is.
type Status string

// The statuses. A verdict is one of the first four.
const (
	Up          Status = "up"
	Degraded    Status = "degraded"
	Down        Status = "down"
	Unknown     Status = "unknown" // not checked, or not from enough regions
	Maintenance Status = "maintenance"
	Paused      Status = "paused"
)

// The events that a tenant is told.
const (
	MonitorDown         = "monitor.down"     // an incident opens
	MonitorDegraded     = "monitor.degraded" // after up or down
	MonitorUp           = "monitor.up"       // after degraded or down
	CertificateExpiring = "monitor.certificate_expiring"
	HeartbeatMissed     = "heartbeat.missed" // an incident opens because of it
	IncidentOpened      = "incident.opened"
	IncidentResolved    = "incident.resolved"
)

// State is what follows from everything that a monitor's checks showed so far. Start from Begin. Times are in UTC and whole microseconds.
type State struct {
	Status  Status    `json:"status,omitempty"`
	Since   time.Time `json:"since,omitzero"`
	Version int64     `json:"version,omitempty"` // grows with every change of Status

	Verdict Status      `json:"verdict,omitempty"` // Status, unless that is maintenance or paused
	Cause   check.Cause `json:"cause,omitempty"`   // of the verdict, if it is down or degraded
	Detail  string      `json:"detail,omitempty"`

	Regions map[string]Region `json:"regions,omitempty"` // those that have said something
	Heart   Heart             `json:"heart,omitzero"`    // of a heartbeat

	Incident   uuid.UUID `json:"incident,omitzero"` // the open one
	IncidentAt time.Time `json:"incident_at,omitzero"`
	Told       Status    `json:"told,omitempty"` // the last verdict that the tenant knows of; down exactly while an incident is open

	Flaps    float64   `json:"flaps,omitempty"` // at FlapsAt: incidents that opened, each worth half after an hour
	FlapsAt  time.Time `json:"flaps_at,omitzero"`
	Flapping bool      `json:"flapping,omitempty"`
	HoldFrom time.Time `json:"hold_from,omitzero"` // it is down, and would have recovered then if it were not flapping

	CertWarned time.Time `json:"cert_warned,omitzero"` // the latest end of a certificate that was warned of
	AskedSlot  int64     `json:"asked_slot,omitempty"` // in which all regions were asked for confirmation
}

// Begin gives the state of a new monitor.
func Begin(at time.Time) State {
	return State{Status: Unknown, Since: moment(at), Verdict: Unknown}
}

// Report is one result of one region.
type Report struct {
	Region       string
	Slot         check.Slot // numbers are positive
	Confirmation int        // 0: the slot's own check; else the number that was asked for
	Outcome      check.Outcome
	Cause        check.Cause
	Detail       string
	CertEnds     time.Time
}

// Effects are what has to be done along with storing the state, in their order.
type Effects struct {
	Changes   []Change
	Incidents []Incident
	Events    []Event
	Ask       []Ask

	// Of a Report, for the slots of its region: Checked is 1 if it is the result of the next slot, Missed those that were skipped right before it. A
	// result of a slot that was counted missed is Late 1 and Missed -1. Together they are the slots that passed, once and only once.
	Checked, Missed, Late int

	Took time.Duration // of a Beat that ends a job: since its start
}

// Change is the end of a status and the start of the next at the same time. From is "" for a first one, To is "" when the monitor is deleted.
type Change struct {
	From, To Status
	At       time.Time
	Cause    check.Cause // of To
	Detail   string
}

// Incident is one that opens or is resolved.
type Incident struct {
	ID       uuid.UUID // of a UUIDv7 in the millisecond of its opening, the same if the same is computed again
	Resolved bool
	At       time.Time
	Cause    check.Cause // of one that opens
	Detail   string
}

// Event is something that the tenant is told.
type Event struct {
	Type     string
	At       time.Time
	Incident uuid.UUID // of an incident's events and of monitor.down
	Cause    check.Cause
	Detail   string
	CertEnds time.Time // of monitor.certificate_expiring
}

// Ask is an extra check that is wanted of a slot.
type Ask struct {
	Region       string
	Slot         check.Slot
	Confirmation int // from 1
	After        time.Duration
}

// moment gives t as it is stored.
func moment(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earliest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
