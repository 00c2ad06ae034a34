package stream

import (
	"slices"
	"time"

	"github.com/beaconpost/beaconpost/proto/subject"
)

// Deliveries that are announced together go out at once, those of a shard as one message. But when many are announced of which few share a
// shard, as with thousands of tenants under load, the broker would have a message for every few of them: then those of gatherFor go out together.
const (
	gatherFrom = 32 // deliveries announced together, from which on it counts as load
	gatherEach = 16 // deliveries of a message that need no more company
	gatherMost = 8 * groupMost
	gatherFor  = 20 * time.Millisecond
)

// gatherer holds what waits for company. It belongs to one goroutine.
type gatherer struct {
	shards [subject.Shards][]DeliveryReady
	count  int
	until  time.Time // what is added goes out then; zero: at once
}

func (g *gatherer) add(due []DeliveryReady) {
	for _, d := range due {
		shard := subject.Shard(d.Tenant.UUID())
		g.shards[shard] = append(g.shards[shard], d)
	}
	g.count += len(due)
}

// wait says for how long what was added may wait yet; not at all if that is 0 or less.
func (g *gatherer) wait(now time.Time) time.Duration {
	if g.until.IsZero() || g.count >= gatherMost {
		return 0
	}
	return g.until.Sub(now)
}

// take gives what was added by message, and decides whether the next has to wait.
func (g *gatherer) take(now time.Time) [][]DeliveryReady {
	var groups [][]DeliveryReady
	for shard, group := range g.shards {
		for part := range slices.Chunk(group, groupMost) {
			groups = append(groups, part)
		}
		g.shards[shard] = nil
	}
	if g.until = (time.Time{}); g.count >= gatherFrom && g.count < gatherEach*len(groups) {
		g.until = now.Add(gatherFor)
	}
	g.count = 0
	return groups
}
