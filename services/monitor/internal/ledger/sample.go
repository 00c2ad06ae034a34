package ledger

import (
	"time"

	"github.com/google/uuid"

	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
)

// Sample is a monitor in numbers, as of now.
type Sample struct {
	Monitor  uuid.UUID
	Name     string
	Kind     check.Kind
	Project  *uuid.UUID
	Status   string
	Last     []Check // by region: the newest that says something of the target, unless the region is silent
	Tallies  []Tally // by region
	Failures map[check.Cause]int64
	Windows  []Times // for each of SampleWindows
}

// Tally counts the checks of a region's slots since the monitor was made. It only grows.
type Tally struct {
	Region                         string
	Up, Degraded, Down, NotChecked int64
}

// SampleWindow is a time that ends now and is summed up in samples.
type SampleWindow struct {
	Name   string
	Length time.Duration
}

// SampleWindows lists them, shortest first.
func SampleWindows() []SampleWindow {
	const day = 24 * time.Hour
	return []SampleWindow{{"1d", day}, {"7d", 7 * day}, {"30d", 30 * day}}
}

// SampleFilter narrows samples; zero fields do not.
type SampleFilter struct {
	Tag     string
	Project *uuid.UUID
	Limit   int
}
