package webhook

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/signature"
	"github.com/beaconpost/beaconpost/pkg/telemetry"
	"github.com/beaconpost/beaconpost/pkg/tenant"
	"github.com/beaconpost/beaconpost/services/delivery/internal/delivery"
)

func newSender(t *testing.T, cfg Config) *Sender {
	t.Helper()
	cfg.UserAgent, cfg.Tracer = "Beaconpost/test", telemetry.NoTracer()
	s := NewSender(cfg)
	t.Cleanup(s.Close)
	return s
}

// job is an attempt at a URL. Its time is far more than a healthy answer takes.
func job(url string) *delivery.Job {
	return &delivery.Job{
		Ref: delivery.Ref{Tenant: tenant.ID(uuid.New()), ID: uuid.New()}, Attempt: 3, EventID: uuid.New(), EventType: "order.paid", Payload: []byte(`{"a": 1.0}`),
		Target: &delivery.Target{URL: url, Timeout: 20 * time.Second, Secrets: []delivery.Secret{{Value: signature.NewSecret()}}},
	}
}

// within gives the job less time.
func within(d time.Duration, j *delivery.Job) *delivery.Job {
	j.Target.Timeout = d
	return j
}

// serve answers every request with handle.
func serve(t *testing.T, handle http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handle)
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return server.URL
}

// raw is a listener whose connections are given to talk, one goroutine each, and closed afterwards. leave ends with the test.
func raw(t *testing.T, talk func(conn net.Conn, leave <-chan struct{})) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	leave := make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer conn.Close()
				talk(conn, leave)
			})
		}
	})
	t.Cleanup(func() {
		close(leave)
		_ = ln.Close()
		all.Wait()
	})
	return ln.Addr().String()
}

// answer reads the request's beginning, then writes text.
func answer(text string) func(net.Conn, <-chan struct{}) {
	return func(conn net.Conn, _ <-chan struct{}) {
		_, _ = conn.Read(make([]byte, 4096))
		_, _ = conn.Write([]byte(text))
	}
}

// answerAndStay writes text and leaves the connection open.
func answerAndStay(text string) func(net.Conn, <-chan struct{}) {
	return func(conn net.Conn, leave <-chan struct{}) {
		answer(text)(conn, leave)
		<-leave
	}
}

func closedPort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	return ln.Addr().String()
}

func send(t *testing.T, s *Sender, j *delivery.Job) *delivery.Attempt {
	t.Helper()
	a := s.Send(context.Background(), j)
	require.NotNil(t, a)
	require.Equal(t, j.Attempt, a.Number)
	require.Equal(t, uuid.Version(7), a.ID.Version())
	require.Less(t, a.Duration, j.Target.Timeout+2*time.Second)
	return a
}
