package event

import (
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/beaconpost/beaconpost/pkg/notice"
	"github.com/beaconpost/beaconpost/pkg/uuid7"
	"github.com/beaconpost/beaconpost/services/ingest/internal/endpoint"
)

// Sent is the delivery of an event to an endpoint, as far as explaining needs it.
type Sent struct {
	ID            uuid.UUID
	EndpointID    uuid.UUID
	Status        string
	Attempts      int
	NextAttemptAt time.Time // zero: none is planned
	Claimed       bool      // an attempt is being made
	CancelReason  string
}

// Candidate is an endpoint of the event's tenant, with its delivery of the event if there is one.
type Candidate struct {
	endpoint.Endpoint
	Deleted bool
	Sent    *Sent
}

// Explanation says why an endpoint gets an event, or does not, and what its delivery waits for.
type Explanation struct {
	Matched bool
	Why     Why
	Waiting Waiting // "": for nothing
	Until   time.Time
}

// Why an endpoint was chosen or not.
type Why string

// The reasons, the first five for an endpoint that was not chosen.
const (
	AnotherNamed  Why = "another_endpoint_named"
	CreatedLater  Why = "endpoint_created_later"
	OtherProject  Why = "other_project"
	TypeFiltered  Why = "event_type_not_wanted"
	ChangedSince  Why = "not_wanted_then" // it would be chosen now: its filter or project has changed
	Named         Why = "named"
	TypeMatches   Why = "event_type_wanted"
	TypeWantedNot Why = "wanted_then" // it would not be chosen now
	ByBeaconpost  Why = "operational" // Beaconpost made the event; its rules of subscription are others
)

// Waiting is what a pending delivery waits for.
type Waiting string

// What it may be.
const (
	ForEnabling Waiting = "endpoint_disabled"
	ForProbe    Waiting = "breaker_open"
	ForDrain    Waiting = "draining" // its turn among what was parked
	ForWorker   Waiting = "attempt_due"
	ForAnswer   Waiting = "attempt_in_progress"
	ForRetry    Waiting = "retry_planned"
)

// Explain says about c what there is to say at a time.
func (e Event) Explain(c Candidate, now time.Time) Explanation {
	var x Explanation
	wanted := inProject(c.ProjectID, e.ProjectID) && c.Filter.Matches(e.Type)
	if c.Sent == nil {
		x.Why = e.whyNot(c, wanted)
		return x
	}
	x.Matched = true
	switch {
	case notice.Reserved(e.Type):
		x.Why = ByBeaconpost
	case e.EndpointID != nil:
		x.Why = Named
	case wanted:
		x.Why = TypeMatches
	default:
		x.Why = TypeWantedNot
	}
	if c.Sent.Status == "pending" {
		x.Waiting, x.Until = c.waiting(now)
	}
	return x
}

func (e Event) whyNot(c Candidate, wanted bool) Why {
	switch {
	case notice.Reserved(e.Type):
		return ByBeaconpost
	case e.EndpointID != nil:
		return AnotherNamed
	case uuid7.Time(c.ID).After(e.CreatedAt()):
		return CreatedLater
	case !inProject(c.ProjectID, e.ProjectID):
		return OtherProject
	case !wanted:
		return TypeFiltered
	}
	return ChangedSince
}

func (c Candidate) waiting(now time.Time) (Waiting, time.Time) {
	switch {
	case c.Sent.Claimed:
		return ForAnswer, time.Time{}
	case c.Status == endpoint.Disabled:
		return ForEnabling, time.Time{}
	case c.Health.Breaker == "open":
		return ForProbe, c.Health.NextProbeAt
	case c.Sent.NextAttemptAt.IsZero(): // parked
		return ForDrain, time.Time{}
	case c.Sent.NextAttemptAt.After(now):
		return ForRetry, c.Sent.NextAttemptAt
	}
	return ForWorker, time.Time{}
}

// SentTo gives the delivery to an endpoint, nil if there is none.
func SentTo(list []Sent, id uuid.UUID) *Sent {
	if i := slices.IndexFunc(list, func(s Sent) bool { return s.EndpointID == id }); i >= 0 {
		return &list[i]
	}
	return nil
}
