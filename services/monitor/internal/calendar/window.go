package calendar

import (
	"iter"
	"time"

	"github.com/beaconpost/beaconpost/pkg/fault"
)

// Limits of windows.
const (
	MinWindow      = time.Minute
	MaxWindow      = 366 * day // of one that happens once
	MaxRecurring   = 7 * day   // of each occurrence of one that recurs
	MaxOccurrences = 1000      // that are given at once
)

const (
	localLayout  = "2006-01-02T15:04:05"
	expectedZone = "Expected an IANA time zone such as Europe/Berlin."
)

// Window is a time of maintenance: once, from StartsAt to EndsAt, or again and again, by RRule or Cron.
type Window struct {
	StartsAt time.Time `json:"starts_at,omitzero"`
	EndsAt   time.Time `json:"ends_at,omitzero"`

	RRule    string `json:"rrule,omitempty"`     // RFC 5545: FREQ=WEEKLY;BYDAY=SU. Occurrences begin at Start's time of the day, on days of the rule
	Cron     string `json:"cron,omitempty"`      // five fields; when occurrences begin
	Start    string `json:"start,omitempty"`     // local: 2026-11-24T02:30:00. Where the rule begins; with Cron it may be absent
	Duration string `json:"duration,omitempty"`  // of an occurrence, a Go duration: elapsed time
	TimeZone string `json:"time_zone,omitempty"` // IANA; UTC unless given
}

// Interval is a span of time, in UTC: From ≤ t < To.
type Interval struct{ From, To time.Time }

// Validate says whether the window can be stored: an invalid_maintenance fault if not.
func (w Window) Validate() error {
	_, err := w.plan()
	return err
}

// All goes through the occurrences that have a part in [from, to), earliest first. They may overlap. A window that is not valid has none.
func (w Window) All(from, to time.Time) iter.Seq[Interval] {
	return func(yield func(Interval) bool) {
		p, err := w.plan()
		if err != nil {
			return
		}
		next := p.starts(from.Add(-p.length))
		for at := next(); !at.IsZero() && at.Before(to); at = next() {
			if !yield(Interval{From: at, To: at.Add(p.length)}) {
				return
			}
		}
	}
}

// Occurrences lists the first MaxOccurrences of All.
func (w Window) Occurrences(from, to time.Time) (list []Interval) {
	for i := range w.All(from, to) {
		if list = append(list, i); len(list) == MaxOccurrences {
			break
		}
	}
	return list
}

// Active gives the occurrence that now is in, the one that ends last if there are several.
func (w Window) Active(now time.Time) (Interval, bool) {
	list := w.Occurrences(now, now.Add(1))
	if len(list) == 0 {
		return Interval{}, false
	}
	return list[len(list)-1], true
}

// NextChange gives the first time after one at which Active begins or ceases to be; zero: it never does. A window that does not end within MaxOccurrences
// gives the end of the last of these.
func (w Window) NextChange(after time.Time) time.Time {
	p, err := w.plan()
	if err != nil {
		return time.Time{}
	}
	next := p.starts(after.Add(-p.length))
	at := next()
	if at.IsZero() || at.After(after) {
		return at
	}
	end := at.Add(p.length)
	for range MaxOccurrences {
		if at = next(); at.IsZero() || at.After(end) {
			break
		}
		end = at.Add(p.length)
	}
	return end
}

// plan is a window that was read.
type plan struct {
	length time.Duration
	starts func(after time.Time) func() time.Time // goes through the starts after a time, in order; zero: there are no more
}

func (w Window) plan() (plan, error) {
	recurs := w.RRule != "" || w.Cron != ""
	switch {
	case !recurs:
		return w.once()
	case w.RRule != "" && w.Cron != "":
		return invalid("rrule", "Expected either rrule or cron.")
	case !w.StartsAt.IsZero() || !w.EndsAt.IsZero():
		return invalid("starts_at", "Expected start and duration for a window that recurs; starts_at and ends_at are for one that does not.")
	}
	length, err := time.ParseDuration(w.Duration)
	if err != nil || length < MinWindow || length > MaxRecurring {
		return invalid("duration", "Expected a duration from 1m to 168h, such as 2h.")
	}
	loc, err := location(w.TimeZone)
	if err != nil {
		return invalid("time_zone", expectedZone)
	}
	start, err := time.Parse(localLayout, w.Start)
	if err != nil && (w.RRule != "" || w.Start != "") || err == nil && (start.Year() < 1970 || start.Year() > 2200) {
		return invalid("start", "Expected a local time such as 2026-11-24T02:30:00; the time zone has its own field.")
	}
	if w.RRule != "" {
		return recurring(w.RRule, start, loc, length)
	}
	p, message := parsePattern(w.Cron, loc)
	if message != "" {
		return invalid("cron", message)
	}
	first := time.Time{}
	if w.Start != "" {
		first = unwall(start, loc, false).Add(-1)
	}
	return plan{length: length, starts: func(after time.Time) func() time.Time {
		if after.Before(first) {
			after = first
		}
		return func() time.Time {
			if !after.IsZero() {
				after = p.next(after)
			}
			return after
		}
	}}, nil
}

func (w Window) once() (plan, error) {
	length := w.EndsAt.Sub(w.StartsAt)
	switch {
	case w.StartsAt.IsZero():
		return invalid("starts_at", "Expected starts_at and ends_at, or rrule or cron.")
	case w.Start != "" || w.Duration != "" || w.TimeZone != "":
		return invalid("rrule", "Expected rrule or cron beside start, duration and time_zone.")
	case w.EndsAt.IsZero() || length < MinWindow || length > MaxWindow:
		return invalid("ends_at", "Expected a time at least a minute and at most 366 days after starts_at.")
	}
	return plan{length: length, starts: func(after time.Time) func() time.Time {
		at := w.StartsAt.UTC()
		if !at.After(after) {
			at = time.Time{}
		}
		return func() time.Time {
			given := at
			at = time.Time{}
			return given
		}
	}}, nil
}

func invalid(field, message string) (plan, error) {
	return plan{}, fault.Invalid("invalid_maintenance", field, message)
}
