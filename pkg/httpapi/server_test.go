package httpapi_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/httpapi"
)

// slow serves a handler that says when it has begun and ends when it is let go.
func slow(t *testing.T) (s *httpapi.Server, begun, release chan struct{}) {
	t.Helper()
	begun, release = make(chan struct{}, 1), make(chan struct{})
	s, err := httpapi.Serve(t.Context(), "127.0.0.1:0", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun <- struct{}{}
		select {
		case <-release:
		case <-r.Context().Done():
		}
		_, _ = io.WriteString(w, "done")
	}))
	require.NoError(t, err)
	return s, begun, release
}

type result struct {
	body string
	err  error
}

func get(addr string) chan result {
	got := make(chan result, 1)
	go func() {
		resp, err := http.Get("http://" + addr + "/")
		if err != nil {
			got <- result{err: err}
			return
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		got <- result{string(body), err}
	}()
	return got
}

func TestStopFinishesRequestsInFlight(t *testing.T) {
	t.Parallel()
	s, begun, release := slow(t)
	inFlight := get(s.Addr())
	<-begun
	stopped := make(chan error, 1)
	go func() { stopped <- s.Stop(t.Context()) }()
	require.Eventually(t, func() bool {
		conn, err := net.DialTimeout("tcp", s.Addr(), time.Second)
		if err == nil {
			_ = conn.Close()
		}
		return errors.Is(err, syscall.ECONNREFUSED)
	}, 5*time.Second, time.Millisecond, "nothing new is taken")
	require.Empty(t, stopped, "it waits")
	close(release)
	require.Equal(t, result{"done", nil}, <-inFlight)
	require.NoError(t, <-stopped)
	require.NoError(t, s.Stop(t.Context()), "again")
}

func TestStopOutOfTimeClosesWhatIsLeft(t *testing.T) {
	t.Parallel()
	s, begun, _ := slow(t)
	inFlight := get(s.Addr())
	<-begun
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	err := s.Stop(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "finish requests on "+s.Addr())
	require.Error(t, (<-inFlight).err)
}

func TestListenErrorsNameTheAddress(t *testing.T) {
	t.Parallel()
	first, err := httpapi.Serve(t.Context(), "127.0.0.1:0", http.NotFoundHandler())
	require.NoError(t, err)
	defer func() { require.NoError(t, first.Stop(context.Background())) }()
	_, err = httpapi.Serve(t.Context(), first.Addr(), http.NotFoundHandler())
	require.EqualError(t, err, "listen on "+first.Addr()+": another program uses this port")
	require.ErrorIs(t, err, syscall.EADDRINUSE)
	var listen *httpapi.ListenError
	require.ErrorAs(t, err, &listen)
	require.Equal(t, first.Addr(), listen.Addr)

	for _, addr := range []string{"8080", "127.0.0.1:99999", "192.0.2.1:0"} {
		_, err = httpapi.Serve(t.Context(), addr, http.NotFoundHandler())
		require.ErrorContains(t, err, "listen on "+addr+": ")
		require.NotContains(t, err.Error(), "another program")
	}
}

// A client that sends its header a byte at a time does not hold a connection for ever. The limit is 5 s.
func TestSlowHeadersAreCut(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes 5 s")
	}
	s, _, _ := slow(t)
	defer func() { require.NoError(t, s.Stop(context.Background())) }()
	conn, err := net.Dial("tcp", s.Addr())
	require.NoError(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n")
	require.NoError(t, err)
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(20*time.Second)))
	_, err = io.ReadAll(conn)
	require.NoError(t, err, "closed by the server, not by our deadline")
}

func admin(ready func(context.Context) error) http.Handler {
	reg := prometheus.NewRegistry()
	counter := prometheus.NewCounter(prometheus.CounterOpts{Name: "beaconpost_things_total", Help: "Things."})
	counter.Add(7)
	reg.MustRegister(counter)
	return httpapi.Admin(reg, ready)
}

func ask(h http.Handler, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, http.NoBody))
	return w
}

func TestAdmin(t *testing.T) {
	t.Parallel()
	h := admin(func(context.Context) error { return nil })
	for path, want := range map[string]string{
		"/metrics":                       "\nbeaconpost_things_total 7\n",
		"/healthz":                       "ok\n",
		"/readyz":                        "ready\n",
		"/debug/pprof/":                  "goroutine",
		"/debug/pprof/goroutine?debug=1": "goroutine profile: total",
		"/debug/pprof/cmdline":           "httpapi",
		"/debug/pprof/symbol":            "num_symbols",
	} {
		w := ask(h, path)
		require.Equal(t, 200, w.Code, path)
		require.Contains(t, w.Body.String(), want, path)
	}
	require.Equal(t, 404, ask(h, "/v1/events").Code)
}

func TestNotReady(t *testing.T) {
	t.Parallel()
	h := admin(func(context.Context) error { return errors.New("database: connection refused") })
	w := ask(h, "/readyz")
	require.Equal(t, 503, w.Code)
	require.Equal(t, "not ready: database: connection refused\n", w.Body.String())
	require.Equal(t, "1", w.Header().Get("Retry-After"))
	require.Equal(t, "text/plain; charset=utf-8", w.Header().Get("Content-Type"))
	require.Equal(t, 200, ask(h, "/healthz").Code, "the process lives: a restart would not help")
}

func TestReadinessAnswersInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		w := ask(admin(func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}), "/readyz")
		require.Equal(t, 503, w.Code)
		require.Equal(t, 2*time.Second, time.Since(start))
	})
}

func TestMetricsInTheFormatThatIsAskedFor(t *testing.T) {
	t.Parallel()
	h := admin(nil)
	req := httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody)
	req.Header.Set("Accept", "application/openmetrics-text; version=1.0.0")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, req)
	require.Contains(t, w.Header().Get("Content-Type"), "application/openmetrics-text")
	require.True(t, strings.HasSuffix(w.Body.String(), "# EOF\n"))
}
