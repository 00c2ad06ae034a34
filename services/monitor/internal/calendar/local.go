package calendar

import (
	"errors"
	"strings"
	"time"
	_ "time/tzdata" // time zones are what this package is about: an image may have none

	"github.com/robfig/cron/v3"
)

// wall gives what the clock in loc shows at t, as a time in UTC: rules are evaluated there, where no clock is ever put forward or back.
func wall(t time.Time, loc *time.Location) time.Time {
	_, offset := t.In(loc).Zone()
	return t.UTC().Add(time.Duration(offset) * time.Second)
}

// unwall gives when the clock in loc shows what a time in UTC says: the first time if it does so twice. If it never does, since it is put forward, that
// is as much later as it is put forward, or with skip, when it is put forward.
func unwall(t time.Time, loc *time.Location, skip bool) time.Time {
	before, after := offsetAt(t.Add(-day), loc), offsetAt(t.Add(day), loc)
	early, late := t.Add(-before), t.Add(-after)
	switch {
	case offsetAt(early, loc) == before:
		return early
	case offsetAt(late, loc) == after:
		return late
	case skip:
		start, _ := early.In(loc).ZoneBounds()
		return start.UTC()
	default:
		return early
	}
}

func offsetAt(t time.Time, loc *time.Location) time.Duration {
	_, offset := t.In(loc).Zone()
	return time.Duration(offset) * time.Second
}

func location(name string) (*time.Location, error) {
	if name == "" || strings.EqualFold(name, "UTC") {
		return time.UTC, nil
	}
	if name == "Local" { // the server's: not what anybody means
		return nil, errors.New("not a time zone")
	}
	return time.LoadLocation(name)
}

const expectedCron = "Expected a cron expression of five fields (minute, hour, day of month, month, day of week) such as 30 2 * * 0; Sunday is 0."

// pattern is a cron expression in a time zone.
type pattern struct {
	schedule cron.Schedule
	loc      *time.Location
	anyHour  bool // it follows the hours that pass, not those on the clock
	exact    bool // what the clock never shows does not happen; otherwise it does when the clock is put forward
}

// parseEventPattern is parsePattern for a calendar event. What the clock shows twice happens the first time, as with systemd.
// given is the zone beside it, "" for none.
func parseEventPattern(text, given string) (p pattern, message string) {
	e, zone, message := parseEvent(text)
	if message != "" {
		return pattern{}, message
	}
	if zone != "" && given != "" {
		return pattern{}, "Expected a time zone here or in time_zone, not both."
	}
	loc, err := location(zone + given)
	if err != nil {
		return pattern{}, expectedEvent + " Its time zone, if it has one, is an IANA name."
	}
	if e.Next(time.Date(firstYear, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return pattern{}, "Expected a calendar event that matches some day; this one never does."
	}
	return pattern{schedule: e, loc: loc, exact: true}, ""
}

// parsePattern gives a message for people if the expression is none.
func parsePattern(text string, loc *time.Location) (p pattern, message string) {
	fields := strings.Fields(text)
	if len(fields) != 5 || len(text) > 200 || strings.Contains(fields[0], "=") { // a time zone has its own field
		return pattern{}, expectedCron
	}
	schedule, err := cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow).Parse(text)
	if err != nil {
		return pattern{}, expectedCron
	}
	p = pattern{schedule: schedule, loc: loc, anyHour: strings.HasPrefix(fields[1], "*")}
	if schedule.Next(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return pattern{}, "Expected a cron expression that matches some day; this one never does."
	}
	return p, ""
}

// next gives the first time after one at which the pattern fires; zero: there is none.
func (p pattern) next(after time.Time) time.Time {
	if p.anyHour {
		return p.nextOfAnyHour(after)
	}
	for at := wall(after, p.loc); ; {
		at = p.schedule.Next(at)
		if at.IsZero() {
			return time.Time{}
		}
		if found := unwall(at, p.loc, true); found.After(after) && (!p.exact || wall(found, p.loc).Equal(at)) {
			return found
		}
	}
}

// nextOfAnyHour goes from one change of the clock to the next.
func (p pattern) nextOfAnyHour(after time.Time) time.Time {
	for {
		_, end := after.In(p.loc).ZoneBounds()
		found := p.schedule.Next(after.In(time.FixedZone("", int(offsetAt(after, p.loc)/time.Second))))
		if found.IsZero() {
			return time.Time{}
		}
		if end.IsZero() || found.Before(end) {
			return found.UTC()
		}
		// The moment of the change itself is still to be looked at, with the new offset.
		if found = p.schedule.Next(end.Add(-time.Second).In(time.FixedZone("", int(offsetAt(end, p.loc)/time.Second)))); found.Equal(end) {
			return found.UTC()
		}
		after = end
	}
}
