package batch

import (
	"context"
	"sync"
	"time"
)

// collector forms batches and hands them to flushes. It is the only reader of the queue.
type collector[T any] struct {
	*Batcher[T]
	items    []T // of the next batch
	bytes    int // their weight
	inFlight int
	done     chan []T // the slices of flushes that ended
	free     [][]T    // slices for next batches

	notBefore time.Time   // pace: when the next flush may start
	timer     *time.Timer // runs out at notBefore while somebody waits for it
}

// paceFrom is the size of a batch that says there is a load.
const paceFrom = 8

// start runs the collector, and marks the end of it and its flushes.
func (b *Batcher[T]) start(ctx context.Context) {
	c := &collector[T]{Batcher: b, done: make(chan []T, b.cfg.Parallel), timer: time.NewTimer(0)}
	go func() {
		c.run(ctx)
		b.stop()
		close(b.done)
	}()
}

// run flushes until the queue is closed and empty. It does not look at ctx: accepted items are always flushed.
func (c *collector[T]) run(ctx context.Context) {
	var flushes sync.WaitGroup
	defer flushes.Wait()
	for open := true; ; {
		if open = c.fill(open); !open && len(c.items) == 0 {
			return
		}
		if !c.ready(open) {
			open = c.wait(open)
			continue
		}
		items := c.items
		c.items, c.bytes = c.spare(), 0
		if c.notBefore = (time.Time{}); c.cfg.Pace > 0 && len(items) >= paceFrom {
			c.notBefore = time.Now().Add(c.cfg.Pace)
		}
		c.forming.Store(0)
		c.inFlight++
		flushes.Go(func() {
			c.flush(ctx, items)
			clear(items) // what the items point to must not live until the next batch
			c.done <- items[:0]
		})
	}
}

// fill adds what is queued now, up to the limits, without waiting. It reports whether more can come.
func (c *collector[T]) fill(open bool) bool {
	for open && !c.full() {
		select {
		case item, ok := <-c.queue:
			if open = ok; ok {
				c.add(item)
			}
		default:
			return true
		}
	}
	return open
}

func (c *collector[T]) add(item T) {
	c.items = append(c.items, item)
	c.bytes += c.size(item)
	c.forming.Store(int64(len(c.items)))
}

func (c *collector[T]) full() bool {
	return len(c.items) >= c.cfg.MaxItems || c.cfg.MaxBytes > 0 && c.bytes >= c.cfg.MaxBytes
}

// ready says whether the batch is flushed now: at once when no flush is in flight and the pace allows it, beside others when it is worth it.
func (c *collector[T]) ready(open bool) bool {
	switch {
	case len(c.items) == 0 || c.inFlight >= c.cfg.Parallel:
		return false
	case c.full() || !open:
		return true
	case c.inFlight > 0 && len(c.items) < c.cfg.Spill:
		return false
	}
	return c.pause() <= 0
}

// pause is how long the pace asks to wait.
func (c *collector[T]) pause() time.Duration {
	if c.notBefore.IsZero() {
		return 0
	}
	return time.Until(c.notBefore)
}

// wait waits for a flush to end, an item to come, or the pace to allow a flush.
func (c *collector[T]) wait(open bool) bool {
	queue := c.queue
	var allowed <-chan time.Time
	if pause := c.pause(); pause > 0 && len(c.items) > 0 && c.inFlight < c.cfg.Parallel {
		c.timer.Reset(pause)
		defer c.timer.Stop()
		allowed, queue = c.timer.C, nil // what comes meanwhile is taken then, without waking for each
	}
	if !open || c.inFlight >= c.cfg.Parallel {
		queue = nil
	}
	select {
	case <-allowed:
		return open
	case item, ok := <-queue:
		if ok {
			c.add(item)
		}
		return ok
	case items := <-c.done:
		c.inFlight--
		c.free = append(c.free, items)
		return open
	}
}

func (c *collector[T]) spare() []T {
	if n := len(c.free); n > 0 {
		items := c.free[n-1]
		c.free = c.free[:n-1]
		return items
	}
	return nil
}

// refuse ends the intake once. Waking the blocked Puts before taking the lock is what lets it take the lock; and while
// it holds the lock nobody sends, so closing the queue cannot panic and every accepted item is in it.
func (b *Batcher[T]) refuse() {
	b.once.Do(func() {
		close(b.closing)
		b.mu.Lock()
		defer b.mu.Unlock()
		b.closed = true
		close(b.queue)
	})
}
