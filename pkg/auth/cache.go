package auth

import (
	"crypto/sha256"
	"maps"
	"sync"
	"time"
)

// cache remembers values for a time under a hash. It holds at most size entries, in two halves: when the young
// half is full it becomes the old one, and what was in the old half is forgotten. An entry that is read again is not
// renewed: its time runs from when it was put.
type cache[V any] struct {
	half int

	mu         sync.Mutex
	young, old map[[sha256.Size]byte]cached[V]
	removals   uint64
}

type cached[V any] struct {
	value V
	put   time.Time
}

func newCache[V any](size int) *cache[V] {
	return &cache[V]{half: max(size/2, 1), young: map[[sha256.Size]byte]cached[V]{}}
}

// get gives what was put no longer ago than ttl.
func (c *cache[V]) get(key [sha256.Size]byte, ttl time.Duration) (value V, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	entry, ok := c.young[key]
	if !ok {
		entry, ok = c.old[key]
	}
	if !ok || time.Since(entry.put) >= ttl {
		return value, false
	}
	return entry.value, true
}

// epoch changes with every removal. A value read from the truth must be put with the epoch of before it was read.
func (c *cache[V]) epoch() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.removals
}

func (c *cache[V]) put(key [sha256.Size]byte, value V, epoch uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if epoch != c.removals {
		return
	}
	if len(c.young) >= c.half {
		c.old, c.young = c.young, make(map[[sha256.Size]byte]cached[V])
	}
	c.young[key] = cached[V]{value: value, put: time.Now()}
}

func (c *cache[V]) remove(match func(V) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.removals++
	for _, half := range []map[[sha256.Size]byte]cached[V]{c.young, c.old} {
		maps.DeleteFunc(half, func(_ [sha256.Size]byte, entry cached[V]) bool { return match(entry.value) })
	}
}
