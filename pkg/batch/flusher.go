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

	notBefore time.Time   // pace: when the next flush may start; zero: at once
	peak      int         // about the most items that batches had lately
	timer     *time.Timer // runs out at notBefore while the collector waits for it
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
		// Read once: if the clock went on between the two, one could refuse for a pace that the other no longer waits for.
		pause := c.pause()
		if !c.ready(open, pause) {
			open = c.wait(open, pause)
			continue
		}
		items := c.items
		c.items, c.bytes = c.spare(), 0
		c.keepPace(len(items))
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

// keepPace notes that a flush of n items starts.
func (c *collector[T]) keepPace(n int) {
	c.peak = max(n, c.peak-c.peak/8)
	if c.notBefore = (time.Time{}); c.cfg.Pace > 0 && n >= paceFrom {
		c.notBefore = time.Now().Add(c.cfg.Pace)
	}
}

// ready says whether the batch is flushed now: at once when no flush is in flight and the pace allows it, beside others when it is worth it.
func (c *collector[T]) ready(open bool, pause time.Duration) bool {
	switch {
	case len(c.items) == 0 || c.inFlight >= c.cfg.Parallel:
		return false
	case c.full() || !open:
		return true
	}
	return len(c.items) >= c.enough(pause)
}

// enough is the size from which the batch is flushed, given what is in flight and the pace.
func (c *collector[T]) enough(pause time.Duration) int {
	n := 1
	if c.inFlight > 0 {
		n = c.cfg.Spill
	}
	if pause > 0 {
		n = max(n, c.peak)
	}
	return min(n, c.cfg.MaxItems)
}

// pause is how long the pace asks to wait.
func (c *collector[T]) pause() time.Duration {
	if c.notBefore.IsZero() {
		return 0
	}
	return time.Until(c.notBefore)
}

// wait waits until there may be something to flush: for a first item, for enough items, for the pace, or for a flush to end.
func (c *collector[T]) wait(open bool, pause time.Duration) bool {
	queue := c.queue
	var allowed <-chan time.Time
	switch {
	case !open || c.inFlight >= c.cfg.Parallel:
		queue = nil
	case len(c.items) > 0:
		queue = nil // what comes is taken when it is enough, without waking for each item
		missing := max(c.enough(pause)-len(c.items), 1)
		c.want.Store(int64(missing))
		defer c.want.Store(0)
		if len(c.queue) >= missing {
			return open
		}
		if pause > 0 {
			c.timer.Reset(pause)
			defer c.timer.Stop()
			allowed = c.timer.C
		}
	}
	select {
	case <-c.wake:
		return open
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
		b.rouse() // to find the queue closed
	})
}
