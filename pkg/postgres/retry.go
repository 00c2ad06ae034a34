package postgres

import (
	"time"

	"github.com/beaconpost/beaconpost/pkg/backoff"
)

// RetryColumns is a retry policy as tables keep it: attempts, and schedule, base, cap and age in milliseconds. Null is not set.
type RetryColumns struct {
	attempts       *int
	schedule       []int64
	base, cap, age *int64
}

// Into gives what the columns are scanned into, in the order max_attempts, schedule, base, cap, max_age.
func (c *RetryColumns) Into() []any { return []any{&c.attempts, &c.schedule, &c.base, &c.cap, &c.age} }

// Policy gives the policy that was scanned.
func (c *RetryColumns) Policy() backoff.Policy {
	p := backoff.Policy{Base: millis(c.base), Cap: millis(c.cap), MaxAge: millis(c.age)}
	if c.attempts != nil {
		p.MaxAttempts = *c.attempts
	}
	for _, ms := range c.schedule {
		p.Schedule = append(p.Schedule, time.Duration(ms)*time.Millisecond)
	}
	return p
}

func millis(ms *int64) time.Duration {
	if ms == nil {
		return 0
	}
	return time.Duration(*ms) * time.Millisecond
}
