package delivery

import (
	"context"
	"time"
)

// OverdueStore finds deliveries that nobody seems to work on.
type OverdueStore interface {
	// Overdue leases at most limit of them, oldest first: another caller gets others, and the same again only after the grace.
	Overdue(ctx context.Context, limit int) ([]Request, error)
	Unaccounted(ctx context.Context) (count int, oldest time.Duration, err error)
}

// Publisher makes requests due at the broker, without waiting.
type Publisher interface {
	Publish(r Request)
	// Connected says whether publishing makes sense now.
	Connected() bool
}

// Reconciler publishes what was lost: between commit and publish, with the broker, or with a worker. It keeps no state; any number of
// replicas may run it.
type Reconciler struct {
	store     OverdueStore
	publisher Publisher
	perRound  int
}

const leaseBatch = 500

// NewReconciler makes a Reconciler that publishes at most perRound requests each round.
func NewReconciler(store OverdueStore, publisher Publisher, perRound int) *Reconciler {
	return &Reconciler{store: store, publisher: publisher, perRound: perRound}
}

// Round publishes what is overdue and says how many. While the broker is away it does nothing: a lease without a message only
// delays.
func (r *Reconciler) Round(ctx context.Context) (published int, err error) {
	for published < r.perRound && r.publisher.Connected() {
		limit := min(leaseBatch, r.perRound-published)
		requests, err := r.store.Overdue(ctx, limit)
		for _, request := range requests {
			r.publisher.Publish(request)
		}
		published += len(requests)
		if err != nil || len(requests) < limit {
			return published, err
		}
	}
	return published, nil
}
