package ledger

import (
	"github.com/google/uuid"

	"github.com/beaconpost/beaconpost/services/monitor/internal/calendar"
)

// Window is a time of maintenance of some monitors: those that are named and those that have one of the tags. Empty chooses all.
type Window struct {
	ID       uuid.UUID
	Name     string
	Monitors []uuid.UUID
	Tags     []string
	When     calendar.Window
}
