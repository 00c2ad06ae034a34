package delivery

import (
	"context"
	"errors"
	"math/rand/v2"
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
	// Publish makes requests due, without waiting.
	Publish(requests ...Request)
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
	Counted     bool          // the two below are known
	Unaccounted int           // left over
	Oldest      time.Duration // for how long the oldest of those is due
}

// shardState is what a round knows of a shard.
type shardState struct {
	shard  int
	before time.Time // due times before this are overdue and cannot have a message
	asked  bool      // the broker could be asked
	more   bool      // there may be more to publish
}

// Round publishes what is overdue. Every shard has its share of the round first, then those that have more take what is left, so that none waits
// for another's backlog. While the broker is away it only counts: a lease without a message only delays. What could be done was done when
// there is an error too.
func (r *Reconciler) Round(ctx context.Context, now time.Time) (Report, error) {
	var report Report
	var errs []error
	states, before := make([]*shardState, r.cfg.Shards), make([]time.Time, r.cfg.Shards)
	for shard := range states {
		state, err := r.look(ctx, shard, now)
		states[shard], before[shard] = state, state.before
		errs = append(errs, err)
	}
	publishing, cancel := mostOf(ctx)
	defer cancel()
	// Another order each time: what is left over goes to whoever comes first.
	rand.Shuffle(len(states), func(i, j int) { states[i], states[j] = states[j], states[i] })
	for _, share := range []int{max(r.cfg.PerRound/r.cfg.Shards, 1), r.cfg.PerRound} {
		for _, state := range states {
			n, err := r.publish(publishing, state, min(share, r.cfg.PerRound-report.Published))
			report.Published += n
			errs = append(errs, err)
		}
	}
	var err error
	report.Unaccounted, report.Oldest, err = r.store.Unaccounted(ctx, before)
	report.Counted = err == nil
	return report, errors.Join(append(errs, err)...)
}

// mostOf leaves a quarter of the time for counting what is left over, which is what alerts look at: while Postgres is slow, publishing takes all that it gets.
func mostOf(ctx context.Context) (context.Context, context.CancelFunc) {
	end, ok := ctx.Deadline()
	if !ok {
		return ctx, func() {}
	}
	return context.WithDeadline(ctx, end.Add(-time.Until(end)/4))
}

func (r *Reconciler) look(ctx context.Context, shard int, now time.Time) (*shardState, error) {
	state := &shardState{shard: shard, before: now.Add(-r.cfg.Grace)}
	if !r.broker.Connected() {
		return state, nil
	}
	oldest, err := r.broker.Oldest(ctx, shard)
	if err != nil {
		return state, err
	}
	if queued := oldest.Add(-publishDelay); !oldest.IsZero() && queued.Before(state.before) {
		state.before = queued
	}
	if limit := now.Add(-queuedMost); state.before.Before(limit) {
		state.before = limit
	}
	state.asked, state.more = true, true
	return state, nil
}

// publish publishes at most so many of a shard's overdue deliveries.
func (r *Reconciler) publish(ctx context.Context, state *shardState, most int) (published int, err error) {
	for published < most && state.asked && state.more && r.broker.Connected() && ctx.Err() == nil {
		limit := min(leaseBatch, most-published)
		requests, err := r.store.Overdue(ctx, state.shard, state.before, limit)
		r.broker.Publish(requests...)
		published += len(requests)
		state.more = err == nil && len(requests) == limit
		if err != nil {
			return published, err
		}
	}
	return published, nil
}
