package batch_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/beaconpost/beaconpost/pkg/batch"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// recorder is a flush that takes a second of (fake) time and remembers every batch.
type recorder struct {
	mu       sync.Mutex
	batches  [][]int
	inFlight atomic.Int32
	peak     atomic.Int32
}

func (r *recorder) flush(ctx context.Context, items []int) {
	now := r.inFlight.Add(1)
	defer r.inFlight.Add(-1)
	for peak := r.peak.Load(); now > peak && !r.peak.CompareAndSwap(peak, now); peak = r.peak.Load() {
	}
	r.mu.Lock()
	r.batches = append(r.batches, append([]int(nil), items...))
	r.mu.Unlock()
	select {
	case <-time.After(time.Second):
	case <-ctx.Done():
	}
}

func (r *recorder) all() (items []int) {
	for _, b := range r.batches {
		items = append(items, b...)
	}
	return items
}

func put(t *testing.T, b *batch.Batcher[int], items ...int) {
	t.Helper()
	for _, item := range items {
		require.NoError(t, b.Put(t.Context(), item))
	}
}

func TestBatchesFormWhileAFlushIsInFlight(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var r recorder
		b := batch.New(batch.Config{MaxItems: 3}, r.flush)

		put(t, b, 1)
		synctest.Wait()
		require.Equal(t, [][]int{{1}}, r.batches, "a lone item does not wait")
		put(t, b, 2, 3, 4, 5)
		synctest.Wait()
		require.Equal(t, 4, b.Len())

		require.NoError(t, b.Close(t.Context()))
		require.Equal(t, [][]int{{1}, {2, 3, 4}, {5}}, r.batches)
		require.EqualValues(t, 1, r.peak.Load())
	})
}

func TestWeightBoundsABatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var r recorder
		weight := func(item int) int { return item }
		b := batch.NewSized(batch.Config{MaxItems: 100, MaxBytes: 10}, weight, r.flush)

		put(t, b, 1)
		synctest.Wait()
		put(t, b, 4, 5, 6, 99, 10, 2, 2)
		require.NoError(t, b.Close(t.Context()))
		require.Equal(t, [][]int{{1}, {4, 5, 6}, {99}, {10}, {2, 2}}, r.batches)
	})
}

func TestParallelFlushes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var r recorder
		b := batch.New(batch.Config{MaxItems: 2, Parallel: 3}, r.flush)
		for i := range 20 {
			put(t, b, i)
			synctest.Wait()
		}
		require.NoError(t, b.Close(t.Context()))
		require.EqualValues(t, 3, r.peak.Load())
		require.ElementsMatch(t, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19}, r.all())
	})
}

func TestAnotherFlushStartsWhenItIsWorthIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var r recorder
		b := batch.New(batch.Config{MaxItems: 10, Parallel: 2, Spill: 3}, r.flush)
		put(t, b, 1)
		synctest.Wait()
		put(t, b, 2, 3)
		synctest.Wait()
		require.Len(t, r.batches, 1, "two do not make a flush of their own")
		put(t, b, 4)
		synctest.Wait()
		require.Equal(t, [][]int{{1}, {2, 3, 4}}, r.batches, "three do")
		put(t, b, 5, 6, 7, 8)
		synctest.Wait()
		require.Len(t, r.batches, 2, "no more than two at a time")
		require.Equal(t, 4, b.Len())
		require.NoError(t, b.Close(t.Context()))
		require.Equal(t, []int{5, 6, 7, 8}, r.batches[2])
	})
}

func TestThePaceIsKeptUnderLoadOnly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var r recorder // a flush takes a second
		b := batch.New(batch.Config{MaxItems: 10, Pace: 10 * time.Second}, r.flush)
		after := func(d time.Duration, flushes int) {
			t.Helper()
			time.Sleep(d)
			synctest.Wait()
			require.Len(t, r.batches, flushes)
		}
		put(t, b, 1)
		after(100*time.Millisecond, 1)
		put(t, b, 2)
		after(time.Second, 2) // one item is no load: the next goes as soon as it can
		put(t, b, 1, 2, 3, 4, 5, 6, 7, 8)
		after(time.Second, 3) // at 2 s: a load
		put(t, b, 9)
		after(9800*time.Millisecond, 3)
		after(200*time.Millisecond, 4) // at 12 s
		put(t, b, 1, 2, 3, 4, 5, 6, 7, 8)
		after(time.Second, 5)
		put(t, b, 1, 2, 3)
		after(time.Second, 5)
		require.Equal(t, 3, b.Len())
		require.NoError(t, b.Close(t.Context()), "and the end does not wait for it")
		require.Len(t, r.batches, 6)
	})
}

func TestFullQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var r recorder
		b := batch.New(batch.Config{MaxItems: 10, Queue: 2}, r.flush)
		put(t, b, 1)
		synctest.Wait()
		put(t, b, 2, 3)

		require.False(t, b.TryPut(4))
		gaveUp := errors.New("caller gave up")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Millisecond, gaveUp)
		defer cancel()
		require.ErrorIs(t, b.Put(ctx, 4), gaveUp, "waits for room until ctx ends")
		require.ErrorIs(t, b.Put(ctx, 4), gaveUp, "an ended ctx queues nothing")

		put(t, b, 5) // waits for the flush in flight
		require.True(t, b.TryPut(6))
		require.NoError(t, b.Close(t.Context()))
		require.Equal(t, []int{1, 2, 3, 5, 6}, r.all())
	})
}

func TestClosedRefuses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var r recorder
		b := batch.New(batch.Config{Queue: 1}, r.flush)
		put(t, b, 1)
		synctest.Wait()
		put(t, b, 2)
		blocked := make(chan error)
		go func() { blocked <- b.Put(context.Background(), 3) }()
		synctest.Wait()

		closed := make(chan error)
		go func() { closed <- b.Close(context.Background()) }()
		require.ErrorIs(t, <-blocked, batch.ErrClosed, "Close wakes a Put that waits for room")
		require.ErrorIs(t, b.Put(t.Context(), 4), batch.ErrClosed)
		require.False(t, b.TryPut(5))
		require.NoError(t, <-closed)
		require.NoError(t, b.Close(t.Context()), "twice is fine")
		require.Equal(t, []int{1, 2}, r.all())
	})
}

func TestCloseOutOfTimeStillSettlesEveryItem(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var settled, failed int
		b := batch.New(batch.Config{MaxItems: 1}, func(ctx context.Context, items []int) {
			select {
			case <-ctx.Done():
				failed += len(items)
			case <-time.After(time.Second):
				settled += len(items)
			}
		})
		put(t, b, 1, 2, 3, 4)

		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		require.ErrorIs(t, b.Close(ctx), context.DeadlineExceeded)
		require.NoError(t, b.Close(t.Context()))
		require.Equal(t, []int{1, 3}, []int{settled, failed})
		require.NoError(t, b.Close(ctx), "already closed, whatever ctx says")
	})
}

// Producers race with Close: what was accepted is flushed exactly once, what was refused never.
func TestNothingAcceptedIsLost(t *testing.T) {
	t.Parallel()
	for range 50 {
		var flushed, accepted sync.Map
		var flushes atomic.Int32
		busy := make(chan struct{})
		b := batch.New(batch.Config{MaxItems: 8, Parallel: 3, Queue: 4}, func(_ context.Context, items []int) {
			if flushes.Add(1) == 20 {
				close(busy)
			}
			for _, item := range items {
				_, twice := flushed.LoadOrStore(item, true)
				if twice {
					panic("flushed twice")
				}
			}
		})
		var producers sync.WaitGroup
		for p := range 8 {
			producers.Go(func() {
				for i := p << 32; ; i++ {
					if i%2 == 0 && b.TryPut(i) || b.Put(t.Context(), i) == nil {
						accepted.Store(i, true)
						continue
					}
					return
				}
			})
		}
		<-busy
		require.NoError(t, b.Close(t.Context()))
		producers.Wait()
		require.Equal(t, keys(&accepted), keys(&flushed))
	}
}

func keys(m *sync.Map) map[int]bool {
	found := map[int]bool{}
	m.Range(func(k, _ any) bool { found[k.(int)] = true; return true })
	return found
}

func TestPanicEndsTheProcess(t *testing.T) {
	t.Parallel()
	if os.Getenv("BATCH_TEST_PANIC") != "" {
		b := batch.New(batch.Config{}, func(context.Context, []int) { panic("flush is broken") })
		_ = b.Put(t.Context(), 1)
		_ = b.Close(t.Context())
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestPanicEndsTheProcess$")
	cmd.Env = append(os.Environ(), "BATCH_TEST_PANIC=1")
	out, err := cmd.CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "panic: flush is broken")
}
