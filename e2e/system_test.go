package e2e

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/e2e/internal/stack"
)

// system is a stack of one test, with replicas of delivery. What fails to start or stop fails the test.
type system struct {
	*stack.Stack
	t *testing.T
}

// startSystem starts everything with replicas of delivery. extra are variables of the services.
func startSystem(t *testing.T, replicas int, extra ...string) *system {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.Chmod(filepath.Dir(dir), 0o755))
	running, err := stack.Start(t.Context(), stack.Config{Dir: dir, Binaries: bin, Environ: append([]string{
		"BEACONPOST_DELIVERY_TIMEOUT=2s",
		"BEACONPOST_DELIVERY_RETRY_BASE=100ms",
		"BEACONPOST_DELIVERY_RECONCILE_GRACE=10s",
		"BEACONPOST_DELIVERY_RECONCILE_INTERVAL=500ms",
	}, extra...)})
	s := &system{running, t}
	t.Cleanup(s.stop)
	require.NoError(t, err)
	for range replicas {
		s.startDelivery()
	}
	return s
}

func (s *system) stop() {
	if err := s.Stop(); err != nil {
		s.t.Error("stop:", err)
	}
	if s.t.Failed() {
		for name, end := range s.Logs() {
			s.t.Logf("%s:\n%s", name, end)
		}
	}
}

func (s *system) startPostgres() {
	s.t.Helper()
	require.NoError(s.t, s.StartPostgres(s.t.Context()))
}

func (s *system) stopPostgres() {
	s.t.Helper()
	require.NoError(s.t, s.StopPostgres())
}

func (s *system) startNATS() {
	s.t.Helper()
	require.NoError(s.t, s.StartNATS(s.t.Context()))
}

func (s *system) startIngest() {
	s.t.Helper()
	require.NoError(s.t, s.StartIngest(s.t.Context()))
}

func (s *system) startDelivery() {
	s.t.Helper()
	require.NoError(s.t, s.StartDelivery(s.t.Context()))
}

// replaceDelivery starts a replica in the place of the first, which has ended.
func (s *system) replaceDelivery() {
	s.t.Helper()
	require.NoError(s.t, s.ReplaceDelivery(s.t.Context(), 0))
}

func (s *system) terminate(p *stack.Process) {
	s.t.Helper()
	require.NoError(s.t, p.Terminate())
}

// metrics reads what a service says of itself, "" when it does not answer.
func (s *system) metrics(p *stack.Process) string {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	body, err := stack.Get(ctx, "http://"+p.Admin+"/metrics")
	if err != nil {
		return ""
	}
	return string(body)
}

// query asks the database, past row-level security, for one value as text.
func (s *system) query(sql string, args ...any) string {
	s.t.Helper()
	value, err := s.Query(context.Background(), sql, args...)
	require.NoError(s.t, err)
	return value
}

// call sends a request that must succeed.
func (s *system) call(token, method, path string, body, into any) {
	s.t.Helper()
	require.NoError(s.t, s.Call(s.t.Context(), token, method, path, body, into))
}
