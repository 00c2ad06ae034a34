package health

import (
	"sync"

	"github.com/beaconpost/beaconpost/services/delivery/internal/delivery"
)

// Tally gathers what attempts show until a Keeper notes it. It is safe for concurrent use.
type Tally struct {
	mu      sync.Mutex
	facts   map[Key]Facts
	watched map[Key]bool  // a success is news
	urgent  chan struct{} // has something when what was gathered cannot wait
}

var _ delivery.Watcher = (*Tally)(nil)

// NewTally makes an empty one.
func NewTally() *Tally {
	return &Tally{facts: map[Key]Facts{}, watched: map[Key]bool{}, urgent: make(chan struct{}, 1)}
}

// Recorded implements delivery.Watcher.
func (t *Tally) Recorded(f delivery.Finished) {
	key := Key{f.Job.Tenant, f.Job.Target.EndpointID}
	t.mu.Lock()
	defer t.mu.Unlock()
	have, known := t.facts[key]
	if !known && f.Attempt.Succeeded() && !t.watched[key] {
		return // it does well, and did before
	}
	news := FactsOf(f.Attempt)
	t.facts[key] = have.Then(news)
	if !news.NotBefore.IsZero() || !news.GoneAt.IsZero() {
		select {
		case t.urgent <- struct{}{}:
		default:
		}
	}
}

func (t *Tally) watch(watched map[Key]bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.watched = watched
}

// take gives what is worth noting and starts anew.
func (t *Tally) take() map[Key]Facts {
	t.mu.Lock()
	defer t.mu.Unlock()
	facts := make(map[Key]Facts, len(t.facts))
	for key, f := range t.facts {
		if f.Failures > 0 || !f.NotBefore.IsZero() || !f.GoneAt.IsZero() || t.watched[key] {
			facts[key] = f
		}
	}
	clear(t.facts)
	return facts
}

// giveBack keeps facts that could not be noted.
func (t *Tally) giveBack(facts map[Key]Facts) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for key, f := range facts {
		t.facts[key] = f.Then(t.facts[key])
	}
}
