// Package batch commits many items at the price of one: natural group commit.
//
// It owns the queue, the flushers and their orderly end. It does not own what a flush does, nor how a caller learns the
// fate of its item: an item carries its own answer (a channel, a callback), and flush settles it.
//
// What is queued is flushed; what arrives meanwhile is the next batch. So a lone item is flushed at once, and the batches grow with the
// load. There is no waiting for a batch to fill. Only under load, after a batch of some size, Config.Pace keeps the flushes apart.
package batch

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// ErrClosed says that an item was not accepted because the batcher is closed or closing.
var ErrClosed = errors.New("batcher is closed")

// Config bounds a Batcher. Zero fields take the default.
type Config struct {
	MaxItems int // most items per flush; default 500
	MaxBytes int // a flush takes no further item once it weighs this much; 0 is no bound; needs NewSized
	Parallel int // most flushes in flight at the same time; default 1
	Spill    int // with a flush in flight, another one starts only when so many items wait; default 1, at most MaxItems
	// Pace is the least time from the start of a flush to the start of the next, kept only when the former had 8 items or more and the
	// latter is not full: a stream of items is then flushed in fewer, larger batches. 0 keeps nothing.
	Pace  time.Duration
	Queue int // items that wait beside those of the next batch; default 4 × MaxItems
}

// FlushFunc handles one batch and settles every item in it. It owns items until it returns; the slice is reused
// afterwards. ctx ends only when Close ran out of time: flush then still settles its items, as failed, and quickly.
// Parallel calls happen at the same time. A panic is not recovered: it ends the process.
type FlushFunc[T any] func(ctx context.Context, items []T)

// Batcher gathers items into batches. It is safe for concurrent use, and must be closed.
type Batcher[T any] struct {
	cfg   Config
	size  func(T) int
	flush FlushFunc[T]

	queue   chan T
	forming atomic.Int64  // items of the next batch, which have left the queue
	want    atomic.Int64  // the collector is to be woken when the queue has so many items; 0: it is not
	wake    chan struct{} // wakes it
	closing chan struct{} // closed first: wakes the blocked Puts
	done    chan struct{} // closed last: every flush has ended
	stop    context.CancelFunc

	once   sync.Once    // refuse
	mu     sync.RWMutex // held for reading while an item enters queue, for writing while queue is closed
	closed bool
}

// New starts a batcher. cfg.MaxBytes is ignored.
func New[T any](cfg Config, flush FlushFunc[T]) *Batcher[T] {
	cfg.MaxBytes = 0
	return NewSized(cfg, func(T) int { return 0 }, flush)
}

// NewSized is New for items of differing weight: size gives the bytes of one, and a flush that has reached cfg.MaxBytes
// takes no more. A flush can so exceed MaxBytes by less than one item; an item is never refused for its size.
func NewSized[T any](cfg Config, size func(T) int, flush FlushFunc[T]) *Batcher[T] {
	cfg = cfg.withDefaults()
	ctx, stop := context.WithCancel(context.Background())
	b := &Batcher[T]{
		cfg: cfg, size: size, flush: flush, stop: stop,
		queue:   make(chan T, cfg.Queue),
		wake:    make(chan struct{}, 1),
		closing: make(chan struct{}),
		done:    make(chan struct{}),
	}
	b.start(ctx)
	return b
}

func (c Config) withDefaults() Config {
	if c.MaxItems <= 0 {
		c.MaxItems = 500
	}
	if c.Parallel <= 0 {
		c.Parallel = 1
	}
	c.Spill = min(max(c.Spill, 1), c.MaxItems)
	if c.Queue <= 0 {
		c.Queue = 4 * c.MaxItems
	}
	return c
}

// Put queues item, and blocks while the queue is full. nil means accepted: item will be part of exactly one flush. An
// error means not accepted: ErrClosed, or the cause of ctx's end.
func (b *Batcher[T]) Put(ctx context.Context, item T) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.closed {
		return ErrClosed
	}
	select {
	case b.queue <- item:
		b.nudge()
		return nil
	case <-b.closing:
		return ErrClosed
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// TryPut queues item without waiting. It returns false, and does not accept item, if the queue is full or the batcher
// closed.
func (b *Batcher[T]) TryPut(item T) bool {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.closed {
		return false
	}
	select {
	case b.queue <- item:
		b.nudge()
		return true
	default:
		return false
	}
}

// nudge wakes the collector if the queue has what it waits for.
func (b *Batcher[T]) nudge() {
	if want := b.want.Load(); want > 0 && int64(len(b.queue)) >= want {
		b.rouse()
	}
}

func (b *Batcher[T]) rouse() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// Len gives the number of accepted items that no flush has taken yet.
func (b *Batcher[T]) Len() int { return len(b.queue) + int(b.forming.Load()) }

// Close refuses further items, flushes the queued ones and waits for all flushes. When ctx ends first, the flushes' ctx
// is cancelled and Close returns an error at once; the flushers still settle every accepted item, and another Close waits
// for them. It may be called repeatedly and concurrently.
func (b *Batcher[T]) Close(ctx context.Context) error {
	b.refuse()
	select {
	case <-b.done:
		return nil
	case <-ctx.Done():
	}
	b.stop()
	select {
	case <-b.done:
		return nil
	default:
		return fmt.Errorf("close batcher with %d items queued: %w", b.Len(), context.Cause(ctx))
	}
}
