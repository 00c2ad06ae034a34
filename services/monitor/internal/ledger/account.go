package ledger

import (
	"maps"
	"slices"
	"time"

	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
)

// Account is what a monitor's checks came to so far. It is brought up to date in the transaction that stores a check, so that who reads it need not
// look at checks, and what it counts stays counted when they are removed. Its JSON form is stored.
type Account struct {
	Regions  map[string]Region     `json:"regions,omitempty"`
	Failures map[check.Cause]int64 `json:"failures,omitempty"` // incidents that the checks opened
}

// Region is what those of one region came to.
type Region struct {
	Tally
	Last *Last `json:"last,omitempty"` // the newest that said something of the target
}

// Tally counts the checks of a region's slots since the monitor was made. It only grows.
type Tally struct {
	Up         int64 `json:"up,omitempty"`
	Degraded   int64 `json:"degraded,omitempty"`
	Down       int64 `json:"down,omitempty"`
	NotChecked int64 `json:"not_checked,omitempty"`
}

// Last is what is kept of a check.
type Last struct {
	Outcome   check.Outcome `json:"outcome"`
	StartedAt time.Time     `json:"started_at"`
	Duration  time.Duration `json:"duration,omitempty"` // ns
	Phases    check.Phases  `json:"phases,omitzero"`
	Status    int           `json:"status,omitempty"`
	CertEnds  time.Time     `json:"cert_ends,omitzero"`
}

// Add adds the check of a slot. Each is added once.
func (a *Account) Add(region string, r *check.Result) {
	if a.Regions == nil {
		a.Regions = map[string]Region{}
	}
	sum := a.Regions[region]
	switch r.Outcome {
	case check.Up:
		sum.Up++
	case check.Degraded:
		sum.Degraded++
	case check.Down:
		sum.Down++
	case check.NotChecked:
		sum.NotChecked++
	}
	if r.Outcome != check.NotChecked && (sum.Last == nil || sum.Last.StartedAt.Before(r.StartedAt)) {
		sum.Last = &Last{r.Outcome, r.StartedAt.UTC().Truncate(time.Microsecond), r.Duration, r.Phases, r.Status, r.CertEnds.UTC()}
	}
	a.Regions[region] = sum
}

// Fail counts an incident that opened.
func (a *Account) Fail(cause check.Cause) {
	if a.Failures == nil {
		a.Failures = map[check.Cause]int64{}
	}
	a.Failures[cause]++
}

// Keep forgets all regions but these.
func (a *Account) Keep(regions []string) {
	maps.DeleteFunc(a.Regions, func(name string, _ Region) bool { return !slices.Contains(regions, name) })
}

// Since forgets what regions said last, if that was before a time.
func (a *Account) Since(t time.Time) {
	for name, r := range a.Regions {
		if r.Last != nil && r.Last.StartedAt.Before(t) {
			r.Last = nil
			a.Regions[name] = r
		}
	}
}

// CertEnds is when the certificate ends that ends first of those that regions saw last; zero: none was seen.
func (a *Account) CertEnds() (first time.Time) {
	for _, r := range a.Regions {
		if r.Last != nil && !r.Last.CertEnds.IsZero() && (first.IsZero() || r.Last.CertEnds.Before(first)) {
			first = r.Last.CertEnds
		}
	}
	return first
}
