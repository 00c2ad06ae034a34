package endpoint

import (
	"time"

	"github.com/beaconpost/beaconpost/pkg/histogram"
)

// Hour is what became of an endpoint's attempts and deliveries in an hour.
type Hour struct {
	Begin                time.Time
	Succeeded, Failed    int64 // attempts
	Delivered, Exhausted int64 // deliveries
	Attempts, Latencies  histogram.Counts
}

// Add adds another hour's counts.
func (h *Hour) Add(other *Hour) {
	h.Succeeded, h.Failed = h.Succeeded+other.Succeeded, h.Failed+other.Failed
	h.Delivered, h.Exhausted = h.Delivered+other.Delivered, h.Exhausted+other.Exhausted
	h.Attempts.Merge(other.Attempts[:])
	h.Latencies.Merge(other.Latencies[:])
}
