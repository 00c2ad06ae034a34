package e2e

import (
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Ten thousand events to three endpoints: one is fine, one fails at random, one hangs for as long as events come. Its deliveries are parked, and drained
// when it answers again. Every delivery ends.
func TestTenThousandEventsToAGoodAFlakyAndAHangingEndpoint(t *testing.T) {
	t.Parallel()
	const events = 10000
	s := startSystem(t, 1)
	good := s.receive(nil, nil)
	flaky := s.receive(func(w http.ResponseWriter, _ *http.Request) {
		if rand.Float64() < 0.3 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}, map[string]any{"retry": map[string]any{"base": "100ms", "cap": "2s", "max_attempts": 30}})
	var recovered atomic.Bool
	hanging := s.receive(func(_ http.ResponseWriter, r *http.Request) {
		if !recovered.Load() {
			<-r.Context().Done()
		}
	}, map[string]any{"timeout": "500ms"})
	start := time.Now()
	load := s.produce(producers)
	require.Eventually(t, func() bool { return load.count() >= events }, 3*time.Minute, 10*time.Millisecond)
	load.finish()
	accepted := time.Since(start)
	breaker := func() string { return s.query(`SELECT breaker FROM endpoints WHERE id = $1`, hanging.id) }
	require.Eventually(t, func() bool { return breaker() == "open" }, time.Minute, 100*time.Millisecond)
	require.Eventually(t, func() bool {
		return s.query(`SELECT count(*)::text FROM deliveries WHERE endpoint_id = $1 AND status = 'pending'`, good.id) == "0"
	}, 10*time.Second, 100*time.Millisecond, "others do not wait for it")
	recovered.Store(true)
	s.settled(5 * time.Minute)
	ended := time.Since(start)

	load.check(t, good, 0, "healthy")
	load.checkEach(t, flaky, "delivered")
	load.checkEach(t, hanging, "delivered")
	require.Eventually(t, func() bool { return breaker() == "closed" }, time.Minute, 100*time.Millisecond)
	require.Less(t, atoi(t, s.query(`SELECT count(*)::text FROM delivery_attempts a JOIN deliveries d ON d.tenant_id = a.tenant_id AND d.id = a.delivery_id
		WHERE d.endpoint_id = $1 AND a.error_class IS NOT NULL`, hanging.id)), events/10, "it was left alone")
	require.Eventually(t, func() bool { return s.unaccounted() == "0" }, 20*time.Second, 50*time.Millisecond)
	t.Logf("%d events accepted in %.1f s, their %s deliveries ended after %.1f s; attempts %s",
		load.count(), accepted.Seconds(), s.query(`SELECT count(*)::text FROM deliveries`), ended.Seconds(), s.query(`SELECT count(*)::text FROM delivery_attempts`))
}

// checkEach says that every accepted event reached e and that its delivery there ended with status.
func (tr *traffic) checkEach(t *testing.T, e *endpoint, status string) {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	for id := range tr.accepted {
		require.Positive(t, e.got[id], id)
	}
	require.Empty(t, e.bad)
	require.Equal(t, status+" "+itoa(len(tr.accepted)),
		tr.s.query(`SELECT string_agg(DISTINCT status, ',') || ' ' || count(*) FROM deliveries WHERE endpoint_id = $1`, e.id))
}
