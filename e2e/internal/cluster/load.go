package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/google/uuid"

	"github.com/beaconpost/beaconpost/e2e/internal/sink"
	"github.com/beaconpost/beaconpost/pkg/lifecycle"
	"github.com/beaconpost/beaconpost/pkg/uuid7"
)

const (
	tryLimit   = 5 * time.Second // that a producer gives a request
	giveUp     = 90 * time.Second
	firstPause = 100 * time.Millisecond
	mostPause  = 2 * time.Second
)

// flow is a tenant that posts events, and the endpoints that each of them goes to.
type flow struct {
	key   string
	sinks []*sink.Sink

	mu       sync.Mutex
	accepted []uuid.UUID
}

// window is what happened to requests and events that were begun in a span of time.
type window struct {
	from, until time.Time

	mu       sync.Mutex
	posted   []time.Duration // from the first try to the 202
	failed   map[string]int  // tries, by what happened
	gaveUp   int
	arrivals []time.Duration // from acceptance to the first request
}

// clock has the windows one after the other.
type clock struct {
	mu      sync.Mutex
	windows []*window
}

// begin ends the window before.
func (c *clock) begin() *window {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if len(c.windows) > 0 {
		c.windows[len(c.windows)-1].until = now
	}
	w := &window{from: now, failed: map[string]int{}}
	c.windows = append(c.windows, w)
	return w
}

// at is the window of a moment.
func (c *clock) at(t time.Time) *window {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range slices.Backward(c.windows) {
		if !t.Before(w.from) {
			return w
		}
	}
	return c.windows[0]
}

// arrived is for sinks.
func (c *clock) arrived(id uuid.UUID, latency time.Duration) {
	w := c.at(uuid7.Time(id))
	w.mu.Lock()
	defer w.mu.Unlock()
	w.arrivals = append(w.arrivals, latency)
}

// load posts the events of a flow, an event each pace, however long answers take, until ctx ends. When it returns every request has its answer.
func (s *system) load(ctx context.Context, f *flow, pace time.Duration) {
	var all sync.WaitGroup
	defer all.Wait()
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			all.Go(func() { s.post(context.WithoutCancel(ctx), f) })
		}
	}
}

// post is what a careful producer does: a request that fails is repeated with the same Idempotency-Key.
func (s *system) post(ctx context.Context, f *flow) {
	began, key := time.Now(), uuid.NewString()
	w := s.clock.at(began)
	for pause := firstPause; time.Since(began) < giveUp; pause = min(2*pause, mostPause) {
		id, failure := s.try(ctx, f, key)
		if failure == "" {
			f.mu.Lock()
			f.accepted = append(f.accepted, id)
			f.mu.Unlock()
			w.mu.Lock()
			w.posted = append(w.posted, time.Since(began))
			w.mu.Unlock()
			return
		}
		w.mu.Lock()
		w.failed[failure]++
		w.mu.Unlock()
		lifecycle.Wait(ctx, pause/2+rand.N(pause))
	}
	w.mu.Lock()
	w.gaveUp++
	w.mu.Unlock()
}

func (s *system) try(ctx context.Context, f *flow, key string) (id uuid.UUID, failure string) {
	ctx, cancel := context.WithTimeout(ctx, tryLimit)
	defer cancel()
	status, answer, err := s.stack.Post(ctx, f.key, http.MethodPost, "/v1/events", []byte(`{"event_type":"order.paid","payload":{"order":"7d1c","total":1999,"currency":"EUR"}}`), key)
	switch {
	case err != nil:
		return uuid.Nil, describe(err)
	case status != http.StatusAccepted:
		return uuid.Nil, strconv.Itoa(status)
	}
	var event struct{ ID uuid.UUID }
	if err := json.Unmarshal(answer, &event); err != nil {
		return uuid.Nil, "answer cannot be read"
	}
	return event.ID, ""
}

// describe is a few words for what a client sees.
func describe(err error) string {
	timeout, isTimeout := errors.AsType[net.Error](err)
	switch {
	case isTimeout && timeout.Timeout():
		return "timeout"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		return "connection closed"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	}
	return err.Error()
}

// missing is how many accepted events have not been taken by all of their endpoints.
func (s *system) missing() (accepted, missing int) {
	for _, f := range s.flows {
		f.mu.Lock()
		ids := slices.Clone(f.accepted)
		f.mu.Unlock()
		accepted += len(ids)
		for _, to := range f.sinks {
			missing += to.Missing(ids)
		}
	}
	return accepted, missing
}
