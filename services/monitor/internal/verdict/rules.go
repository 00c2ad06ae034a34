package verdict

import (
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
)

// Rules are a monitor's.
type Rules struct {
	Monitor           uuid.UUID
	Regions           []string // that are to report
	FailureThreshold  int      // consecutive results that make a region worse, at least 1
	RecoveryThreshold int      // that make it better, at least 1
	Interval          time.Duration
	Confirm           bool          // failures are confirmed by extra checks
	Hold              time.Duration // of steady success before a flapping monitor recovers; 0: none
	Paused            bool
	// Maintenance are the windows that matter: those that are open, the next ones, and those since the state was last looked at.
	Maintenance []Window

	Expect Expectation // of a heartbeat; nil: another kind
	Grace  time.Duration
	// Available is since when calls of heartbeats can be taken without a break, as far as is known. One that could not be taken is not missed: the grace
	// counts from then at the earliest.
	Available time.Time
}

// Window is a time of maintenance: From ≤ t < To.
type Window struct{ From, To time.Time }

// Expectation says when a heartbeat's call is expected after one that came; zero: never.
type Expectation interface {
	Next(after time.Time) time.Time
}

// Silence is for how long a region may say nothing and still count, of a monitor with this interval.
func Silence(interval time.Duration) time.Duration { return max(3*interval, 30*time.Second) }

func (r Rules) silence() time.Duration { return Silence(r.Interval) }

// retryAfter is how long a region waits before it confirms its own failure.
func (r Rules) retryAfter() time.Duration { return min(max(r.Interval/3, time.Second), 10*time.Second) }

// step is one application of the rules.
type step struct {
	Rules
	s     State
	e     Effects
	now   time.Time
	clock time.Time // how far checks are known: what their absence says is judged by it. A backlog of results is judged as if it had come in time
}

func (r Rules) step(s State, began, now time.Time) *step {
	p := &step{Rules: r, s: s, now: moment(now)}
	p.s.Regions = maps.Clone(s.Regions)
	if s.Status == "" {
		p.s = Begin(earliest(began, now))
		p.e.Changes = append(p.e.Changes, Change{To: Unknown, At: p.s.Since})
	}
	return p
}

func (p *step) done() (State, Effects) {
	if len(p.s.Regions) == 0 {
		p.s.Regions = nil
	}
	return p.s, p.e
}

// Report says what follows from a result. What a region says of a slot older than its last one, or says again, and not_checked, change nothing but the
// counts of slots. Results while paused, and of regions that are not among the rules', count for nothing.
func (r Rules) Report(s State, rep Report, now time.Time) (State, Effects) {
	rep.Slot.At = moment(rep.Slot.At)
	p := r.step(s, rep.Slot.At, now)
	p.pass(earliest(rep.Slot.At, p.now))
	if p.s.Status == Paused || r.Expect != nil || !slices.Contains(r.Regions, rep.Region) {
		return p.done()
	}
	region := p.s.Regions[rep.Region]
	counts := p.slot(&region, rep)
	if counts {
		region.learn(rep, p)
	}
	if p.s.Regions == nil {
		p.s.Regions = map[string]Region{}
	}
	p.s.Regions[rep.Region] = region
	if counts {
		p.unsteady(rep, region)
		p.decide(time.Time{})
		p.warn(rep)
		p.confirm(rep)
	}
	return p.done()
}

// Look says what follows from the time alone, and when to look again: zero if only something that happens changes anything.
func (r Rules) Look(s State, now time.Time) (State, Effects, time.Time) {
	p := r.step(s, now, now)
	p.pass(p.now)
	after, e := p.done()
	return after, e, r.Next(after, now)
}

// Edited says what follows from changed rules, which r are: at once, even if they are those of a pause. The numbers of slots start anew; regions that
// stay keep what they said. An open incident stays open unless what is left of the regions says otherwise.
func (r Rules) Edited(s State, now time.Time) (State, Effects) {
	p := r.step(s, now, now)
	for name, region := range p.s.Regions {
		if !slices.Contains(r.Regions, name) {
			delete(p.s.Regions, name)
			continue
		}
		region.restart(p.now)
		p.s.Regions[name] = region
	}
	p.s.AskedSlot = 0
	if !p.s.Heart.From.IsZero() {
		p.s.Heart.From = p.now
	}
	p.s.Heart.Started = time.Time{}
	p.pass(p.now)
	if p.s.Status != Paused {
		p.decide(p.now)
	}
	return p.done()
}

// Deleted says what follows from the end of the monitor: its status ends and an open incident is resolved. The state's Status is "" then.
func (r Rules) Deleted(s State, now time.Time) (State, Effects) {
	if s.Status == "" {
		return s, Effects{}
	}
	p := r.step(s, now, now)
	p.resolve(p.now)
	p.move("", p.now)
	return p.done()
}

// warn tells of a certificate that ends soon: once for each end, and of none that ends before one that was told of, since regions may see different ones.
func (p *step) warn(rep Report) {
	ending := rep.Cause == check.CauseCertificateEnding || rep.Cause == check.CauseCertificate
	if ends := moment(rep.CertEnds); ending && p.s.Status != Maintenance && ends.After(p.s.CertWarned) {
		p.s.CertWarned = ends
		p.e.Events = append(p.e.Events, Event{Type: CertificateExpiring, At: p.now, Cause: rep.Cause, Detail: rep.Detail, CertEnds: ends})
	}
}
