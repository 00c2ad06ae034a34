package ledger

import (
	"time"

	"github.com/beaconpost/beaconpost/pkg/histogram"
)

// Step is how long the buckets of rollups are.
type Step string

// The steps.
const (
	Fives Step = "5m"
	Hours Step = "1h"
	Days  Step = "1d" // of UTC
)

// Length gives the step as a duration.
func (s Step) Length() time.Duration {
	switch s {
	case Hours:
		return time.Hour
	case Days:
		return 24 * time.Hour
	default:
		return 5 * time.Minute
	}
}

// finer gives the next shorter step, "" after the shortest.
func (s Step) finer() Step {
	switch s {
	case Days:
		return Hours
	case Hours:
		return Fives
	default:
		return ""
	}
}

// complete is until when rows of this step hold everything: those of the current and the previous hour, and of today and yesterday, are still being made.
func (s Step) complete(now time.Time) time.Time {
	switch s {
	case Days, Hours:
		return floor(now, s.Length()).Add(-s.Length())
	default:
		return now.AddDate(1, 0, 0) // counted as results come
	}
}

// Rollup is what happened in a bucket. Its numbers are those of the slots' own checks.
type Rollup struct {
	Bucket                                       time.Time
	Up, Degraded, Down, NotChecked, Late, Missed int64
	Duration                                     time.Duration    // sum over those that are up or degraded
	Latency                                      histogram.Counts // of these
	Lag                                          histogram.Counts // from a slot's moment to the start
}

// Add adds what happened in another; the bucket stays.
func (r *Rollup) Add(o *Rollup) {
	r.Up += o.Up
	r.Degraded += o.Degraded
	r.Down += o.Down
	r.NotChecked += o.NotChecked
	r.Late += o.Late
	r.Missed += o.Missed
	r.Duration += o.Duration
	r.Latency.Merge(o.Latency[:])
	r.Lag.Merge(o.Lag[:])
}

// Checked counts the slots whose check said something of the target.
func (r *Rollup) Checked() int64 { return r.Up + r.Degraded + r.Down }

// Promised counts the slots.
func (r *Rollup) Promised() int64 { return r.Checked() + r.NotChecked + r.Missed }

// Series adds rollups up to buckets of a step, the first one first, and to a whole. They have to be in order of time.
func Series(rollups []Rollup, step Step) (series []Rollup, whole Rollup) {
	for i := range rollups {
		r := &rollups[i]
		at := floor(r.Bucket, step.Length())
		if len(series) == 0 || !series[len(series)-1].Bucket.Equal(at) {
			series = append(series, Rollup{Bucket: at})
		}
		series[len(series)-1].Add(r)
		whole.Add(r)
	}
	return series, whole
}

func floor(t time.Time, d time.Duration) time.Time { return t.UTC().Truncate(d) }

func ceil(t time.Time, d time.Duration) time.Time {
	if low := floor(t, d); !low.Equal(t) {
		return low.Add(d)
	}
	return t.UTC()
}
