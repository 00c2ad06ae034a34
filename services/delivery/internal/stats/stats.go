// Package stats counts what becomes of endpoints' attempts and deliveries, by hour.
//
// It counts in memory and stores every few seconds: what a process that dies had not stored is missing from these counts, and from nothing else.
package stats

import (
	"context"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/beaconpost/beaconpost/pkg/histogram"
	"github.com/beaconpost/beaconpost/pkg/lifecycle"
	"github.com/beaconpost/beaconpost/pkg/tenant"
	"github.com/beaconpost/beaconpost/pkg/uuid7"
	"github.com/beaconpost/beaconpost/services/delivery/internal/delivery"
)

// Key is an hour of an endpoint.
type Key struct {
	Tenant   tenant.ID
	Endpoint uuid.UUID
	Hour     time.Time // its beginning, UTC
}

// Counts are what happened in it.
type Counts struct {
	Succeeded, Failed    int64 // attempts
	Delivered, Exhausted int64 // deliveries
	Attempts             histogram.Counts
	Latencies            histogram.Counts // from acceptance to delivery
}

// Store adds counts to those that are stored.
type Store interface {
	AddStats(ctx context.Context, counts map[Key]*Counts) error
}

const (
	storeEvery = 10 * time.Second
	// Stored in handfuls with pauses: a thousand rows at once would be noticed by whoever delivers meanwhile.
	storeBatch = 32
	storePause = 20 * time.Millisecond
)

// Counter counts results. It is safe for concurrent use. Stop it.
type Counter struct {
	store   Store
	trouble func(doing string, err error)
	group   *lifecycle.Group

	mu     sync.Mutex
	counts map[Key]*Counts
}

var _ delivery.Watcher = (*Counter)(nil)

// NewCounter starts a counter.
func NewCounter(store Store, trouble func(doing string, err error)) *Counter {
	c := &Counter{store: store, trouble: trouble, group: lifecycle.NewGroup(context.Background()), counts: map[Key]*Counts{}}
	c.group.Every(storeEvery, func(ctx context.Context) {
		// What was begun is finished: cut off, nobody would know whether it was added.
		c.flush(context.WithoutCancel(ctx))
	})
	return c
}

// Recorded implements delivery.Watcher.
func (c *Counter) Recorded(f delivery.Finished) {
	ended := f.Attempt.StartedAt.Add(f.Attempt.Duration).UTC()
	key := Key{f.Job.Tenant, f.Job.Target.EndpointID, ended.Truncate(time.Hour)}
	c.mu.Lock()
	defer c.mu.Unlock()
	of := c.counts[key]
	if of == nil {
		of = &Counts{}
		c.counts[key] = of
	}
	if !f.Attempt.Succeeded() {
		of.Failed++
		if f.Outcome.Status == delivery.Exhausted {
			of.Exhausted++
		}
		return
	}
	of.Succeeded++
	of.Delivered++
	of.Attempts.Add(f.Attempt.Duration)
	of.Latencies.Add(ended.Sub(uuid7.Time(f.Job.EventID)))
}

// Stop stores what is left.
func (c *Counter) Stop(ctx context.Context) error {
	err := c.group.Stop(ctx)
	c.flush(ctx)
	return err
}

func (c *Counter) flush(ctx context.Context) {
	c.mu.Lock()
	counts := c.counts
	c.counts = map[Key]*Counts{}
	c.mu.Unlock()
	if len(counts) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 6*storeEvery)
	defer cancel()
	for len(counts) > 0 {
		batch := make(map[Key]*Counts, storeBatch)
		for key, n := range counts {
			if len(batch) == storeBatch {
				break
			}
			batch[key] = n
			delete(counts, key)
		}
		if err := c.store.AddStats(ctx, batch); err != nil {
			c.trouble("store statistics", err)
			c.giveBack(batch)
			c.giveBack(counts)
			return
		}
		if len(counts) > 0 && !lifecycle.Wait(ctx, storePause) {
			c.giveBack(counts)
			return
		}
	}
}

// giveBack keeps counts that could not be stored, for a while: an hour without a database is worth no more memory than this.
func (c *Counter) giveBack(counts map[Key]*Counts) {
	const most = 100000
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, n := range counts {
		if of := c.counts[key]; of != nil {
			of.Succeeded, of.Failed, of.Delivered, of.Exhausted = of.Succeeded+n.Succeeded, of.Failed+n.Failed, of.Delivered+n.Delivered, of.Exhausted+n.Exhausted
			of.Attempts.Merge(n.Attempts[:])
			of.Latencies.Merge(n.Latencies[:])
		} else if len(c.counts) < most {
			c.counts[key] = n
		}
	}
}
