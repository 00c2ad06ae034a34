package gameday

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/beaconpost/beaconpost/e2e/internal/sink"
	"github.com/beaconpost/beaconpost/e2e/internal/stack"
	"github.com/beaconpost/beaconpost/pkg/lifecycle"
)

const postLimit = 30 * time.Second

// flow is a tenant that sends events to a sink.
type flow struct {
	stack    *stack.Stack
	key      string
	sink     *sink.Sink
	pace     time.Duration // between two events; 0: as fast as answers come
	posted   *prometheus.CounterVec
	mu       sync.Mutex
	accepted []uuid.UUID
}

// run sends until ctx ends. A request that fails is not repeated, but counted: what was not accepted is no promise.
func (f *flow) run(ctx context.Context) {
	var all sync.WaitGroup
	defer all.Wait()
	if f.pace == 0 {
		for ctx.Err() == nil {
			f.send(ctx)
		}
		return
	}
	tick := time.NewTicker(f.pace)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C: // an open loop: however long an answer takes, the next event is not later
			all.Go(func() { f.send(ctx) })
		}
	}
}

func (f *flow) send(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), postLimit)
	defer cancel()
	status, answer, err := f.stack.Post(ctx, f.key, http.MethodPost, "/v1/events", []byte(`{"event_type":"order.paid","payload":{"order":"7d1c","total":1999,"currency":"EUR"}}`), "")
	var event struct{ ID uuid.UUID }
	if err != nil || status != http.StatusAccepted || json.Unmarshal(answer, &event) != nil {
		f.posted.WithLabelValues("refused").Inc()
		return
	}
	f.posted.WithLabelValues("accepted").Inc()
	if f.pace > 0 { // of a flood nobody waits for the end
		f.mu.Lock()
		f.accepted = append(f.accepted, event.ID)
		f.mu.Unlock()
	}
}

// missing is how many accepted events have not arrived.
func (f *flow) missing() (accepted, missing int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.accepted), f.sink.Missing(f.accepted)
}

// flood has one tenant send from several connections until it is stopped.
type flood struct {
	stop context.CancelFunc
	wg   sync.WaitGroup
}

func startFlood(ctx context.Context, f *flow, connections int) *flood {
	ctx, cancel := context.WithCancel(ctx)
	all := &flood{stop: cancel}
	for range connections {
		all.wg.Go(func() { f.run(ctx) })
	}
	return all
}

func (f *flood) end() {
	f.stop()
	f.wg.Wait()
}

// settled waits until everything that the flows had accepted has arrived, and gives how much was accepted and how much is missing.
func settled(ctx context.Context, flows []*flow, limit time.Duration) (accepted, missing int) {
	for deadline := time.Now().Add(limit); ; {
		accepted, missing = 0, 0
		for _, f := range flows {
			a, m := f.missing()
			accepted, missing = accepted+a, missing+m
		}
		if missing == 0 || time.Now().After(deadline) || !lifecycle.Wait(ctx, time.Second) {
			return accepted, missing
		}
	}
}
