package gameday

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/beaconpost/beaconpost/e2e/internal/observe"
)

// recorded is what Prometheus has of a day.
type recorded struct {
	server *observe.Server
	day    *Day
}

// sighting is what an alert did after a fault. Zero times: it did not.
type sighting struct {
	alert   string
	pending time.Time
	fires   time.Time
	ends    time.Time // zero also if it had not ended when the day had
	already bool      // it fired before the fault did
}

// alerts gives what came after a fault and before the next, in the order in which they came.
func (r *recorded) alerts(ctx context.Context, from, to time.Time) ([]sighting, error) {
	margin := 2 * r.day.Interval
	list, err := r.server.Range(ctx, `max by (alertname, alertstate) (ALERTS)`, from.Add(-margin), r.day.Ended, r.day.Interval)
	if err != nil {
		return nil, err
	}
	seen := map[string]*sighting{}
	for _, one := range list {
		name := one.Labels["alertname"]
		if seen[name] == nil {
			seen[name] = &sighting{alert: name}
		}
		if one.Labels["alertstate"] == "firing" {
			seen[name].fired(one.Samples, from, to, margin)
		} else if at := first(one.Samples, from, to); !at.IsZero() {
			seen[name].pending = at
		}
	}
	var came []sighting
	for _, s := range seen {
		if !s.pending.IsZero() || !s.fires.IsZero() || s.already {
			came = append(came, *s)
		}
	}
	slices.SortFunc(came, func(a, b sighting) int {
		return cmp.Or(a.at().Compare(b.at()), cmp.Compare(a.alert, b.alert))
	})
	return came, nil
}

// at is when it was seen first.
func (s sighting) at() time.Time {
	if s.pending.IsZero() || !s.fires.IsZero() && s.fires.Before(s.pending) {
		return s.fires
	}
	return s.pending
}

// fired reads when it fired first between from and to, and when that ended, if it did before the samples do.
func (s *sighting) fired(samples []observe.Sample, from, to time.Time, margin time.Duration) {
	s.already = len(samples) > 0 && samples[0].At.Before(from)
	var last time.Time
	for _, sample := range samples {
		gap := !last.IsZero() && sample.At.Sub(last) > margin
		if s.fires.IsZero() {
			if inside := !sample.At.Before(from) && sample.At.Before(to); inside && (!s.already || gap) {
				s.fires = sample.At
			}
		} else if gap {
			s.ends = last
			return
		}
		last = sample.At
	}
	s.ends = last
}

func first(samples []observe.Sample, from, to time.Time) time.Time {
	for _, sample := range samples {
		if !sample.At.Before(from) && sample.At.Before(to) {
			return sample.At
		}
	}
	return time.Time{}
}

// at is the value of an expression at a moment; 0 if there is none.
func (r *recorded) at(ctx context.Context, expr string, when time.Time) (float64, error) {
	list, err := r.server.Range(ctx, expr, when, when, r.day.Interval)
	if err != nil || len(list) == 0 || len(list[0].Samples) == 0 {
		return 0, err
	}
	return list[0].Samples[0].Value, nil
}
