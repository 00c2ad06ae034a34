package ledger

import "time"

// Kept says for how long rollups are kept; 0: forever. Those of days stay.
type Kept struct{ Fives, Hours time.Duration }

// from is since when all rows of a step are there.
func (k Kept) from(step Step, now time.Time) time.Time {
	kept := k.Fives
	switch step {
	case Days:
		return time.Time{}
	case Hours:
		kept = k.Hours
	case Fives:
	}
	if kept == 0 {
		return time.Time{}
	}
	return ceil(now.Add(-kept), Days.Length())
}

// finest gives the shortest step of which there are rows at a time.
func (k Kept) finest(at, now time.Time) Step {
	for _, step := range []Step{Fives, Hours} {
		if !at.Before(k.from(step, now)) {
			return step
		}
	}
	return Days
}

// Span is a time whose rows of a step are read.
type Span struct {
	Step
	Range
}

// Plan is how a range is read.
type Plan struct {
	Spans []Span // in order of time, without gap or overlap
	Range        // that they cover: the one asked for, made wider to whole buckets
	Step  Step   // that a series of it can have: the one asked for, unless what is that old is kept by longer ones only
}

// Plan says which rows add up to a range: the longest that are whole and not longer than step, and shorter ones at the edges. "" is a step that gives a
// few hundred points.
func (k Kept) Plan(r Range, step Step, now time.Time) Plan {
	if step == "" {
		step = stepFor(r.To.Sub(r.From))
	}
	first, last := k.finest(r.From, now), k.finest(r.To, now)
	if first.Length() > step.Length() {
		step = first
	}
	p := Plan{Range: Range{floor(r.From, first.Length()), ceil(r.To, last.Length())}, Step: step}
	p.cover(p.Range, step, now)
	return p
}

func stepFor(length time.Duration) Step {
	switch {
	case length <= 26*time.Hour:
		return Fives
	case length <= 15*24*time.Hour:
		return Hours
	default:
		return Days
	}
}

// cover adds spans for r, of step and shorter ones.
func (p *Plan) cover(r Range, step Step, now time.Time) {
	if !r.From.Before(r.To) {
		return
	}
	first, last := ceil(r.From, step.Length()), floor(earlier(r.To, step.complete(now)), step.Length())
	if step == Fives {
		p.Spans = append(p.Spans, Span{step, r})
		return
	}
	if !first.Before(last) {
		p.cover(r, step.finer(), now)
		return
	}
	p.cover(Range{r.From, first}, step.finer(), now)
	p.Spans = append(p.Spans, Span{step, Range{first, last}})
	p.cover(Range{last, r.To}, step.finer(), now)
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
