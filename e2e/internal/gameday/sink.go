package gameday

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/beaconpost/beaconpost/pkg/uuid7"
)

// sink is a machine with endpoints. It answers everything with 200; while it is down, connections to it are refused.
type sink struct {
	addr    string
	latency prometheus.Observer // from acceptance to the first arrival

	mu     sync.Mutex
	server *http.Server // nil while down
	seen   map[uuid.UUID]struct{}
}

func startSink(ctx context.Context, latency prometheus.Observer) (*sink, error) {
	s := &sink{addr: "127.0.0.1:0", latency: latency, seen: map[uuid.UUID]struct{}{}}
	if err := s.up(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// up listens, for the first time or again, on the same port.
func (s *sink) up(ctx context.Context) error {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.addr)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: http.HandlerFunc(s.handle), ReadHeaderTimeout: 10 * time.Second}
	s.mu.Lock()
	s.addr, s.server = ln.Addr().String(), server
	s.mu.Unlock()
	go func() { _ = server.Serve(ln) }() // ends with down
	return nil
}

func (s *sink) down() error {
	s.mu.Lock()
	server := s.server
	s.server = nil
	s.mu.Unlock()
	if server == nil {
		return nil
	}
	return server.Close()
}

func (s *sink) handle(_ http.ResponseWriter, r *http.Request) {
	id, err := uuid.Parse(r.Header.Get("webhook-id"))
	if err != nil {
		return // a monitor's check
	}
	s.mu.Lock()
	_, again := s.seen[id]
	s.seen[id] = struct{}{}
	s.mu.Unlock()
	if !again {
		s.latency.Observe(time.Since(uuid7.Time(id)).Seconds())
	}
}

// has says whether all of these have arrived.
func (s *sink) has(ids []uuid.UUID) (missing int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		if _, ok := s.seen[id]; !ok {
			missing++
		}
	}
	return missing
}

func closeAll(sinks ...*sink) error {
	var errs []error
	for _, s := range sinks {
		if s != nil {
			errs = append(errs, s.down())
		}
	}
	return errors.Join(errs...)
}
