package ledger

import (
	"time"

	"github.com/google/uuid"

	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
)

// Sample is a monitor in numbers, as of now.
type Sample struct {
	Monitor uuid.UUID
	Name    string
	Kind    check.Kind
	Project *uuid.UUID
	Status  string
	Account         // silent regions have said nothing last
	Windows []Times // for each of SampleWindows
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
