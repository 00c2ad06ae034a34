// Package health owns what is known of endpoints in trouble and what is done about it: the circuit breaker, its probes, the drain of what was
// parked meanwhile, and when an endpoint is disabled. Endpoints that do well have no record here and cost nothing.
//
//	              Failures within After, or Retry-After                    a success
//	 closed ─ failure ─▶ failing ─────────────────────▶ open ───────────────────────▶ draining ── nothing parked ──▶ closed
//	    ▲                 │   ▲                         ▲ │ ▲                            │  ▲                         │ │
//	    └── success, calm ┘   │                         │ └─┘ probe: one at a time,      │  └── something parked ─────┘ │
//	                          │                         │     later and later            │      after all              │
//	                          └──── a failure ──────────┼──── Reopen failures, or ───────┘                             │
//	                                meanwhile           │     Retry-After                                              │
//	                                                    └─────────────────────── as from failing ──────────────────────┘
//
//	410, or failing for DisableAfter without a success: the endpoint is disabled, from any state; enabling it starts a drain.
//
// Open parks deliveries: they stay pending in the database and leave the broker. Draining lets them go, oldest first, at a rate that rises. The
// rules are pure functions of a record and the time (Rules.Next); Keeper carries them out. docs/adr/0012-endpoint-health.md has the reasons and
// the table of what happens when something dies.
package health

import (
	"math"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/beaconpost/beaconpost/pkg/notice"
	"github.com/beaconpost/beaconpost/pkg/tenant"
	"github.com/beaconpost/beaconpost/services/delivery/internal/delivery"
)

// Key names an endpoint.
type Key struct {
	Tenant   tenant.ID
	Endpoint uuid.UUID
}

// State is where an endpoint in trouble stands.
type State string

// The states. An endpoint without a record is closed too: Closed is for the moment after a drain.
const (
	Failing  State = "failing"
	Open     State = "open"
	Draining State = "draining"
	Closed   State = "closed"
)

// Reason says why deliveries are parked, or why they are drained.
type Reason string

// The reasons.
const (
	ByFailures   Reason = "failures"
	ByRetryAfter Reason = "retry_after"
	ByGone       Reason = "gone"     // 410
	ByBacklog    Reason = "backlog"  // more was due than the endpoint takes
	ByEnabling   Reason = "enabled"  // it was disabled before
	ByRecovery   Reason = "recover"  // asked for by hand
	ByAdoption   Reason = "adopted"  // parked deliveries of an endpoint that does well
	ByDisabling  Reason = "disabled" // after uninterrupted failure
)

// Facts are what attempts at an endpoint showed. Times are those at which attempts ended.
type Facts struct {
	Failures     int       // since the last success
	FailingSince time.Time // the first of those; zero: none
	LastFailedAt time.Time
	LastStatus   int    // of the last failure; 0: no answer
	LastClass    string // of the last failure; "": an answer
	SucceededAt  time.Time
	NotBefore    time.Time // asked for by Retry-After on 429 or 503
	GoneAt       time.Time // when an attempt began that was answered 410
}

// FactsOf gives the facts of one attempt.
func FactsOf(a *delivery.Attempt) Facts {
	ended := a.StartedAt.Add(a.Duration)
	if a.Succeeded() {
		return Facts{SucceededAt: ended}
	}
	f := Facts{Failures: 1, FailingSince: ended, LastFailedAt: ended, LastStatus: a.StatusCode, LastClass: string(a.Class)}
	if a.Class == "" {
		switch a.StatusCode {
		case http.StatusGone:
			f.GoneAt = a.StartedAt
		case http.StatusTooManyRequests, http.StatusServiceUnavailable:
			f.NotBefore = a.NotBefore
		}
	}
	return f
}

// Then gives the facts after later ones.
func (f Facts) Then(later Facts) Facts {
	if !later.SucceededAt.IsZero() {
		f.Failures, f.FailingSince, f.SucceededAt = 0, time.Time{}, latest(f.SucceededAt, later.SucceededAt)
	}
	f.Failures += later.Failures
	if f.FailingSince.IsZero() {
		f.FailingSince = later.FailingSince
	}
	if later.LastFailedAt.After(f.LastFailedAt) {
		f.LastFailedAt, f.LastStatus, f.LastClass = later.LastFailedAt, later.LastStatus, later.LastClass
	}
	f.NotBefore, f.GoneAt = latest(f.NotBefore, later.NotBefore), latest(f.GoneAt, later.GoneAt)
	return f
}

// Health is the record of an endpoint in trouble.
type Health struct {
	Facts
	State     State
	Reason    Reason
	Since     time.Time // of State
	Probes    int       // since it opened
	ProbedAt  time.Time // the last of them
	ProbeAt   time.Time // the next one
	DrainRate int       // deliveries per second, when the drain began or was taken over
	WarnedAt  time.Time // that it will be disabled
	// AnnouncedAt is when the tenant was told that it fails; zero: it does not fail, as far as the tenant knows.
	AnnouncedAt time.Time
}

// Learn gives the facts after later ones. A 410 of an attempt that began before the endpoint was enabled says nothing of it now.
func (h Health) Learn(later Facts) Facts {
	if h.State == Draining && h.Reason == ByEnabling && later.GoneAt.Before(h.Since) {
		later.GoneAt = time.Time{}
	}
	return h.Then(later)
}

// Endpoint is what the rules look at beside the record.
type Endpoint struct {
	Disabled bool
	Deleted  bool
	Parked   bool          // it has a parked delivery
	Timeout  time.Duration // of an attempt
	Jitter   float64       // in [0, 1): endpoints that failed together are not probed together
}

// Step is what the rules say.
type Step struct {
	Health
	Look    time.Time // when to ask again; zero: not before something happens
	Probe   bool      // let the oldest parked delivery through
	Disable bool      // for Reason
	Warn    bool      // it will be disabled if this goes on
	Forget  bool      // it needs no record any more
	Tell    string    // the type of the event that the tenant gets; "": none
}

// Rules are the installation's numbers. Every field must be set; DisableAfter may be 0: never.
type Rules struct {
	Failures     int           // uninterrupted ones that open
	After        time.Duration // provided that they have been going on for so long
	ProbeFirst   time.Duration // wait before the first probe
	ProbeMost    time.Duration // longest wait between two
	Reopen       int           // failures that end a drain
	DrainFirst   int           // deliveries per second
	DrainMost    int
	DisableAfter time.Duration
}

const (
	calm   = time.Minute      // a record without failures is kept for this long
	linger = 12 * time.Second // what was routed before the end of a drain is stored by then
	again  = 5 * time.Second  // between looks at an open breaker with nothing to probe with
	// probeMargin is what a probe may take beyond its timeout.
	probeMargin = 15 * time.Second
)

// Next says what follows for an endpoint with the record h.
func (r Rules) Next(h Health, e Endpoint, now time.Time) Step {
	s := Step{Health: h}
	switch {
	case e.Deleted:
		s.Forget = true
	case e.Disabled: // nothing is attempted; enabling it starts anew
	case !h.GoneAt.IsZero():
		s.disable(ByGone, now)
	case r.DisableAfter > 0 && h.Failures >= r.Failures && h.failingFor() >= r.DisableAfter: // two failures a week apart are none of five days
		s.disable(ByDisabling, now)
	default:
		r.warn(&s, now)
		r.move(&s, e, now)
	}
	s.tell(h, now)
	return s
}

// tell decides what the tenant is told: each time of failing once, with a warning before the endpoint is disabled, and its end.
func (s *Step) tell(before Health, now time.Time) {
	opened := s.State == Open && before.State != Open && s.Reason == ByFailures
	over := before.State == Draining && (s.State == Closed || s.Forget)
	switch {
	case s.Disable:
		s.Tell = notice.EndpointDisabled
	case s.Warn || opened && s.AnnouncedAt.IsZero():
		s.Tell, s.AnnouncedAt = notice.EndpointFailing, now
	case over && !s.AnnouncedAt.IsZero():
		s.Tell, s.AnnouncedAt = notice.EndpointRecovered, time.Time{}
	}
}

// failingFor is for how long every attempt failed: from the first to the last failure.
func (f Facts) failingFor() time.Duration {
	if f.FailingSince.IsZero() {
		return 0
	}
	return f.LastFailedAt.Sub(f.FailingSince)
}

func (s *Step) disable(why Reason, now time.Time) {
	s.enter(Open, why, now)
	s.Disable = true
}

func (s *Step) enter(state State, why Reason, now time.Time) {
	s.State, s.Reason, s.Since = state, why, now
}

func (r Rules) warn(s *Step, now time.Time) {
	if r.DisableAfter > 0 && s.failingFor() >= r.DisableAfter/2 && !s.WarnedAt.After(s.FailingSince) {
		s.Warn, s.WarnedAt = true, now
	}
}

func (r Rules) move(s *Step, e Endpoint, now time.Time) {
	switch s.State {
	case Open:
		r.moveOpen(s, e, now)
	case Draining:
		switch {
		case now.Before(s.NotBefore):
			r.open(s, ByRetryAfter, e, now)
		case s.Failures >= r.Reopen:
			r.open(s, ByFailures, e, now)
		case e.Parked:
			s.Look = now.Add(again) // the drain itself looks sooner
		default:
			s.enter(Closed, "", now)
			s.Look = now.Add(linger)
		}
	default:
		r.moveClosed(s, e, now)
	}
}

func (r Rules) moveClosed(s *Step, e Endpoint, now time.Time) {
	lingering := s.State == Closed && now.Before(s.Since.Add(linger))
	switch {
	case now.Before(s.NotBefore):
		r.open(s, ByRetryAfter, e, now)
	case s.Failures >= r.Failures && now.Sub(s.FailingSince) >= r.After:
		r.open(s, ByFailures, e, now)
	case s.Failures >= r.Failures:
		s.Look = s.FailingSince.Add(r.After)
	case lingering:
		s.Look = s.Since.Add(linger)
	case e.Parked: // they were stored as the drain ended
		r.drain(s, ByAdoption, now)
	case s.Failures > 0:
		if s.State != Failing {
			s.enter(Failing, "", now)
		}
		s.Look = now.Add(time.Hour) // for parked ones; failures are seen when they come
	case now.Before(s.SucceededAt.Add(calm)):
		s.Look = s.SucceededAt.Add(calm)
	default:
		s.Forget = true
	}
}

func (r Rules) open(s *Step, why Reason, e Endpoint, now time.Time) {
	s.enter(Open, why, now)
	s.Probes, s.ProbedAt = 0, time.Time{}
	s.ProbeAt = latest(now.Add(r.wait(0, e.Jitter)), s.NotBefore)
	if why == ByRetryAfter {
		s.ProbeAt = s.NotBefore
	}
	s.Look = s.ProbeAt
}

func (r Rules) moveOpen(s *Step, e Endpoint, now time.Time) {
	patient := !now.Before(s.NotBefore)
	switch {
	case patient && s.SucceededAt.After(s.Since):
		r.drain(s, s.Reason, now)
	case now.Before(latest(s.ProbeAt, s.NotBefore)):
		s.ProbeAt = latest(s.ProbeAt, s.NotBefore)
		s.Look = s.ProbeAt
	case s.probing(e, now): // its result has the record looked at
		s.Look = s.ProbedAt.Add(e.Timeout + probeMargin)
	case !e.Parked && s.Reason == ByRetryAfter: // the time that it asked for is over
		r.drain(s, s.Reason, now)
	case !e.Parked: // rarer and rarer: most of these endpoints are gone for good
		s.Look = now.Add(min(max(now.Sub(s.Since)/4, again), r.ProbeMost))
	default:
		s.Probe = true
		s.Probes++
		s.ProbedAt = now
		s.ProbeAt = now.Add(r.wait(s.Probes, e.Jitter))
		s.Look = s.ProbeAt
	}
}

// probing says whether the last probe may still be on its way.
func (h Health) probing(e Endpoint, now time.Time) bool {
	return h.ProbedAt.After(h.LastFailedAt) && now.Before(h.ProbedAt.Add(e.Timeout+probeMargin))
}

// wait is the time from the n-th probe to the next: up to a fifth longer by the jitter.
func (r Rules) wait(probes int, jitter float64) time.Duration {
	wait := min(float64(r.ProbeFirst)*math.Pow(2, float64(probes)), float64(r.ProbeMost))
	return time.Duration(wait * (1 + jitter/5))
}

func (r Rules) drain(s *Step, why Reason, now time.Time) {
	s.enter(Draining, why, now)
	s.Failures, s.DrainRate = 0, r.DrainFirst
	s.Look = now.Add(again)
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
