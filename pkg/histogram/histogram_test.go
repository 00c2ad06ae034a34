package histogram_test

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/histogram"
)

func TestQuantilesAreCloseToTheTruth(t *testing.T) {
	t.Parallel()
	for _, scale := range []time.Duration{time.Millisecond, 50 * time.Millisecond, 3 * time.Second, 4 * time.Minute} {
		var all histogram.Counts
		var list []time.Duration
		for range 20000 {
			d := time.Duration(float64(scale) * (0.5 + rand.ExpFloat64()))
			list = append(list, d)
			all.Add(d)
		}
		slices.Sort(list)
		for _, q := range []float64{0.01, 0.5, 0.9, 0.95, 0.99} {
			truth := list[int(q*float64(len(list)))]
			require.InEpsilon(t, float64(truth), float64(all.Quantile(q)), 0.21, "%v at %v", scale, q)
		}
	}
}

func TestCountsAddUp(t *testing.T) {
	t.Parallel()
	var parts [3]histogram.Counts
	var whole, sum histogram.Counts
	for i := range 3000 {
		d := time.Duration(rand.Int64N(int64(time.Minute)))
		parts[i%3].Add(d)
		whole.Add(d)
	}
	for _, p := range parts {
		sum.Merge(p[:])
	}
	require.Equal(t, whole, sum)
	require.Equal(t, int64(3000), sum.Total())
	require.Equal(t, whole.Quantile(0.5), sum.Quantile(0.5))
}

func TestTheEnds(t *testing.T) {
	t.Parallel()
	var c histogram.Counts
	require.Zero(t, c.Quantile(0.5))
	for _, d := range []time.Duration{-time.Second, 0, time.Nanosecond, 250 * time.Microsecond} {
		c.Add(d)
	}
	require.Equal(t, int64(4), c[0])
	c = histogram.Counts{}
	c.Add(time.Duration(1<<63 - 1))
	require.Equal(t, int64(1), c[histogram.Buckets-1])
	require.Greater(t, c.Quantile(1), 60*24*time.Hour)
	c.Merge(make([]int64, 80))
	c.Merge(append(make([]int64, 79), 1))
	require.Equal(t, int64(2), c[histogram.Buckets-1], "what a newer version told apart")
}
