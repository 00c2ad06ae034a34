package verdict

import (
	"slices"
	"time"
)

// pass does what is due by now, in order, each at its time. What the absence of results says is judged as of known. A window that was made after the
// fact reaches back to the start of the present status.
func (p *step) pass(known time.Time) {
	if p.Paused || p.s.Status == Paused {
		p.pause()
	}
	if p.s.Status != Paused {
		p.maintain(p.s.Since, p.s.Status == Maintenance)
	}
	for at := p.due(p.s.Since); !p.Paused && !at.IsZero() && !at.After(p.now); at = p.due(at) {
		p.settle(at, known)
	}
	p.settle(p.now, known)
}

// pause enters or leaves a pause. Regions start anew; what a heartbeat expects counts from the end of the pause.
func (p *step) pause() {
	switch {
	case p.Paused && p.s.Status != Paused:
		p.s.Verdict, p.s.Cause, p.s.Detail, p.s.HoldFrom, p.s.AskedSlot = Unknown, "", "", time.Time{}, 0
		p.s.Regions = nil
		p.move(Paused, p.now)
	case !p.Paused:
		p.s.Heart.resume(p.now)
		p.move(Unknown, p.now)
	}
}

// settle does what is due at a time.
func (p *step) settle(at, known time.Time) {
	if p.s.Status == Paused {
		return
	}
	p.clock = earliest(at, known)
	if p.s.Flapping && !p.clock.Before(p.s.calm()) {
		p.s.Flapping = false
	}
	p.leaveOut(at)
	p.overdue()
	if p.held() {
		if p.Expect != nil {
			p.offer(Up, p.s.HoldFrom, "", "")
		} else {
			p.decide(time.Time{})
		}
	}
	p.maintain(at, false)
}

// maintain begins and ends maintenance.
func (p *step) maintain(at time.Time, stay bool) {
	open := slices.ContainsFunc(p.Maintenance, func(w Window) bool { return !at.Before(moment(w.From)) && at.Before(moment(w.To)) })
	switch {
	case open && p.s.Status != Maintenance:
		p.move(Maintenance, at)
	case !open && p.s.Status == Maintenance && !stay:
		p.show(at)
	}
}

func (p *step) held() bool {
	return !p.s.HoldFrom.IsZero() && (!p.s.Flapping || !p.clock.Before(p.s.HoldFrom.Add(p.Hold)))
}

// leaveOut takes regions out that have said nothing for too long.
func (p *step) leaveOut(at time.Time) {
	changed := false
	for name, g := range p.s.Regions {
		if silent := g.silent(p.Rules); !silent.IsZero() && !p.clock.Before(silent) {
			g.forget()
			p.s.Regions[name] = g
			changed = true
		}
	}
	if changed {
		p.decide(at)
	}
}

// due is the first time after a given one at which time may change something; zero: there is none.
func (p *step) due(after time.Time) time.Time {
	var first time.Time
	add := func(at time.Time) {
		if at.After(after) && (first.IsZero() || at.Before(first)) {
			first = at
		}
	}
	for _, w := range p.Maintenance {
		add(moment(w.From))
		add(moment(w.To))
	}
	for _, g := range p.s.Regions {
		add(g.silent(p.Rules))
	}
	if !p.s.HoldFrom.IsZero() {
		add(p.s.HoldFrom.Add(p.Hold))
	}
	add(p.s.calm())
	if _, by, _ := p.expects(); !by.IsZero() {
		add(by)
	}
	return first
}

// Next is when time alone may change something: now, if it is overdue since results came late; zero if only something that happens changes anything.
func (r Rules) Next(s State, now time.Time) time.Time {
	p := &step{Rules: r, s: s, now: moment(now)}
	if s.Status == Paused {
		return time.Time{}
	}
	for _, g := range s.Regions {
		if silent := g.silent(r); !silent.IsZero() && !silent.After(now) {
			return p.now
		}
	}
	if !s.HoldFrom.IsZero() && !s.HoldFrom.Add(r.Hold).After(now) {
		return p.now
	}
	return p.due(p.now)
}
