package verdict

import (
	"slices"
	"time"

	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
)

// tally is what the regions that report say.
type tally struct {
	all                           int // regions that are to report
	reporting, up, degraded, down []Region
}

func (p *step) tally() tally {
	t := tally{all: len(p.Regions)}
	for _, name := range p.Regions {
		g, ok := p.s.Regions[name]
		if !ok || g.From.IsZero() {
			continue
		}
		t.reporting = append(t.reporting, g)
		switch g.Verdict {
		case Up:
			t.up = append(t.up, g)
		case Degraded:
			t.degraded = append(t.degraded, g)
		case Down:
			t.down = append(t.down, g)
		default:
		}
	}
	return t
}

func (t tally) bad() []Region { return slices.Concat(t.down, t.degraded) }

func (t tally) verdict(present Status) Status {
	n := len(t.reporting)
	switch {
	case n == 0 || 2*n < t.all:
		return Unknown
	case 2*len(t.down) > n:
		return Down
	case 2*len(t.bad()) > n:
		return Degraded
	case 2*len(t.up) >= n:
		return Up
	default: // it depends on regions that have not made up their minds
		return present
	}
}

// flipped says when the verdict became v: with the majority's first slot, which is
//   - for the worse, the (n/2+1)-th earliest of those at which regions began to be so: then a strict majority was;
//   - for the better, the ⌈n/2⌉-th earliest of those at which they ceased to be worse: then no strict majority was.
//
// After unknown it was not before half of the regions had begun to report.
func (t tally) flipped(present, v Status) time.Time {
	n := len(t.reporting)
	most, half := n/2+1, (n+1)/2
	var at time.Time
	switch {
	case v == Down:
		at = nth(most, t.down, func(g Region) time.Time { return g.Since })
	case v == Up:
		at = nth(half, t.up, func(g Region) time.Time { return g.Since })
	case present == Down:
		at = nth(half, slices.Concat(t.up, t.degraded), func(g Region) time.Time { return g.NotDown })
	default:
		at = nth(most, t.bad(), func(g Region) time.Time { return g.NotUp })
	}
	if present == Unknown {
		at = latest(at, nth((t.all+1)/2, t.reporting, func(g Region) time.Time { return g.From }))
	}
	return at
}

// nth gives the n-th earliest time, the latest if there are fewer, zero if there are none.
func nth(n int, regions []Region, of func(Region) time.Time) time.Time {
	var times []time.Time
	for _, g := range regions {
		times = append(times, of(g))
	}
	slices.SortFunc(times, time.Time.Compare)
	if len(times) == 0 {
		return time.Time{}
	}
	return times[min(n, len(times))-1]
}

// why gives the cause that most regions give, and what the first of them says of it.
func (t tally) why(v Status) (check.Cause, string) {
	from := t.down
	if v == Degraded {
		from = t.bad()
	}
	count := map[check.Cause]int{}
	best := Region{}
	for _, g := range from {
		count[g.Cause]++
	}
	for i, g := range from {
		if i == 0 || count[g.Cause] > count[best.Cause] {
			best = g
		}
	}
	return best.Cause, best.Detail
}

// decide draws the monitor's conclusion. A change is dated at, or if that is zero by the streaks that decide.
func (p *step) decide(at time.Time) {
	if p.Expect != nil {
		return
	}
	t := p.tally()
	v := t.verdict(p.s.Verdict)
	if at.IsZero() {
		at = t.flipped(p.s.Verdict, v)
	}
	var cause check.Cause
	var detail string
	if v == Down || v == Degraded {
		cause, detail = t.why(v)
	}
	p.offer(v, at, cause, detail)
}

// unsteady starts the hold anew when a region that had recovered fails again.
func (p *step) unsteady(rep Report, region Region) {
	if rep.Outcome == check.Down && region.Verdict != Down && !p.s.HoldFrom.IsZero() {
		p.s.HoldFrom = rep.Slot.At
	}
}

// confirm asks for extra checks after a failure that is not yet enough: all other regions at once if it is a first one, and the same region again a
// little later, until it is enough or a check is good. Every region has at most one such check under way.
func (p *step) confirm(rep Report) {
	g := p.s.Regions[rep.Region]
	if !p.Confirm || rep.Outcome != check.Down || g.Verdict == Down || p.s.Status == Maintenance || p.s.Verdict == Down {
		return
	}
	if g.Failures.N == 1 && p.s.AskedSlot != rep.Slot.Number {
		p.s.AskedSlot = rep.Slot.Number
		for _, other := range p.Regions {
			if other != rep.Region && p.s.Regions[other].Verdict != Down {
				p.ask(other, rep.Slot, 0)
			}
		}
	}
	p.ask(rep.Region, rep.Slot, p.retryAfter())
}

func (p *step) ask(region string, slot check.Slot, after time.Duration) {
	g := p.s.Regions[region]
	answered := 0
	if g.At.Equal(slot.At) {
		answered = g.Answered
	}
	if g.AskedSlot == slot.Number && g.Asked > answered || g.At.After(slot.At) {
		return // it is under way, or would be too late
	}
	g.AskedSlot, g.Asked = slot.Number, answered+1
	p.s.Regions[region] = g
	p.e.Ask = append(p.e.Ask, Ask{Region: region, Slot: slot, Confirmation: g.Asked, After: after})
}
