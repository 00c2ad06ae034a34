// Package histogram counts durations in buckets that are the same everywhere, so that counts of processes, hours and endpoints can be added up.
//
// It owns the buckets and the quantiles; not where counts are kept.
package histogram

import (
	"math"
	"time"
)

const (
	first = 250 * time.Microsecond // the upper end of bucket 0
	// Buckets is how many there are. Each is √2 times as wide as the one before; the last takes everything from about 70 days.
	Buckets = 72
)

// Counts has a number for each bucket. The zero value is empty. It is not safe for concurrent use.
type Counts [Buckets]int64

// Add counts a duration.
func (c *Counts) Add(d time.Duration) { c[bucketOf(d)]++ }

// Merge adds what other has counted; it may be shorter, of an older version.
func (c *Counts) Merge(other []int64) {
	for i, n := range other {
		c[min(i, Buckets-1)] += n
	}
}

// Total is how many durations were counted.
func (c *Counts) Total() (n int64) {
	for _, v := range c {
		n += v
	}
	return n
}

// Quantile estimates the duration that a share q of those counted do not exceed, 0 if there are none: within a bucket they are taken for evenly
// spread, so it is off by a fifth at most.
func (c *Counts) Quantile(q float64) time.Duration {
	total := c.Total()
	if total == 0 {
		return 0
	}
	rank := q * float64(total)
	seen := 0.0
	for i, n := range c {
		if seen+float64(n) >= rank && n > 0 {
			low, high := upperEnd(i-1), upperEnd(i)
			return low + time.Duration(float64(high-low)*max(rank-seen, 0)/float64(n))
		}
		seen += float64(n)
	}
	return upperEnd(Buckets - 1)
}

func bucketOf(d time.Duration) int {
	if d <= first {
		return 0
	}
	i := int(math.Ceil(2 * math.Log2(float64(d)/float64(first))))
	return min(i, Buckets-1)
}

// upperEnd of bucket i; of -1 it is 0.
func upperEnd(i int) time.Duration {
	if i < 0 {
		return 0
	}
	return time.Duration(float64(first) * math.Pow(2, float64(i)/2))
}
