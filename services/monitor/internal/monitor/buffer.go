package monitor

import (
	"container/list"
	"sync"
	"time"
)

// buffer knows since when results wait to be recorded, those that are being recorded included.
type buffer struct {
	mu    sync.Mutex
	since list.List // of time.Time, the oldest first
}

// enter notes that a result waits from now on, and gives what leave needs.
func (b *buffer) enter() *list.Element {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.since.PushBack(time.Now())
}

// leave is for a result that is recorded, or never will be.
func (b *buffer) leave(e *list.Element) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.since.Remove(e)
}

// age is for how long the oldest has waited; 0: none waits.
func (b *buffer) age() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	oldest := b.since.Front()
	if oldest == nil {
		return 0
	}
	at, _ := oldest.Value.(time.Time) // enter puts nothing else there
	return time.Since(at)
}
