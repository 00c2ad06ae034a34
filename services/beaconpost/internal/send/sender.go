package send

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/beaconpost/beaconpost/services/beaconpost/internal/demo"
)

const (
	maxTries = 5
	maxWait  = 30 * time.Second // a server that asks for more is not waited for
)

// sender sends the same body count times.
type sender struct {
	client      demo.Client
	body        []byte
	key         string
	count       int
	concurrency int

	mu       sync.Mutex // guards what follows
	out      io.Writer  // ids
	notes    io.Writer  // for people
	accepted int
}

// run sends all events. The first that cannot be sent ends it; those in flight are finished.
func (s *sender) run(ctx context.Context) error {
	group, stopping := errgroup.WithContext(ctx)
	group.SetLimit(s.concurrency)
	for i := 1; i <= s.count && stopping.Err() == nil; i++ {
		group.Go(func() error {
			select {
			case <-stopping.Done():
				return nil
			default:
				return s.send(ctx, s.keyOf(i))
			}
		})
	}
	err := group.Wait()
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		return nil
	}
	if s.count > 1 {
		return fmt.Errorf("%d of %d events were accepted (with --idempotency-key %s only the others are sent): %w", s.accepted, s.count, s.key, err)
	}
	if _, unclear := patience(err, 1); unclear {
		return fmt.Errorf("%w\nRepeat it with --idempotency-key %s: it may have been accepted", err, s.key)
	}
	return err
}

func (s *sender) keyOf(i int) string {
	if s.count == 1 {
		return s.key
	}
	return fmt.Sprintf("%s-%d", s.key, i)
}

func (s *sender) send(ctx context.Context, key string) error {
	request := demo.Request{Method: http.MethodPost, Path: "/v1/events", Header: http.Header{"Idempotency-Key": {key}}, Body: s.body}
	var event struct {
		ID string `json:"id"`
	}
	for try := 1; ; try++ {
		err := s.client.Call(ctx, request, &event)
		if err == nil {
			return s.print(event.ID)
		}
		wait, again := patience(err, try)
		if !again || ctx.Err() != nil {
			return fmt.Errorf("send event: %w", err)
		}
		s.note("%v; again in %s", err, wait)
		if err := sleep(ctx, wait); err != nil {
			return fmt.Errorf("send event: %w", err)
		}
	}
}

// patience says whether a request is to be repeated after failing try times, and after which wait. What the server refused for good
// is not, and neither is a server that is not there.
func patience(err error, try int) (time.Duration, bool) {
	if try >= maxTries {
		return 0, false
	}
	own := time.Second << (try - 1)
	if p, ok := errors.AsType[*demo.Problem](err); ok {
		if p.Status != http.StatusTooManyRequests && p.Status != http.StatusServiceUnavailable {
			return 0, false
		}
		if p.RetryAfter >= 0 {
			return p.RetryAfter, p.RetryAfter <= maxWait
		}
		return own, true
	}
	return own, broken(err)
}

// broken says whether the connection ended before the answer: the event may have been accepted or not, and the idempotency key makes
// repeating right in both cases.
func broken(err error) bool {
	for _, end := range []error{io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE, context.DeadlineExceeded} {
		if errors.Is(err, end) {
			return true
		}
	}
	return false
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *sender) print(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.accepted++
	if _, err := fmt.Fprintln(s.out, id); err != nil {
		return fmt.Errorf("print event id: %w", err)
	}
	return nil
}

func (s *sender) note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(s.notes, format+"\n", args...)
}

// transport keeps a connection open for each request that runs at the same time.
func transport(concurrency int) *http.Transport {
	return &http.Transport{Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: concurrency, IdleConnTimeout: 30 * time.Second, ForceAttemptHTTP2: true}
}
