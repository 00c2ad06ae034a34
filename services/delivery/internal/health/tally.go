package health

import (
	"sync"
	"time"

	"github.com/beaconpost/beaconpost/services/delivery/internal/delivery"
)

// Tally gathers what attempts show until a Keeper notes it. It is safe for concurrent use.
type Tally struct {
	mu      sync.Mutex
	facts   map[Key]Facts
	retried map[Key]bool      // a retry succeeded: it ended a failure that somebody has noted
	watched map[Key]bool      // a success is news
	failed  map[Key]time.Time // when this replica noted a failure: watched may not know of it yet
	urgent  chan struct{}     // has something when what was gathered cannot wait
}

var _ delivery.Watcher = (*Tally)(nil)

// failedFor is how long a failure that was noted here makes a success news, whatever watched says.
const failedFor = 10 * time.Second

// NewTally makes an empty one.
func NewTally() *Tally {
	return &Tally{
		facts: map[Key]Facts{}, retried: map[Key]bool{}, watched: map[Key]bool{}, failed: map[Key]time.Time{}, urgent: make(chan struct{}, 1),
	}
}

// Recorded implements delivery.Watcher.
func (t *Tally) Recorded(f delivery.Finished) {
	key := Key{f.Job.Tenant, f.Job.Target.EndpointID}
	t.mu.Lock()
	defer t.mu.Unlock()
	have, known := t.facts[key]
	retry := f.Attempt.Number > 1
	if !known && f.Attempt.Succeeded() && !retry && !t.isWatched(key) {
		return // it does well, and did before
	}
	news := FactsOf(f.Attempt)
	t.facts[key] = have.Then(news)
	t.retried[key] = t.retried[key] || retry && f.Attempt.Succeeded()
	if !news.NotBefore.IsZero() || !news.GoneAt.IsZero() {
		select {
		case t.urgent <- struct{}{}:
		default:
		}
	}
}

func (t *Tally) isWatched(key Key) bool {
	_, failed := t.failed[key]
	return failed || t.watched[key]
}

func (t *Tally) watch(watched map[Key]bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.watched = watched
	for key, at := range t.failed {
		if time.Since(at) > failedFor {
			delete(t.failed, key)
		}
	}
}

// take gives what is worth noting and starts anew.
func (t *Tally) take() map[Key]Facts {
	t.mu.Lock()
	defer t.mu.Unlock()
	facts := make(map[Key]Facts, len(t.facts))
	for key, f := range t.facts {
		bad := f.Failures > 0 || !f.NotBefore.IsZero() || !f.GoneAt.IsZero()
		if bad {
			t.failed[key] = time.Now()
		}
		if bad || t.retried[key] || t.isWatched(key) {
			facts[key] = f
		}
	}
	clear(t.facts)
	clear(t.retried)
	return facts
}

// giveBack keeps facts that could not be noted.
func (t *Tally) giveBack(facts map[Key]Facts) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for key, f := range facts {
		t.facts[key] = f.Then(t.facts[key])
		t.retried[key] = true
	}
}
