package ledger

import (
	"time"

	"github.com/google/uuid"

	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
)

// Incident is a time that something is wrong. Zero times: not yet.
type Incident struct {
	ID             uuid.UUID
	Monitor        *uuid.UUID // nil: made by hand, about no monitor
	Project        *uuid.UUID
	Manual         bool
	Title          string
	Severity       string
	Cause          check.Cause
	Detail         string
	OpenedAt       time.Time
	AcknowledgedAt time.Time
	AcknowledgedBy string
	ResolvedAt     time.Time
}

// Note is what somebody wrote about an incident. Its id carries its time.
type Note struct {
	ID     uuid.UUID
	Author string
	Text   string
}

// Notification is a message about an incident to a channel.
type Notification struct {
	ID       uuid.UUID
	Channel  uuid.UUID
	Policy   uuid.UUID
	Kind     string
	Status   string
	Attempts int
	NextAt   time.Time // of a pending one
	SentAt   time.Time
	Error    string // of the last attempt that failed
}

// IncidentFilter narrows a list of incidents; zero fields do not.
type IncidentFilter struct {
	Monitor *uuid.UUID
	Open    *bool
	Range   // in which they opened
	Cursor  *uuid.UUID
	Limit   int
}
