// Package sink has endpoints that count what arrives, for runs in which services die and networks are cut.
package sink

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/google/uuid"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/beaconpost/beaconpost/pkg/uuid7"
)

// Config says how a sink behaves. What is nil is not done.
type Config struct {
	Host string // that it listens on; "": loopback
	// Answer gives the status of the nth request for an event, counted from 1; nil: 200.
	Answer func(id uuid.UUID, nth int) int
	// First hears of the first request for an event, with the time since its acceptance.
	First func(id uuid.UUID, latency time.Duration)
}

// Sink is a machine with endpoints. While it is down, connections to it are refused.
type Sink struct {
	Addr string // host:port

	cfg      Config
	mu       sync.Mutex
	server   *http.Server              // nil while down
	verifier *standardwebhooks.Webhook // nil: signatures are not looked at
	seen     map[uuid.UUID]*arrivals
	unsigned int
}

// arrivals is what came for one event.
type arrivals struct{ requests, taken int }

// Start has one listen on a free port.
func Start(ctx context.Context, cfg Config) (*Sink, error) {
	if cfg.Host == "" {
		cfg.Host = "127.0.0.1"
	}
	s := &Sink{Addr: net.JoinHostPort(cfg.Host, "0"), cfg: cfg, seen: map[uuid.UUID]*arrivals{}}
	if err := s.Up(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// Up listens, for the first time or again, on the same port.
func (s *Sink) Up(ctx context.Context) error {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.Addr)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: http.HandlerFunc(s.handle), ReadHeaderTimeout: 10 * time.Second}
	s.mu.Lock()
	s.Addr, s.server = ln.Addr().String(), server
	s.mu.Unlock()
	go func() { _ = server.Serve(ln) }() // ends with Down
	return nil
}

// Down cuts all connections and refuses others.
func (s *Sink) Down() error {
	s.mu.Lock()
	server := s.server
	s.server = nil
	s.mu.Unlock()
	if server == nil {
		return nil
	}
	return server.Close()
}

// Verify has the signatures of what comes from now on checked by the official library.
func (s *Sink) Verify(secret string) error {
	verifier, err := standardwebhooks.NewWebhook(secret)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.verifier = verifier
	return err
}

func (s *Sink) handle(w http.ResponseWriter, r *http.Request) {
	id, err := uuid.Parse(r.Header.Get("webhook-id"))
	if err != nil {
		return // a monitor's check
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // it was cut off
	}
	status, first := s.take(id, r.Header, body)
	if first && s.cfg.First != nil {
		s.cfg.First(id, time.Since(uuid7.Time(id)))
	}
	w.WriteHeader(status)
}

func (s *Sink) take(id uuid.UUID, header http.Header, body []byte) (status int, first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.verifier != nil && s.verifier.Verify(body, header) != nil {
		s.unsigned++
	}
	a := s.seen[id]
	if a == nil {
		a = &arrivals{}
		s.seen[id] = a
	}
	a.requests++
	status = http.StatusOK
	if s.cfg.Answer != nil {
		status = s.cfg.Answer(id, a.requests)
	}
	if status == http.StatusOK {
		a.taken++
	}
	return status, a.requests == 1
}

// Missing is how many of these were not answered 200.
func (s *Sink) Missing(ids []uuid.UUID) (missing int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		if a := s.seen[id]; a == nil || a.taken == 0 {
			missing++
		}
	}
	return missing
}

// Counts says how many events were answered 200, how many times more than once, and how many requests had no right signature.
func (s *Sink) Counts() (events, repeated, unsigned int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.seen {
		if a.taken > 0 {
			events++
			repeated += a.taken - 1
		}
	}
	return events, repeated, s.unsigned
}

// Close ends sinks; nil ones were not started.
func Close(sinks ...*Sink) error {
	var errs []error
	for _, s := range sinks {
		if s != nil {
			errs = append(errs, s.Down())
		}
	}
	return errors.Join(errs...)
}
