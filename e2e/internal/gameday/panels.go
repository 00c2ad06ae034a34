package gameday

import (
	"cmp"
	"context"
	"math"
	"slices"
	"time"

	"github.com/beaconpost/beaconpost/e2e/internal/observe"
)

const (
	shows       = 3   // a panel shows a fault if it moves so many spreads
	leastSpread = .1  // of a value's size: closer than that, nobody sees it
	farthest    = 100 // where the scale ends: what was nothing before, or is gone
	fewest      = 3   // samples that make something, or its lack, visible
	afterwards  = 30 * time.Second
)

// moved is a panel and by how many spreads its most moving series left what it was.
type moved struct {
	place observe.Place
	by    float64
}

// panels gives those that show a fault, the one that moves most first.
func (r *recorded) panels(ctx context.Context, boards []observe.Dashboard, e *Episode) ([]moved, error) {
	from, to := e.Injected.Add(-r.day.Calm), e.Healed.Add(min(afterwards, r.day.Calm))
	var list []moved
	for _, board := range boards {
		for _, panel := range board.Panels {
			if panel.IsRow() {
				continue
			}
			m := moved{place: observe.Place{Dashboard: board.Name, Panel: panel.Title}}
			for _, query := range panel.Queries() {
				series, err := r.server.Range(ctx, query, from, to, r.day.Interval)
				if err != nil {
					return nil, err
				}
				for _, one := range series {
					m.by = max(m.by, r.movement(one.Samples, e.Injected, from, to))
				}
			}
			if m.by >= shows {
				list = append(list, m)
			}
		}
	}
	slices.SortStableFunc(list, func(a, b moved) int { return cmp.Compare(b.by, a.by) })
	return list, nil
}

// movement says how far a series leaves, after a moment, what it was before: in spreads of that. What grew before may go on growing.
func (r *recorded) movement(samples []observe.Sample, at, from, to time.Time) float64 {
	var before, after []float64
	var calm []observe.Sample
	for _, s := range samples {
		switch {
		case math.IsNaN(s.Value): // such as a quantile of nothing
		case s.At.Before(at):
			before, calm = append(before, s.Value), append(calm, s)
		default:
			after = append(after, s.Value)
		}
	}
	drift := slope(calm)
	expected := func(d time.Duration) int { return int(d / r.day.Interval) }
	switch {
	case len(before) == 0 && len(after) < fewest:
		return 0
	case len(before) == 0:
		before = []float64{0}
	case len(before) >= expected(at.Sub(from))-1 && len(after) <= expected(to.Sub(at))-fewest:
		return farthest
	}
	low, high := slices.Min(before), slices.Max(before)
	spread := max(high-low, leastSpread*max(math.Abs(low), math.Abs(high)))
	away := 0.0
	for _, s := range samples {
		if s.At.Before(at) || math.IsNaN(s.Value) {
			continue
		}
		went := drift * s.At.Sub(at).Seconds()
		away = max(away, s.Value-high-max(went, 0), low+min(went, 0)-s.Value)
	}
	switch {
	case away == 0:
		return 0
	case spread == 0:
		return farthest
	}
	return min(away/spread, farthest)
}

// slope is by how much a series changes per second, by least squares.
func slope(samples []observe.Sample) float64 {
	if len(samples) < 2 {
		return 0
	}
	var t, v float64
	n := float64(len(samples))
	for _, s := range samples {
		t, v = t+s.At.Sub(samples[0].At).Seconds()/n, v+s.Value/n
	}
	var above, below float64
	for _, s := range samples {
		d := s.At.Sub(samples[0].At).Seconds() - t
		above, below = above+d*(s.Value-v), below+d*d
	}
	if below == 0 {
		return 0
	}
	return above / below
}
