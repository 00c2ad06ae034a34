package service_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/httpapi"
	"github.com/beaconpost/beaconpost/pkg/service"
)

// fake is a service that notes what happens to it, in order.
type fake struct {
	mu       sync.Mutex
	events   []string
	draining bool

	begun, release chan struct{} // of a request to the public API
	stop           func(context.Context) error
}

func newFake() *fake {
	return &fake{begun: make(chan struct{}, 1), release: make(chan struct{}), stop: func(context.Context) error { return nil }}
}

func (f *fake) note(event string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.events = append(f.events, event)
}

func (f *fake) noted() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.events...)
}

func (f *fake) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.begun <- struct{}{}
		select {
		case <-f.release:
			f.note("request")
		case <-r.Context().Done():
			f.note("request cut")
		}
		_, _ = io.WriteString(w, "done")
	})
}

func (f *fake) Admin() http.Handler { return httpapi.Admin(prometheus.NewRegistry(), f.Ready) }

func (f *fake) Drain() {
	f.note("drain")
	f.mu.Lock()
	defer f.mu.Unlock()
	f.draining = true
}

func (f *fake) Ready(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.draining {
		return errors.New("shutting down")
	}
	return nil
}

func (f *fake) Stop(ctx context.Context) error {
	f.note("stop")
	return f.stop(ctx)
}

var _ service.Service = (*fake)(nil)

// hosted is a fake that is served.
type hosted struct {
	*fake
	t             *testing.T
	public, admin string
	signal        context.CancelFunc
	ended         chan error
}

func host(t *testing.T, f *fake, grace time.Duration) *hosted {
	t.Helper()
	h := &hosted{fake: f, t: t, public: closedPort(t), admin: closedPort(t), ended: make(chan error, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	h.signal = cancel
	go func() { h.ended <- service.Host(ctx, f, h.public, h.admin, grace) }()
	require.Eventually(t, func() bool { return h.status("/readyz") == http.StatusOK && accepts(h.public) }, 10*time.Second, time.Millisecond)
	return h
}

// status asks the admin port; 0 says that nobody answers.
func (h *hosted) status(path string) int {
	resp, err := http.Get("http://" + h.admin + path)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

func accepts(addr string) bool {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

func (h *hosted) request() chan string {
	answered := make(chan string, 1)
	go func() {
		resp, err := http.Get("http://" + h.public + "/")
		if err != nil {
			answered <- "no answer"
			return
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		answered <- string(body)
	}()
	<-h.begun
	return answered
}

func TestHostStopsInOrder(t *testing.T) {
	t.Parallel()
	f := newFake()
	var h *hosted
	f.stop = func(context.Context) error {
		f.note("admin " + http.StatusText(h.status("/readyz")) + ", " + http.StatusText(h.status("/healthz")))
		return nil
	}
	h = host(t, f, time.Minute)
	answered := h.request()
	h.signal()
	require.Eventually(t, func() bool { return h.status("/readyz") == http.StatusServiceUnavailable }, 10*time.Second, time.Millisecond, "readiness first")
	require.Eventually(t, func() bool { return !accepts(h.public) }, 10*time.Second, time.Millisecond, "then the intake")
	require.Equal(t, []string{"drain"}, f.noted(), "the request in flight is waited for")
	close(f.release)
	require.NoError(t, <-h.ended)
	require.Equal(t, "done", <-answered)
	require.Equal(t, []string{"drain", "request", "stop", "admin Service Unavailable, OK"}, f.noted())
	require.False(t, accepts(h.admin))
}

func TestHostCutsWhatTakesTooLong(t *testing.T) {
	t.Parallel()
	f := newFake()
	stuck := errors.New("stuck")
	f.stop = func(ctx context.Context) error {
		<-ctx.Done()
		return stuck
	}
	h := host(t, f, 50*time.Millisecond)
	answered := h.request()
	h.signal()
	err := <-h.ended
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "finish requests on "+h.public)
	require.ErrorIs(t, err, stuck, "both are reported")
	require.Equal(t, "no answer", <-answered)
	require.Eventually(t, func() bool { return len(f.noted()) == 3 }, 10*time.Second, time.Millisecond)
	require.ElementsMatch(t, []string{"drain", "request cut", "stop"}, f.noted())
	require.False(t, accepts(h.admin))
}

func TestHostStopsWhatItStartedWhenAPortIsTaken(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	other := closedPort(t)
	failed := errors.New("did not stop well")
	for name, addrs := range map[string][2]string{
		"public": {taken.Addr().String(), other},
		"admin":  {other, taken.Addr().String()},
	} {
		f := newFake()
		f.stop = func(ctx context.Context) error {
			require.NoError(t, ctx.Err(), "it has time")
			return failed
		}
		err := service.Host(t.Context(), f, addrs[0], addrs[1], time.Minute)
		var listen *httpapi.ListenError
		require.ErrorAs(t, err, &listen, name)
		require.Equal(t, taken.Addr().String(), listen.Addr)
		require.ErrorIs(t, err, failed)
		require.Equal(t, []string{"stop"}, f.noted(), name)
		require.False(t, accepts(other), name)
	}
}
