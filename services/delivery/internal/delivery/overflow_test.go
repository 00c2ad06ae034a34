package delivery_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/services/delivery/internal/delivery"
)

// hang makes attempts at one endpoint wait until the test lets go; others answer.
func hang(w *world, release chan struct{}, hanging map[uuid.UUID]bool) {
	endpoint := uuid.New()
	w.endpointOf = func(id uuid.UUID) uuid.UUID {
		if hanging[id] {
			return endpoint
		}
		return id
	}
	w.send = func(ctx context.Context, job *delivery.Job) *delivery.Attempt {
		if hanging[job.ID] {
			select {
			case <-release:
			case <-ctx.Done():
				return nil
			}
		}
		return &delivery.Attempt{Number: job.Attempt, StatusCode: 200, StartedAt: time.Now()}
	}
}

// What waits for an endpoint that hangs is parked after a second; it holds nobody up, and nothing is attempted that was parked.
func TestWhatWaitsForTooLongIsParked(t *testing.T) {
	bubble(t, func(t *testing.T) {
		release, hanging := make(chan struct{}), map[uuid.UUID]bool{}
		w := newWorld(t, 100, func(w *world) { hang(w, release, hanging) })
		stuck := w.tickets(20)
		for _, k := range stuck {
			k.request.Tenant = stuck[0].request.Tenant
			hanging[k.request.ID] = true
		}
		w.submit(t, stuck...)
		other := w.tickets(5)
		w.submit(t, other...)
		synctest.Wait()
		require.Equal(t, map[string]int{"done": 5}, states(other))
		require.Equal(t, map[string]int{"held": 20}, states(stuck))
		time.Sleep(2 * time.Second)
		synctest.Wait()
		require.Equal(t, map[string]int{"held": 4, "done": 16}, states(stuck))
		require.Len(t, w.parked, 16)
		require.Equal(t, 16, w.overflowed)
		close(release)
		synctest.Wait()
		require.Equal(t, map[string]int{"done": 20}, states(stuck))
		require.Len(t, w.recorded, 9)
		w.stop(t)
	})
}

// A claim is given up for what was not attempted.
func TestAStopHandsBackWhatWaits(t *testing.T) {
	bubble(t, func(t *testing.T) {
		release, hanging := make(chan struct{}), map[uuid.UUID]bool{}
		w := newWorld(t, 100, func(w *world) {
			w.claimed = true
			hang(w, release, hanging)
		})
		stuck := w.tickets(10)
		for _, k := range stuck {
			k.request.Tenant = stuck[0].request.Tenant
			hanging[k.request.ID] = true
		}
		w.submit(t, stuck...)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		require.NoError(t, w.engine.Stop(ctx))
		require.Equal(t, map[string]int{"released": 10}, states(stuck))
		require.Len(t, w.unclaimed, 10)
		require.Empty(t, w.recorded)
		require.Zero(t, w.engine.InFlight())
	})
}
