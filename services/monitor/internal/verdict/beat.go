package verdict

import (
	"fmt"
	"time"

	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
)

// BeatKind is what a heartbeat's call says.
type BeatKind string

// The kinds.
const (
	BeatStart   BeatKind = "start" // of a job: its end has to come within Grace
	BeatSuccess BeatKind = "success"
	BeatFail    BeatKind = "fail"
	BeatExit    BeatKind = "exit" // a success if ExitCode is 0, else a failure
)

// Beat is a heartbeat's call.
type Beat struct {
	Kind     BeatKind
	ExitCode int
}

// Heart is what a heartbeat was told.
type Heart struct {
	At      time.Time `json:"at,omitzero"`      // the last call
	Started time.Time `json:"started,omitzero"` // the start of the job under way
	From    time.Time `json:"from,omitzero"`    // after which the next success is expected; zero: none is
}

// Beat says what follows from a call:
//
//	                   success                        no call by the expected time + Grace, or
//	                  ┌───┐                           no end by the start + Grace
//	                  │   ▼                           (down since the expected time, or since start + Grace)
//	unknown ─ success ▶ up ───────────────────────────────────────────────▶ down
//	   │                ▲ │ ── fail, or an exit code other than 0 ─────────▶ │ │
//	   │                │                                                   │ │
//	   └─ as from up ───┴────────────────── success ────────────────────────┘ │
//	                      (Hold while flapping)                               └─ start changes nothing
//
// Thresholds do not apply. A monitor that was never called expects nothing: it is unknown. A start counts the time of the job and does not put off
// when its success is expected. Calls while paused count for nothing.
func (r Rules) Beat(s State, b Beat, now time.Time) (State, Effects) {
	// Calls are taken one after the other; of two machines' clocks one may be behind.
	p := r.step(s, now, latest(now, s.Heart.At))
	p.pass(p.now)
	h := &p.s.Heart
	if p.s.Status == Paused || r.Expect == nil {
		return p.done()
	}
	h.At = p.now
	if b.Kind == BeatStart {
		h.Started = p.now
		return p.done()
	}
	if !h.Started.IsZero() {
		p.e.Took = p.now.Sub(h.Started)
	}
	h.Started, h.From = time.Time{}, time.Time{}
	switch {
	case b.Kind == BeatSuccess || b.Kind == BeatExit && b.ExitCode == 0:
		h.From = p.now
		p.offer(Up, p.now, "", "")
	case b.Kind == BeatExit:
		p.offer(Down, p.now, check.CauseReported, fmt.Sprintf("The job ended with exit code %d.", b.ExitCode))
	default:
		p.offer(Down, p.now, check.CauseReported, "The job reported a failure.")
	}
	return p.done()
}

// resume is for the end of a pause: a monitor that has been called is expected to be again.
func (h *Heart) resume(now time.Time) {
	h.Started = time.Time{}
	if !h.At.IsZero() {
		h.From = now
	}
}

// expects gives the time at which a call is expected and by which it has to be there, and whether that is the end of a job under way. Zero: none is
// expected, because it is down already or was never called.
func (p *step) expects() (at, by time.Time, job bool) {
	h := p.s.Heart
	if p.Expect == nil || p.s.Verdict == Down && p.s.HoldFrom.IsZero() {
		return time.Time{}, time.Time{}, false
	}
	if !h.From.IsZero() {
		if at = p.Expect.Next(h.From); !at.IsZero() {
			at = moment(at)
			by = latest(at, moment(p.Available)).Add(p.Grace)
		}
	}
	if end := h.Started.Add(p.Grace); !h.Started.IsZero() {
		if until := latest(end, moment(p.Available).Add(p.Grace)); by.IsZero() || until.Before(by) {
			return end, until, true
		}
	}
	return at, by, false
}

// overdue is for a call that did not come.
func (p *step) overdue() {
	at, by, job := p.expects()
	if by.IsZero() || p.clock.Before(by) {
		return
	}
	detail := "A call was expected at " + at.Format(time.RFC3339) + "."
	if job {
		detail = "The job that started at " + p.s.Heart.Started.Format(time.RFC3339) + " did not end in time."
	}
	p.s.Heart.Started, p.s.Heart.From = time.Time{}, time.Time{}
	p.offer(Down, at, check.CauseMissed, detail)
}
