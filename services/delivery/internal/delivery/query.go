package delivery

import (
	"time"

	"github.com/google/uuid"

	"github.com/beaconpost/beaconpost/pkg/fault"
)

// Query selects deliveries of a tenant for a list.
type Query struct {
	Status   Status // "": any
	Endpoint *uuid.UUID
	Event    *uuid.UUID
	After    time.Time
	Before   time.Time  // exclusive; zero: no bound
	Cursor   *uuid.UUID // start after this id
	Limit    int
}

// RetryState is what decides whether a delivery can be retried by hand.
type RetryState struct {
	Status   Status
	Planned  bool // not parked
	Due      bool
	Claimed  bool
	Disabled bool // the endpoint
	Deleted  bool // the endpoint
	Scrubbed bool // the payload
}

// MayRetry says whether the delivery must be made due (true) or is being worked on anyway (false). What cannot be retried is a fault.
func (s RetryState) MayRetry() (bool, error) {
	switch {
	case s.Deleted:
		return false, fault.Conflict("endpoint_deleted", "The endpoint of this delivery was deleted.")
	case s.Disabled:
		return false, fault.Conflict("endpoint_disabled", "The endpoint of this delivery is disabled; enable it, and its pending deliveries become due.")
	case s.Scrubbed:
		return false, fault.Conflict("payload_scrubbed", "The tenant does not keep payloads for so long; there is nothing to send.")
	case s.Status == Delivered:
		return false, fault.Conflict("delivery_ended", "The delivery was delivered already.")
	case s.Status != Pending && s.Claimed:
		return false, fault.Conflict("attempt_in_progress", "An attempt that began before the delivery was cancelled may still run; repeat the request in a minute.")
	case s.Status == Pending && (s.Claimed || s.Planned && s.Due):
		return false, nil // due or in progress: a second attempt beside it would be a duplicate
	}
	return true, nil
}
