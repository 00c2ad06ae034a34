package e2e

import (
	"net/http"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// failFirst answers 500 to the first attempt of one in every `every` events.
func failFirst(every int) http.HandlerFunc {
	var mu sync.Mutex
	seen := map[string]bool{}
	return func(w http.ResponseWriter, r *http.Request) {
		id := r.Header.Get("webhook-id")
		mu.Lock()
		first := !seen[id]
		seen[id] = true
		n := len(seen)
		mu.Unlock()
		if first && n%every == 0 {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}
}

// checkArrived is check for endpoints that failed on purpose: requests come more than once there.
func (tr *traffic) checkArrived(t *testing.T, e *endpoint) {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	missing := 0
	for id := range tr.accepted {
		if e.got[id] == 0 {
			missing++
		}
	}
	t.Logf("accepted %d, missing %d", len(tr.accepted), missing)
	require.Zero(t, missing)
	require.Empty(t, e.bad)
	require.Equal(t, "delivered", tr.s.query(`SELECT string_agg(DISTINCT status, ',') FROM deliveries`))
	// What the database says was attempted is what the endpoint saw.
	requests := 0
	for _, n := range e.got {
		requests += n
	}
	require.Equal(t, tr.s.query(`SELECT count(*)::text FROM delivery_attempts`), itoa(requests))
}

// unaccounted reads the gauge of the first replica.
func (s *system) unaccounted() string {
	return gauge(s.metrics(s.Deliveries[0]), "beaconpost_deliveries_unaccounted")
}
