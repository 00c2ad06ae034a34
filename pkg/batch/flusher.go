package batch

import (
	"context"
	"sync"
)

// start runs the flushers, and one goroutine that marks their end.
func (b *Batcher[T]) start(ctx context.Context) {
	var flushers sync.WaitGroup
	for range b.cfg.Parallel {
		flushers.Go(func() { b.run(ctx) })
	}
	go func() {
		flushers.Wait()
		b.stop()
		close(b.done)
	}()
}

// run flushes until the queue is closed and empty. It does not look at ctx: accepted items are always flushed.
func (b *Batcher[T]) run(ctx context.Context) {
	items := make([]T, 0, b.cfg.MaxItems)
	for first := range b.queue {
		items = b.gather(append(items[:0], first))
		b.flush(ctx, items)
		clear(items) // what the items point to must not live until the next batch
	}
}

// gather adds what is queued now, up to the limits. It never waits.
func (b *Batcher[T]) gather(items []T) []T {
	bytes := b.size(items[0])
	for len(items) < b.cfg.MaxItems && (b.cfg.MaxBytes <= 0 || bytes < b.cfg.MaxBytes) {
		select {
		case item, open := <-b.queue:
			if !open {
				return items
			}
			items = append(items, item)
			bytes += b.size(item)
		default:
			return items
		}
	}
	return items
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
