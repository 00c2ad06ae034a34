package monitor

import (
	"context"
	"sync"
	"time"
)

const (
	canaryEvery   = 5 * time.Second
	canaryTimeout = 2 * time.Second
	canaryFresh   = time.Second // so young a success counts for a check that began a moment after it
)

// Canaries are places that are there when the network is: a prober that reaches none of them has no say about others. It is safe for concurrent use.
type Canaries struct {
	reach  []func(ctx context.Context) error
	rounds sync.WaitGroup
	mu     sync.Mutex
	upAt   time.Time     // when one was reached last: the start of that attempt
	backAt time.Time     // when one was reached for the first time after none was
	asking chan struct{} // closed when the round under way is over; nil: none is
	up     bool          // what the last round said
}

var _ Egress = (*Canaries)(nil)

// NewCanaries makes canaries of functions that try to reach a place each. Without any, the network is believed to be there.
func NewCanaries(reach ...func(ctx context.Context) error) *Canaries {
	return &Canaries{reach: reach, up: true}
}

// Run looks every few seconds, until ctx ends, so that IsUp is not old.
func (c *Canaries) Run(ctx context.Context) {
	tick := time.NewTicker(canaryEvery)
	defer tick.Stop()
	for {
		c.Up(ctx, time.Now())
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Stop waits for a round that is under way, which takes as long as canaryTimeout at most. Nobody asks any more.
func (c *Canaries) Stop(context.Context) error {
	c.rounds.Wait()
	return nil
}

// IsUp is what was found out last.
func (c *Canaries) IsUp() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.up
}

// Up implements Egress: one was reached just now, and as far as is known it was so since then. A check that began before the network was seen to be back may
// have failed because of it. Whoever asks while a round is under way waits for that one.
func (c *Canaries) Up(ctx context.Context, since time.Time) bool {
	if len(c.reach) == 0 {
		return true
	}
	now := time.Now()
	for range 2 {
		c.mu.Lock()
		if c.up && c.upAt.Add(canaryFresh).After(now) {
			back := c.backAt
			c.mu.Unlock()
			return !back.After(since)
		}
		asking := c.asking
		if asking == nil {
			asking = make(chan struct{})
			c.asking = asking
			c.rounds.Go(func() { c.round(context.WithoutCancel(ctx), asking) })
		}
		c.mu.Unlock()
		select {
		case <-asking:
		case <-ctx.Done():
			return false
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.up && c.upAt.Add(canaryFresh).After(now) && !c.backAt.After(since)
}

// round asks all canaries at the same time; the first that answers is enough.
func (c *Canaries) round(ctx context.Context, over chan struct{}) {
	ctx, cancel := context.WithTimeout(ctx, canaryTimeout)
	defer cancel()
	began := time.Now()
	answers := make(chan error, len(c.reach))
	for _, reach := range c.reach {
		c.rounds.Go(func() { answers <- reach(ctx) })
	}
	up := false
	for range c.reach {
		if err := <-answers; err == nil {
			up = true
			break
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if up && !c.up {
		c.backAt = began
	}
	if c.up = up; up {
		c.upAt = began
	}
	c.asking = nil
	close(over)
}
