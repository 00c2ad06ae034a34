package account

import (
	"strconv"
	"time"

	"github.com/beaconpost/beaconpost/pkg/fault"
	"github.com/beaconpost/beaconpost/pkg/tenant"
)

// Usage is how much of what a tenant used.
type Usage struct {
	Events, EventBytes, Notices    int64
	Deliveries                     int64
	Attempts, Delivered, Exhausted int64
	Checks, Notifications          int64
}

// Add adds another's.
func (u *Usage) Add(o Usage) {
	u.Events, u.EventBytes, u.Notices = u.Events+o.Events, u.EventBytes+o.EventBytes, u.Notices+o.Notices
	u.Deliveries += o.Deliveries
	u.Attempts, u.Delivered, u.Exhausted = u.Attempts+o.Attempts, u.Delivered+o.Delivered, u.Exhausted+o.Exhausted
	u.Checks, u.Notifications = u.Checks+o.Checks, u.Notifications+o.Notifications
}

// UsageBucket is the usage of an hour or a day.
type UsageBucket struct {
	Begin time.Time
	Usage
}

// Counted is how far usage was counted once and for all. Zero times: nobody counts.
type Counted struct {
	From        time.Time // what was before is not known
	Until       time.Time // of events, deliveries and attempts
	ChecksUntil time.Time // of checks and notifications
}

// TenantUsage is the usage of one among many.
type TenantUsage struct {
	Tenant tenant.ID
	Name   string
	Usage
}

// UsageSort is the number by which tenants are compared, as it is called everywhere.
type UsageSort string

// The numbers.
const (
	ByEvents     UsageSort = "events"
	ByEventBytes UsageSort = "event_bytes"
	ByAttempts   UsageSort = "attempts"
	ByChecks     UsageSort = "checks"
)

// Step is how long the buckets of usage are.
type Step string

// The steps; both of UTC.
const (
	Hourly Step = "hour"
	Daily  Step = "day"
)

// length of a bucket, and how many days there may be.
func (s Step) length() (bucket time.Duration, days int) {
	if s == Daily {
		return 24 * time.Hour, 400
	}
	return time.Hour, 92
}

// Period is whole buckets: From is the beginning of one, Until the end of one.
type Period struct {
	From, Until time.Time
	Step        Step
	Asked       time.Duration // between the times that were asked for: up to two buckets less
}

// NewPeriod gives the buckets from the one that from is in to the one that ends with or after to. The zero time as to is now, as from a day (of hours) or 30 (of
// days) before to.
func NewPeriod(from, to time.Time, step Step, now time.Time) (Period, error) {
	bucket, days := step.length()
	if to.IsZero() {
		to = now
	}
	to = to.UTC()
	if from.IsZero() {
		from = to.Add(-24 * time.Hour)
		if step == Daily {
			from = to.Add(-30 * 24 * time.Hour)
		}
	}
	p := Period{From: from.UTC().Truncate(bucket), Until: to.Truncate(bucket), Step: step, Asked: to.Sub(from)}
	if p.Until.Before(to) {
		p.Until = p.Until.Add(bucket)
	}
	if !from.Before(to) || p.Asked > time.Duration(days)*24*time.Hour || !Sayable(p.From) || !Sayable(p.Until) {
		return Period{}, InvalidPeriod(days)
	}
	return p, nil
}

// Sayable says whether a time is in the years 1970 to 9998, which RFC 3339 can say in any time zone.
func Sayable(t time.Time) bool { return t.Year() >= 1970 && t.Year() <= 9998 }

// InvalidPeriod says what a period has to be that may be of so many days.
func InvalidPeriod(days int) error {
	return fault.Invalid("invalid_range", "from", "Expected a time before to, by at most "+strconv.Itoa(days)+" days, both in the years 1970 to 9998.")
}

// End gives the end of a bucket that begins at begin.
func (p Period) End(begin time.Time) time.Time {
	bucket, _ := p.Step.length()
	return begin.Add(bucket)
}
