package e2e

import (
	"fmt"
	"net/http"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const breakerSlots = 64

// withOpenBreaker runs a fault test on two replicas with an endpoint that failed until its breaker opened and then stays away until heal is called. At that time a
// thousand deliveries are parked, and events go on coming.
func withOpenBreaker(t *testing.T, test func(t *testing.T, s *system, heal func())) {
	t.Helper()
	t.Parallel()
	s := startSystem(t, 2, fmt.Sprintf("BEACONPOST_DELIVERY_CONCURRENCY=%d", breakerSlots),
		"BEACONPOST_DELIVERY_BREAKER_AFTER=1s", "BEACONPOST_DELIVERY_BREAKER_PROBE_FIRST=1s", "BEACONPOST_DELIVERY_BREAKER_PROBE_MOST=3s")
	var healed atomic.Bool
	e := s.receive(func(w http.ResponseWriter, _ *http.Request) {
		if !healed.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}, nil)
	load := s.produce(producers)
	require.Eventually(t, func() bool { return s.breaker(e) == "open" }, time.Minute, 50*time.Millisecond)
	require.Eventually(t, func() bool { return s.parked(e) >= 1000 }, time.Minute, 50*time.Millisecond)
	test(t, s, func() { healed.Store(true) })
	load.finish()
	healed.Store(true)
	s.settled(settling + 60*time.Second)
	// Nothing is missing, and an answer of 200 came twice only where a process died between it and its record.
	e.mu.Lock()
	defer e.mu.Unlock()
	for id := range load.accepted {
		require.Positive(t, e.got[id], id)
	}
	require.Empty(t, e.bad)
	require.Equal(t, "delivered "+itoa(len(load.accepted)), s.query(`SELECT string_agg(DISTINCT status, ',') || ' ' || count(*) FROM deliveries`))
	require.Equal(t, "0", s.query(`SELECT count(*)::text FROM (SELECT delivery_id FROM delivery_attempts WHERE status_code = 200 GROUP BY 1 HAVING count(*) > 1) x`))
	requests := 0
	for _, n := range e.got {
		requests += n
	}
	unrecorded := requests - atoi(t, s.query(`SELECT count(*)::text FROM delivery_attempts`))
	t.Logf("accepted %d, requests %d, of these without a record %d", len(load.accepted), requests, unrecorded)
	require.LessOrEqual(t, unrecorded, 2*breakerSlots, "what a replica that was killed held")
	require.Eventually(t, func() bool { return s.breaker(e) == "closed" }, time.Minute, 50*time.Millisecond)
}

func (s *system) breaker(e *endpoint) string {
	return s.query(`SELECT breaker FROM endpoints WHERE id = $1`, e.id)
}

func (s *system) parked(e *endpoint) int {
	return atoi(s.t, s.query(`SELECT count(*)::text FROM deliveries WHERE endpoint_id = $1 AND status = 'pending' AND next_attempt_at = 'infinity'`, e.id))
}

// draining heals the endpoint and waits until its drain has begun.
func (s *system) draining(heal func()) {
	s.t.Helper()
	before := atoi(s.t, s.query(`SELECT count(*)::text FROM deliveries WHERE status = 'delivered'`))
	heal()
	require.Eventually(s.t, func() bool {
		return atoi(s.t, s.query(`SELECT count(*)::text FROM deliveries WHERE status = 'delivered'`)) > before+20
	}, time.Minute, 10*time.Millisecond)
}

func TestDeliveryIsKilledWhileABreakerIsOpenAndWhileItDrains(t *testing.T) {
	withOpenBreaker(t, func(t *testing.T, s *system, heal func()) {
		s.Deliveries[0].Kill()
		s.replaceDelivery()
		s.draining(heal)
		s.Deliveries[0].Kill()
		s.replaceDelivery()
		require.NoError(t, s.Deliveries[1].Terminate())
		require.NoError(t, s.ReplaceDelivery(t.Context(), 1))
	})
}

func TestPostgresIsRestartedWhileABreakerIsOpenAndWhileItDrains(t *testing.T) {
	withOpenBreaker(t, func(_ *testing.T, s *system, heal func()) {
		s.stopPostgres()
		s.startPostgres()
		s.draining(heal)
		s.stopPostgres()
		s.startPostgres()
	})
}

func TestTheBrokerIsWipedWhileABreakerIsOpenAndWhileItDrains(t *testing.T) {
	withOpenBreaker(t, func(t *testing.T, s *system, heal func()) {
		wipe := func() {
			s.NATS.Kill()
			require.NoError(t, os.RemoveAll(s.NATSDir()))
			s.startNATS()
		}
		wipe()
		s.draining(heal)
		wipe()
	})
}

// An endpoint is disabled and enabled, again and again, while ingest stores events for it and delivery drains.
func TestAnEndpointIsDisabledAndEnabledUnderLoad(t *testing.T) {
	withReplicas(t, func(t *testing.T, s *system) {
		e := s.receive(nil, nil)
		load := s.produce(producers)
		for range 4 {
			load.atLeast(200)
			s.call(s.APIKey, "PATCH", "/v1/endpoints/"+e.id, map[string]any{"status": "disabled"}, &struct{}{})
			load.atLeast(200)
			s.call(s.APIKey, "PATCH", "/v1/endpoints/"+e.id, map[string]any{"status": "enabled"}, &struct{}{})
		}
		load.finish()
		s.settled(settling)
		load.check(t, e, 0, "nothing died")
		require.Equal(t, "1", s.query(`SELECT max(attempts)::text FROM deliveries`))
	})
}
