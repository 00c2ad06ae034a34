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
	Every time.Duration // 0: by a cron expression
	Grace time.Duration
	cron  pattern
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
	case (e.Every == "") == (e.Cron == ""):
		return invalid("expected", "Expected either every or cron.")
	case e.Every != "" && e.TimeZone != "":
		return invalid("expected.time_zone", "Expected no time zone beside every: it is for cron.")
	case err != nil:
		return invalid("expected.time_zone", expectedZone)
	case e.Every != "":
		if parsed.Every, err = time.ParseDuration(e.Every); err != nil || parsed.Every < MinEvery || parsed.Every > MaxEvery {
			return invalid("expected.every", "Expected a duration from 10s to 8784h, such as 1h.")
		}
		return parsed, nil
	}
	var message string
	if parsed.cron, message = parsePattern(e.Cron, loc); message != "" {
		return invalid("expected.cron", message)
	}
	return parsed, nil
}

// Next gives when the next call is expected after one that came.
func (e Expectation) Next(after time.Time) time.Time {
	if e.Every > 0 {
		return after.Add(e.Every)
	}
	return e.cron.next(after)
}
