package delivery_test

import (
	"context"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/services/delivery/internal/delivery"
)

// A group may be larger than what is free. Every ticket of it gets its turn, and is kept alive until then.
func TestAGroupLargerThanTheSlots(t *testing.T) {
	bubble(t, func(t *testing.T) {
		answer := make(chan struct{})
		w := newWorld(t, 2, func(w *world) {
			w.send = func(_ context.Context, job *delivery.Job) *delivery.Attempt {
				<-answer
				return &delivery.Attempt{Number: job.Attempt, StatusCode: 200}
			}
		})
		list := w.tickets(5)
		w.submit(t, list...)
		time.Sleep(50 * time.Second)
		synctest.Wait()
		require.Equal(t, 2, w.sending)
		for i, k := range list {
			require.Equal(t, 2, k.keptAlive(), i)
			require.Equal(t, "held", k.state(), i)
		}
		close(answer)
		time.Sleep(time.Second)
		synctest.Wait()
		require.Equal(t, map[string]int{"done": 5}, states(list))
		require.Equal(t, 2, w.mostAtOnce)
		w.stop(t)
	})
}

// Stop in the middle of a group: what has a slot is finished, the rest is released.
func TestStopInTheMiddleOfAGroup(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 2, func(w *world) {
			w.send = func(_ context.Context, job *delivery.Job) *delivery.Attempt {
				time.Sleep(time.Second)
				return &delivery.Attempt{Number: job.Attempt, StatusCode: 200}
			}
		})
		list := w.tickets(5)
		w.submit(t, list...)
		others := w.tickets(3)
		w.submit(t, others...)
		synctest.Wait()
		w.stop(t)
		require.Equal(t, map[string]int{"done": 2, "released": 6}, states(append(list, others...)))
	})
}

// Workers wait for the next attempt without holding on to the last one's payload.
func TestIdleWorkersHoldNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var jobs []weak.Pointer[delivery.Job]
		var mu sync.Mutex
		w := newWorld(t, 8, func(w *world) {
			w.send = func(_ context.Context, job *delivery.Job) *delivery.Attempt {
				mu.Lock()
				defer mu.Unlock()
				job.Payload = make([]byte, 1<<20)
				jobs = append(jobs, weak.Make(job))
				return &delivery.Attempt{Number: job.Attempt, StatusCode: 200}
			}
		})
		w.submit(t, w.tickets(8)...)
		time.Sleep(time.Second)
		synctest.Wait()
		require.Len(t, jobs, 8)
		w.mu.Lock()
		w.recorded = nil
		w.mu.Unlock()
		held := func() (n int) {
			for _, job := range jobs {
				if job.Value() != nil {
					n++
				}
			}
			return n
		}
		runtime.GC()
		runtime.GC()
		require.Zero(t, held())
		w.stop(t)
	})
}
