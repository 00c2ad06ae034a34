package gameday

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/beaconpost/beaconpost/e2e/internal/observe"
)

// recorded is what Prometheus has of a day.
type recorded struct {
	server *observe.Server
	day    *Day
}

// spell is a time in which an alert was pending or fired without a break.
type spell struct {
	alert string
	since time.Time
	fires time.Time // zero: it did not
	until time.Time // the last look that had it
}

// spells gives those that began after a fault and before the next, in their order: of each alert the first that fires, or else the first.
func (r *recorded) spells(ctx context.Context, from, to time.Time) ([]spell, error) {
	list, err := r.server.Range(ctx, `max by (alertname, alertstate) (ALERTS)`, r.day.Started, r.day.Ended, r.day.Interval)
	if err != nil {
		return nil, err
	}
	looks := map[string]map[time.Time]bool{} // by alert and time: did it fire?
	for _, one := range list {
		name, fires := one.Labels["alertname"], one.Labels["alertstate"] == "firing"
		if looks[name] == nil {
			looks[name] = map[time.Time]bool{}
		}
		for _, sample := range one.Samples {
			looks[name][sample.At] = looks[name][sample.At] || fires
		}
	}
	var first []spell
	for name, at := range looks {
		var best *spell
		for _, s := range join(name, at, 2*r.day.Interval) {
			inside := !s.since.Before(from) && s.since.Before(to)
			if inside && (best == nil || best.fires.IsZero() && !s.fires.IsZero()) {
				best = &s
			}
		}
		if best != nil {
			first = append(first, *best)
		}
	}
	slices.SortFunc(first, func(a, b spell) int { return cmp.Or(a.since.Compare(b.since), cmp.Compare(a.alert, b.alert)) })
	return first, nil
}

// join makes spells of looks: those with no more than gap between them belong together.
func join(alert string, looks map[time.Time]bool, gap time.Duration) (list []spell) {
	for _, at := range slices.SortedFunc(maps.Keys(looks), time.Time.Compare) {
		if n := len(list); n == 0 || at.Sub(list[n-1].until) > gap {
			list = append(list, spell{alert: alert, since: at})
		}
		last := &list[len(list)-1]
		if looks[at] && last.fires.IsZero() {
			last.fires = at
		}
		last.until = at
	}
	return list
}

// lasts says that it had not ended when the day had.
func (r *recorded) lasts(s spell) bool { return !s.until.Before(r.day.Ended.Add(-2 * r.day.Interval)) }

// at is the value of an expression at a moment; 0 if there is none.
func (r *recorded) at(ctx context.Context, expr string, when time.Time) (float64, error) {
	list, err := r.server.Range(ctx, expr, when, when, r.day.Interval)
	if err != nil || len(list) == 0 || len(list[0].Samples) == 0 {
		return 0, err
	}
	return list[0].Samples[0].Value, nil
}
