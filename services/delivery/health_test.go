package delivery_test

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/uuid7"
)

// A breaker that moves fast enough to watch.
var quickBreaker = []string{
	"BEACONPOST_DELIVERY_BREAKER_FAILURES=3", "BEACONPOST_DELIVERY_BREAKER_AFTER=0s", "BEACONPOST_DELIVERY_BREAKER_PROBE_FIRST=200ms",
	"BEACONPOST_DELIVERY_BREAKER_PROBE_MOST=1s", "BEACONPOST_DELIVERY_RECONCILE_GRACE=3s",
}

// park stores deliveries as ingest does for an endpoint whose breaker is not closed.
func (b *bundle) park(endpointID uuid.UUID, n int) (ids []string) {
	b.t.Helper()
	for range n {
		event := uuid.Must(uuid.NewV7())
		id := uuid7.Beside(event)
		b.Exec(`INSERT INTO webhook_events (tenant_id, id, event_type, payload) VALUES ($1, $2, 'order.paid', '1')`, b.tenant.UUID(), event)
		b.Exec(`INSERT INTO deliveries (tenant_id, id, event_id, endpoint_id, next_attempt_at) VALUES ($1, $2, $3, $4, 'infinity')`, b.tenant.UUID(), id, event, endpointID)
		ids = append(ids, event.String())
	}
	return ids
}

func (b *bundle) eventually(sql, want string, args ...any) {
	b.t.Helper()
	require.Eventually(b.t, func() bool { return b.Query(sql, args...) == want }, 30*time.Second, 20*time.Millisecond, "%s: expected %s, got %s", sql, want, b.Query(sql, args...))
}

const countPending = `SELECT count(*)::text FROM deliveries WHERE endpoint_id = $1 AND status = 'pending'`

func TestABrokenEndpointIsLeftAloneThenDrained(t *testing.T) {
	t.Parallel()
	b := prepare(t)
	b.start(quickBreaker...)
	b.start(quickBreaker...) // two replicas
	var healed atomic.Bool
	var inFlight, most atomic.Int64
	s := newSink(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
		if healed.Load() {
			return
		}
		if n := inFlight.Add(1); n > most.Load() {
			most.Store(n)
		}
		defer inFlight.Add(-1)
		time.Sleep(20 * time.Millisecond)
		w.WriteHeader(503)
	})
	endpointID, _ := b.endpoint(s.URL)
	for i := range 5 {
		b.send(endpointID, strconv.Itoa(i))
	}
	b.eventually(`SELECT breaker FROM endpoints WHERE id = $1`, "open", endpointID)
	require.Equal(t, "failures", b.Query(`SELECT reason FROM endpoint_health`))
	b.park(endpointID, 30)
	// What is tried already is parked as its message comes; after that there is one probe at a time, and nothing else.
	b.eventually(`SELECT count(*)::text FROM deliveries WHERE status = 'pending' AND isfinite(next_attempt_at) AND next_attempt_at < now() - interval '100 ms'`, "0")
	most.Store(0)
	before, began := len(s.requests()), time.Now()
	time.Sleep(2 * time.Second)
	probes := len(s.requests()) - before
	require.LessOrEqual(t, most.Load(), int64(1), "one at a time")
	require.LessOrEqual(t, probes, int(time.Since(began)/(400*time.Millisecond))+1, "later and later")

	healed.Store(true)
	b.eventually(countPending, "0", endpointID)
	b.eventually(`SELECT breaker FROM endpoints WHERE id = $1`, "closed", endpointID)
	require.Equal(t, "delivered 35", b.Query(`SELECT status || ' ' || count(*) FROM deliveries GROUP BY status`))
	require.Equal(t, "0", b.Query(`SELECT failures::text FROM endpoint_health`))
	b.requireNoTwins(s)
}

// requireNoTwins demands that no event was taken twice.
func (b *bundle) requireNoTwins(s *sink) {
	b.t.Helper()
	require.Empty(b.t, b.Query(`SELECT delivery_id::text FROM delivery_attempts WHERE status_code = 200 GROUP BY delivery_id HAVING count(*) > 1`))
	require.Equal(b.t, strconv.Itoa(len(s.requests())), b.Query(`SELECT count(*)::text FROM delivery_attempts`), "every request was recorded")
}

func TestADrainGoesByAgeAndSurvivesItsReplica(t *testing.T) {
	t.Parallel()
	b := prepare(t)
	var mu sync.Mutex
	var order []string
	s := newSink(t, func(_ int, _ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		order = append(order, r.Header.Get("Webhook-Id"))
	})
	endpointID, _ := b.endpoint(s.URL)
	want := b.park(endpointID, 120)
	b.Exec(`UPDATE endpoints SET breaker = 'draining' WHERE id = $1`, endpointID)
	b.Exec(`INSERT INTO endpoint_health (tenant_id, endpoint_id, state, reason, look_at) VALUES ($1, $2, 'draining', 'enabled', now())`, b.tenant.UUID(), endpointID)
	stop := b.start(quickBreaker...)
	require.Eventually(t, func() bool { return len(s.requests()) > 10 }, 20*time.Second, 10*time.Millisecond)
	require.NoError(t, stop(10*time.Second))
	left := len(s.requests())
	require.Less(t, left, 120, "not all at once")
	b.start(quickBreaker...) // takes over when the lease is over
	b.eventually(countPending, "0", endpointID)
	mu.Lock()
	defer mu.Unlock()
	require.Len(t, order, 120)
	// They are attempted side by side, a few at a time: nobody is overtaken by more than those.
	for i, id := range order {
		require.InDelta(t, i, slices.Index(want, id), 20, "by age")
	}
	b.requireNoTwins(s)
}

func TestGoneDisablesAndEnablingDrains(t *testing.T) {
	t.Parallel()
	b := setup(t, quickBreaker...)
	s := newSink(t, func(n int, w http.ResponseWriter, _ *http.Request) {
		if n == 1 {
			w.WriteHeader(http.StatusGone)
		}
	})
	endpointID, _ := b.endpoint(s.URL)
	b.send(endpointID, `1`)
	b.eventually(`SELECT concat_ws(' ', status, disabled_reason, disabled_at IS NOT NULL) FROM endpoints WHERE id = $1`, "disabled gone t", endpointID)
	later := b.send(endpointID, `2`)
	b.eventually(`SELECT next_attempt_at::text FROM deliveries WHERE id = $1`, "infinity", later.delivery)
	b.park(endpointID, 3)
	time.Sleep(time.Second)
	require.Len(t, s.requests(), 1, "no probe of what was disabled")

	// As ingest enables it.
	b.Exec(`UPDATE endpoints SET status = 'enabled', breaker = 'draining' WHERE id = $1`, endpointID)
	b.Exec(`UPDATE endpoint_health SET state = 'draining', reason = 'enabled', since = now(), failures = 0, failing_since = NULL, gone_at = NULL, look_at = now()`)
	b.eventually(countPending, "0", endpointID)
	b.eventually(`SELECT breaker FROM endpoints WHERE id = $1`, "closed", endpointID)
	require.Len(t, s.requests(), 6)
}

func TestUninterruptedFailureDisables(t *testing.T) {
	t.Parallel()
	b := setup(t, append(quickBreaker, "BEACONPOST_DELIVERY_DISABLE_AFTER=1h")...)
	s := newSink(t, func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	endpointID, _ := b.endpoint(s.URL)
	b.send(endpointID, `1`)
	b.eventually(`SELECT (failures > 0)::text FROM endpoint_health`, "true")
	b.Exec(`UPDATE endpoint_health SET failing_since = now() - interval '31 minutes'`)
	b.eventually(`SELECT (warned_at IS NOT NULL)::text FROM endpoint_health`, "true")
	require.Equal(t, "enabled", b.Query(`SELECT status FROM endpoints WHERE id = $1`, endpointID))
	b.Exec(`UPDATE endpoint_health SET failing_since = now() - interval '61 minutes'`)
	b.send(endpointID, `2`)
	b.eventually(`SELECT status || ' ' || coalesce(disabled_reason, '') FROM endpoints WHERE id = $1`, "disabled failing", endpointID)
	b.eventually(`SELECT count(*)::text FROM deliveries WHERE status = 'pending' AND next_attempt_at = 'infinity'`, "2")
}

func TestRetryAfterPausesTheEndpoint(t *testing.T) {
	t.Parallel()
	b := setup(t, quickBreaker...)
	var mu sync.Mutex
	var asked time.Time
	early := 0
	s := newSink(t, func(n int, w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if n == 1 {
			asked = time.Now().Add(3 * time.Second)
			w.Header().Set("Retry-After", "3")
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		if time.Now().Before(asked) {
			early++
		}
	})
	endpointID, _ := b.endpoint(s.URL)
	b.send(endpointID, `0`)
	b.eventually(`SELECT breaker FROM endpoints WHERE id = $1`, "open", endpointID)
	require.Equal(t, "retry_after", b.Query(`SELECT reason FROM endpoint_health`))
	for i := range 5 {
		b.send(endpointID, fmt.Sprint(i)) // as if ingest had not heard of it yet
	}
	b.eventually(countPending, "0", endpointID)
	mu.Lock()
	defer mu.Unlock()
	require.Zero(t, early)
	require.Len(t, s.requests(), 7)
}

func TestARetryByHandPassesAnOpenBreaker(t *testing.T) {
	t.Parallel()
	b := setup(t, append(quickBreaker, "BEACONPOST_DELIVERY_BREAKER_PROBE_FIRST=1h", "BEACONPOST_DELIVERY_BREAKER_PROBE_MOST=1h")...)
	s := newSink(t, nil)
	endpointID, _ := b.endpoint(s.URL)
	b.Exec(`UPDATE endpoints SET breaker = 'open' WHERE id = $1`, endpointID)
	b.Exec(`INSERT INTO endpoint_health (tenant_id, endpoint_id, state, reason, since, failures, failing_since, probe_at, look_at)
		VALUES ($1, $2, 'open', 'failures', now(), 5, now(), now() + interval '1 hour', now() + interval '1 hour')`, b.tenant.UUID(), endpointID)
	b.park(endpointID, 2)
	id := b.Query(`SELECT id::text FROM deliveries ORDER BY id DESC LIMIT 1`)
	time.Sleep(1500 * time.Millisecond)
	require.Empty(t, s.requests())
	b.client.Do("POST", "/v1/deliveries/"+id+"/retry", nil).Want(202, nil)
	b.eventually(`SELECT status FROM deliveries WHERE id::text = $1`, "delivered", id)
	// It succeeded: as good as a probe.
	b.eventually(countPending, "0", endpointID)
	b.requireNoTwins(s)
}

func TestExhaustedDeliveriesAreRecovered(t *testing.T) {
	t.Parallel()
	b := setup(t, quickBreaker...)
	s := newSink(t, nil)
	endpointID, _ := b.endpoint(s.URL)
	old := b.park(endpointID, 1)
	time.Sleep(2 * time.Millisecond)
	from := uuid7.Floor(time.Now())
	b.park(endpointID, 700) // more than are taken up at once
	time.Sleep(2 * time.Millisecond)
	until := uuid7.Floor(time.Now())
	b.Exec(`UPDATE deliveries SET status = 'exhausted', completed_at = now(), attempts = 15`)
	b.Exec(`UPDATE endpoints SET breaker = 'draining' WHERE id = $1`, endpointID)
	b.Exec(`INSERT INTO endpoint_health (tenant_id, endpoint_id, state, reason, recover_from, recover_until, look_at, drain_rate) VALUES ($1, $2, 'draining', 'recover', $3, $4, now(), 400)`,
		b.tenant.UUID(), endpointID, from, until)
	b.eventually(`SELECT count(*)::text FROM deliveries WHERE status = 'delivered'`, "700")
	b.eventually(`SELECT breaker FROM endpoints WHERE id = $1`, "closed", endpointID)
	require.Equal(t, "700 true", b.Query(`SELECT recovered || ' ' || (recover_from IS NULL) FROM endpoint_health`))
	require.Equal(t, old[0], b.Query(`SELECT event_id::text FROM deliveries WHERE status = 'exhausted'`))
	b.requireNoTwins(s)
}

// Two replicas keep an endpoint's rate together; what is more waits, and nothing is lost.
func TestRateLimit(t *testing.T) {
	t.Parallel()
	b := prepare(t)
	b.start(quickBreaker...)
	b.start(quickBreaker...)
	var mu sync.Mutex
	var times []time.Time
	s := newSink(t, func(int, http.ResponseWriter, *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		times = append(times, time.Now())
	})
	endpointID, _ := b.endpoint(s.URL)
	b.Exec(`UPDATE endpoints SET rate_per_second = 20, rate_burst = 5 WHERE id = $1`, endpointID)
	fast := newSink(t, nil)
	fastID, _ := b.endpoint(fast.URL)
	for i := range 80 {
		b.send(endpointID, strconv.Itoa(i))
		b.send(fastID, strconv.Itoa(i))
	}
	b.eventually(countPending, "0", fastID)
	b.eventually(countPending, "0", endpointID)
	mu.Lock()
	defer mu.Unlock()
	require.Len(t, times, 80)
	slices.SortFunc(times, time.Time.Compare)
	for i := range times {
		for j := i + 1; j < len(times); j++ {
			// What a bucket of 5 with 20 a second lets through in that time, and two that were on their way.
			allowed := 5 + 20*times[j].Sub(times[i]).Seconds() + 2
			require.LessOrEqual(t, float64(j-i+1), allowed, "%s", times[j].Sub(times[i]))
		}
	}
	require.Less(t, times[79].Sub(times[0]), 8*time.Second, "and the rate is used")
	require.Equal(t, "1", b.Query(`SELECT max(attempts)::text FROM deliveries WHERE endpoint_id = $1`, endpointID))
}

func TestParkedDeliveriesThatNobodyTakesUpAreAdopted(t *testing.T) {
	t.Parallel()
	b := setup(t, append(quickBreaker, "BEACONPOST_DELIVERY_SWEEP_INTERVAL=300ms", "BEACONPOST_DELIVERY_PARKED_RETENTION=1h")...)
	s := newSink(t, nil)
	well, _ := b.endpoint(s.URL)
	deleted, _ := b.endpoint(s.URL)
	off, _ := b.endpoint(s.URL)
	b.Exec(`UPDATE endpoints SET status = 'disabled' WHERE id = $1`, off)
	for _, id := range []uuid.UUID{well, deleted, off} {
		b.park(id, 3)
	}
	b.Exec(`UPDATE endpoints SET deleted_at = now() WHERE id = $1`, deleted)
	old := uuid7.Floor(time.Now().Add(-2 * time.Hour))
	b.Exec(`INSERT INTO deliveries (tenant_id, id, event_id, endpoint_id, next_attempt_at) VALUES ($1, $2, $2, $3, 'infinity')`, b.tenant.UUID(), old, off)
	b.eventually(countPending, "0", well)
	b.eventually(countPending, "0", deleted)
	b.eventually(`SELECT cancel_reason FROM deliveries WHERE id = $1 AND status = 'cancelled'`, "expired", old)
	require.Len(t, s.requests(), 3)
	require.Equal(t, "3", b.Query(countPending, off), "these are kept")
	b.eventually(`SELECT breaker FROM endpoints WHERE id = $1`, "closed", well)
}

func TestPayloadsAreScrubbed(t *testing.T) {
	t.Parallel()
	b := setup(t, append(quickBreaker, "BEACONPOST_DELIVERY_SWEEP_INTERVAL=200ms")...)
	s := newSink(t, nil)
	endpointID, _ := b.endpoint(s.URL)
	off, _ := b.endpoint(s.URL)
	b.Exec(`UPDATE endpoints SET status = 'disabled' WHERE id = $1`, off)
	q := b.send(endpointID, `{"secret":1}`)
	b.wait(q, "delivered")
	b.park(off, 1)
	other := uuid.Must(uuid.NewV7())
	b.Exec(`INSERT INTO tenants (id, name) VALUES ($1, 'other')`, other)
	b.Exec(`INSERT INTO webhook_events (tenant_id, id, event_type, payload) VALUES ($1, $2, 'a', '1')`, other, uuid.Must(uuid.NewV7()))
	b.Exec(`INSERT INTO payload_retention (tenant_id, after_ms) VALUES ($1, 0)`, b.tenant.UUID())
	b.eventually(`SELECT length(payload)::text FROM webhook_events WHERE id = $1`, "0", q.event)
	b.client.Do("POST", "/v1/deliveries/"+q.delivery.String()+"/retry", nil).WantProblem(409, "payload_scrubbed", "")
	require.Equal(t, "2", b.Query(`SELECT count(*)::text FROM webhook_events WHERE payload <> ''`), "what is pending, and another tenant's")
	// Whatever happens, what has no payload is not sent.
	b.Exec(`UPDATE deliveries SET status = 'exhausted', completed_at = now() WHERE id = $1`, q.delivery)
	b.Exec(`UPDATE deliveries SET status = 'pending', completed_at = NULL, next_attempt_at = now() WHERE id = $1`, q.delivery)
	again := q.message
	again.Attempt, again.MustClaim = 2, true
	b.publish.Ready(again)
	b.eventually(`SELECT coalesce(cancel_reason, status) FROM deliveries WHERE id = $1`, "payload_scrubbed", q.delivery)
	require.Len(t, s.requests(), 1)
	// Looked at again when it has ended.
	b.Exec(`UPDATE deliveries SET status = 'cancelled', cancel_reason = 'requested', completed_at = now() WHERE endpoint_id = $1`, off)
	b.Exec(`UPDATE payload_retention SET rescan_at = now()`)
	b.eventually(`SELECT count(*)::text FROM webhook_events WHERE payload <> ''`, "1")
}
