package delivery

import (
	"context"
	"time"
)

// OverdueStore finds deliveries that nobody seems to work on.
type OverdueStore interface {
	// Overdue leases at most limit deliveries of a shard that were due before a time, oldest first: another caller gets others, and the same again
	// only when they are due for that long again.
	Overdue(ctx context.Context, shard int, before time.Time, limit int) ([]Request, error)
	// Unaccounted counts what Overdue would find, by shard's bounds, and says since when the oldest is due.
	Unaccounted(ctx context.Context, before []time.Time) (count int, oldest time.Duration, err error)
}

// Broker is where due deliveries wait.
type Broker interface {
	// Publish makes a request due, without waiting.
	Publish(r Request)
	// Connected says whether asking and publishing make sense now.
	Connected() bool
	// Oldest says when the oldest message of a shard that is not done was published; the zero time if there is none.
	Oldest(ctx context.Context, shard int) (time.Time, error)
}

// ReconcilerConfig bounds a Reconciler. Every field must be set.
type ReconcilerConfig struct {
	Shards   int
	Grace    time.Duration // how overdue a delivery must be
	PerRound int           // most requests published in a round
}

const (
	leaseBatch = 500
	// publishDelay is the most that may lie between a delivery's due time and the publishing of its message, clocks included.
	publishDelay = 10 * time.Second
	// queuedMost is how long a message may wait at the broker before we stop believing in it.
	queuedMost = 30 * time.Minute
)

// Reconciler publishes what was lost: between commit and publish, with the broker, or with a worker. What still waits at the broker it leaves
// alone, however long that takes: messages are kept in order, so a delivery that is older than every message of its shard has none. It
// keeps no state; any number of replicas may run it.
type Reconciler struct {
	cfg    ReconcilerConfig
	store  OverdueStore
	broker Broker
}

// NewReconciler makes a Reconciler.
func NewReconciler(cfg ReconcilerConfig, store OverdueStore, broker Broker) *Reconciler {
	return &Reconciler{cfg: cfg, store: store, broker: broker}
}

// Report says what a round found.
type Report struct {
	Published   int
	Unaccounted int           // left over
	Oldest      time.Duration // for how long the oldest of those is due
}

// Round publishes what is overdue. While the broker is away it only counts: a lease without a message only delays.
func (r *Reconciler) Round(ctx context.Context, now time.Time) (report Report, err error) {
	before, err := r.bounds(ctx, now)
	if err != nil {
		return report, err
	}
	for shard := 0; shard < r.cfg.Shards && r.broker.Connected(); shard++ {
		n, err := r.shard(ctx, shard, before[shard], r.cfg.PerRound-report.Published)
		report.Published += n
		if err != nil {
			return report, err
		}
	}
	report.Unaccounted, report.Oldest, err = r.store.Unaccounted(ctx, before)
	return report, err
}

// bounds says for each shard which due times are overdue and cannot have a message.
func (r *Reconciler) bounds(ctx context.Context, now time.Time) ([]time.Time, error) {
	before := make([]time.Time, r.cfg.Shards)
	for shard := range before {
		before[shard] = now.Add(-r.cfg.Grace)
		if !r.broker.Connected() {
			continue
		}
		oldest, err := r.broker.Oldest(ctx, shard)
		if err != nil {
			return nil, err
		}
		if queued := oldest.Add(-publishDelay); !oldest.IsZero() && queued.Before(before[shard]) {
			before[shard] = queued
		}
		if limit := now.Add(-queuedMost); before[shard].Before(limit) {
			before[shard] = limit
		}
	}
	return before, nil
}

func (r *Reconciler) shard(ctx context.Context, shard int, before time.Time, most int) (published int, err error) {
	for published < most && r.broker.Connected() {
		limit := min(leaseBatch, most-published)
		requests, err := r.store.Overdue(ctx, shard, before, limit)
		for _, request := range requests {
			r.broker.Publish(request)
		}
		published += len(requests)
		if err != nil || len(requests) < limit {
			return published, err
		}
	}
	return published, nil
}
