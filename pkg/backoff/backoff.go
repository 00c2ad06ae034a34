// Package backoff decides how long to wait between attempts, and when to give up.
//
// It owns the retry policy: its defaults, its limits, its arithmetic. It does not own waiting, persistence or which
// answers deserve a retry (services/delivery). It keeps no state; the caller counts attempts.
package backoff

import (
	"math"
	"math/rand/v2"
	"time"
)

// NoJitter is the Jitter of a policy whose delays are exact. (0 is the default jitter.)
const NoJitter = -1

// The limits that Validate enforces.
const (
	MaxAttempts = 100                // attempts per policy
	MaxDelay    = 7 * 24 * time.Hour // any single delay, before jitter
	MaxAge      = 90 * 24 * time.Hour
)

// Policy says when failed work is tried again. It has one of two shapes: a Schedule, or exponential growth from Base.
// A zero field takes its value from Default, so the zero Policy is the default policy. Policies are values and safe to
// share; Schedule must not be changed afterwards.
type Policy struct {
	Schedule    []time.Duration // Schedule[n-1] is the delay after n failures; sets the number of attempts too
	Base        time.Duration   // the delay after n failures is 2ⁿ × Base
	Cap         time.Duration   // longest exponential delay, before jitter
	MaxAttempts int             // attempts in total, the first included
	MaxAge      time.Duration   // no attempt is planned that would start later than this after the work was accepted; 0 is no limit
	Jitter      float64         // each delay is moved at random by up to ± this share of it; NoJitter is none
}

// Default doubles from one second to one hour and gives up after 15 attempts, which takes about four hours.
func Default() Policy {
	return Policy{Base: time.Second, Cap: time.Hour, MaxAttempts: 15, Jitter: 0.2}
}

// IsZero reports whether nothing is set.
func (p Policy) IsZero() bool {
	return len(p.Schedule) == 0 && p.Base == 0 && p.Cap == 0 && p.MaxAttempts == 0 && p.MaxAge == 0 && p.Jitter == 0
}

// Merge gives p with the fields that are set in over replaced. The shapes do not mix: a Schedule in over drops p's
// exponential fields, and an exponential field in over drops p's Schedule.
func (p Policy) Merge(over Policy) Policy {
	if len(over.Schedule) > 0 {
		p = Policy{Schedule: over.Schedule, Jitter: p.Jitter, MaxAge: p.MaxAge}
	}
	if over.Base != 0 || over.Cap != 0 || over.MaxAttempts != 0 {
		p.Schedule = over.Schedule
	}
	if over.Base != 0 {
		p.Base = over.Base
	}
	if over.Cap != 0 {
		p.Cap = over.Cap
	}
	if over.MaxAttempts != 0 {
		p.MaxAttempts = over.MaxAttempts
	}
	if over.Jitter != 0 {
		p.Jitter = over.Jitter
	}
	if over.MaxAge != 0 {
		p.MaxAge = over.MaxAge
	}
	return p
}

// WithDefaults gives p with its zero fields filled in from Default.
func (p Policy) WithDefaults() Policy { return Default().Merge(p) }

// Attempts gives the number of attempts in total, the first included.
func (p Policy) Attempts() int {
	if len(p.Schedule) > 0 {
		return len(p.Schedule) + 1
	}
	return p.WithDefaults().MaxAttempts
}

// Spent reports whether no attempt is left after attempts of them were made.
func (p Policy) Spent(attempts int) bool { return attempts >= p.Attempts() }

// TooOld reports whether work of an age gets no attempt any more.
func (p Policy) TooOld(age time.Duration) bool { return p.MaxAge > 0 && age > p.MaxAge }

// Delay gives the time to wait after attempt attempts have failed (1 after the first). It is never negative, and defined
// for spent policies too. rnd gives numbers in [0,1); nil is math/rand. Jitter comes after the cap, so that capped delays
// spread too: a delay may exceed Cap by the jitter's share.
func (p Policy) Delay(attempt int, rnd func() float64) time.Duration {
	p = p.WithDefaults()
	attempt = max(attempt, 1)
	if n := len(p.Schedule); n > 0 {
		return p.jitter(p.Schedule[min(attempt, n)-1], rnd)
	}
	return p.jitter(p.exponential(attempt), rnd)
}

func (p Policy) exponential(attempt int) time.Duration {
	if attempt >= 63 || p.Base > p.Cap>>attempt { // 2^attempt × Base would exceed Cap, or overflow
		return p.Cap
	}
	return p.Base << attempt
}

func (p Policy) jitter(d time.Duration, rnd func() float64) time.Duration {
	d = max(d, 0)
	if p.Jitter <= 0 {
		return d
	}
	if rnd == nil {
		rnd = rand.Float64
	}
	moved := float64(d) * (1 + p.Jitter*(2*rnd()-1))
	switch {
	case moved <= 0:
		return 0
	case moved >= math.MaxInt64:
		return math.MaxInt64
	}
	return time.Duration(moved)
}
