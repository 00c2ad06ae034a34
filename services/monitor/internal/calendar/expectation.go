package calendar

import (
	"time"

	"github.com/beaconpost/beaconpost/pkg/fault"
	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
)

// DefaultGrace is how late a heartbeat's call may be unless its monitor says otherwise.
const DefaultGrace = 5 * time.Minute

// Limits of an expectation.
const (
	MinEvery = 10 * time.Second
	MaxEvery = 366 * day
	MinGrace = time.Second
	MaxGrace = 366 * day
)

// Expectation says when the calls of a heartbeat are expected. Get it from ParseExpectation.
type Expectation struct {
	Every time.Duration // 0: by a cron expression or a calendar event
	Grace time.Duration
	on    pattern
}

// ParseExpectation reads an expectation; one that nothing can be expected of is an invalid_monitor fault.
func ParseExpectation(e check.Expectation) (Expectation, error) {
	invalid := func(field, message string) (Expectation, error) {
		return Expectation{}, fault.Invalid("invalid_monitor", field, message)
	}
	parsed := Expectation{Grace: DefaultGrace}
	var err error
	if e.Grace != "" {
		if parsed.Grace, err = time.ParseDuration(e.Grace); err != nil || parsed.Grace < MinGrace || parsed.Grace > MaxGrace {
			return invalid("expected.grace", "Expected a duration from 1s to 8784h, such as 5m.")
		}
	}
	loc, err := location(e.TimeZone)
	switch {
	case given(e.Every, e.Cron, e.OnCalendar) != 1:
		return invalid("expected", "Expected one of every, cron and on_calendar.")
	case e.Every != "" && e.TimeZone != "":
		return invalid("expected.time_zone", "Expected no time zone beside every: it is for cron and on_calendar.")
	case err != nil:
		return invalid("expected.time_zone", expectedZone)
	case e.Every != "":
		if parsed.Every, err = time.ParseDuration(e.Every); err != nil || parsed.Every < MinEvery || parsed.Every > MaxEvery {
			return invalid("expected.every", "Expected a duration from 10s to 8784h, such as 1h.")
		}
		return parsed, nil
	}
	var message string
	if e.OnCalendar != "" {
		if parsed.on, message = parseEventPattern(e.OnCalendar, e.TimeZone); message != "" {
			return invalid("expected.on_calendar", message)
		}
		return parsed, nil
	}
	if parsed.on, message = parsePattern(e.Cron, loc); message != "" {
		return invalid("expected.cron", message)
	}
	return parsed, nil
}

func given(texts ...string) (n int) {
	for _, text := range texts {
		if text != "" {
			n++
		}
	}
	return n
}

// Next gives when the next call is expected after one that came.
func (e Expectation) Next(after time.Time) time.Time {
	if e.Every > 0 {
		return after.Add(e.Every)
	}
	return e.on.next(after)
}
