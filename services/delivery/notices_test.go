package delivery_test

import (
	"encoding/json"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

// told is an operational event as a subscriber gets it.
type told struct {
	Type      string
	Timestamp time.Time
	Data      struct {
		EndpointID   uuid.UUID `json:"endpoint_id"`
		DeliveryID   uuid.UUID `json:"delivery_id"`
		EventID      uuid.UUID `json:"event_id"`
		Reason       string
		Failures     int
		FailingSince time.Time `json:"failing_since"`
		DisableAt    time.Time `json:"disable_at"`
		LastStatus   int       `json:"last_status_code"`
		Attempts     int
	}
}

func (s *sink) told(t *testing.T) (types []string, all []told) {
	t.Helper()
	for _, r := range s.requests() {
		var one told
		require.NoError(t, json.Unmarshal(r.body, &one), string(r.body))
		require.Equal(t, one.Type, r.header.Get("Beaconpost-Event-Type"))
		types, all = append(types, one.Type), append(all, one)
	}
	return types, all
}

// subscribe makes an endpoint that wants event types.
func (b *bundle) subscribe(types string, answer func(n int, w http.ResponseWriter, r *http.Request)) (*sink, uuid.UUID) {
	b.t.Helper()
	s := newSink(b.t, answer)
	id, _ := b.endpoint(s.URL)
	b.Exec(`UPDATE endpoints SET event_types = $2::text[] WHERE id = $1`, id, types)
	return s, id
}

func TestTenantsAreToldAboutTheirEndpoints(t *testing.T) {
	t.Parallel()
	b := setup(t, append(quickBreaker, "BEACONPOST_DELIVERY_MAX_ATTEMPTS=15", "BEACONPOST_DELIVERY_DISABLE_AFTER=1h")...)
	ops, _ := b.subscribe("{endpoint.*,order.paid}", nil)
	all, _ := b.subscribe("{}", nil) // everything, which does not mean this
	prefix, _ := b.subscribe("{*}", nil)
	var healed atomic.Bool
	broken, brokenID := b.subscribe("{order.*,endpoint.*}", func(_ int, w http.ResponseWriter, _ *http.Request) {
		if !healed.Load() {
			w.WriteHeader(500)
		}
	})
	foreign := uuid.Must(uuid.NewV7())
	b.Exec(`INSERT INTO tenants (id, name) VALUES ($1, 'other')`, foreign)
	b.Exec(`INSERT INTO endpoints (tenant_id, id, url, event_types) VALUES ($1, $2, 'http://127.0.0.1:1/', '{endpoint.*}')`, foreign, uuid.Must(uuid.NewV7()))

	for range 4 {
		b.send(brokenID, `1`)
	}
	require.Eventually(t, func() bool { return len(ops.requests()) == 1 }, 20*time.Second, 10*time.Millisecond)
	types, told := ops.told(t)
	require.Equal(t, []string{"endpoint.failing"}, types)
	require.Equal(t, brokenID, told[0].Data.EndpointID)
	require.Equal(t, "failures", told[0].Data.Reason)
	require.GreaterOrEqual(t, told[0].Data.Failures, 3)
	require.Equal(t, 500, told[0].Data.LastStatus)
	require.WithinDuration(t, told[0].Data.FailingSince.Add(time.Hour), told[0].Data.DisableAt, 0)

	// Half of the time until it is disabled has passed: a warning, once.
	b.Exec(`UPDATE endpoint_health SET failing_since = now() - interval '31 minutes'`)
	require.Eventually(t, func() bool { return len(ops.requests()) == 2 }, 20*time.Second, 10*time.Millisecond)
	healed.Store(true)
	require.Eventually(t, func() bool { return len(ops.requests()) == 3 }, 20*time.Second, 10*time.Millisecond)
	types, _ = ops.told(t)
	require.Equal(t, []string{"endpoint.failing", "endpoint.failing", "endpoint.recovered"}, types)
	b.eventually(countPending, "0", brokenID)
	require.Empty(t, all.requests())
	require.Empty(t, prefix.requests())
	for _, r := range broken.requests() {
		require.Equal(t, "1", string(r.body), "it is not told about itself")
	}
	require.Equal(t, "0", b.Query(`SELECT count(*)::text FROM deliveries WHERE tenant_id = $1`, foreign))
	require.Equal(t, "3 true", b.Query(`SELECT count(*) || ' ' || bool_and(substr(e.id::text, 1, 13) = substr(d.id::text, 1, 13) AND substr(d.id::text, 15, 1) = '7')
		FROM webhook_events e JOIN deliveries d ON d.event_id = e.id WHERE event_type LIKE 'endpoint.%'`))
}

func TestExhaustedDeliveriesAreTold(t *testing.T) {
	t.Parallel()
	b := setup(t, append(quickBreaker, "BEACONPOST_DELIVERY_BREAKER_FAILURES=1000", "BEACONPOST_DELIVERY_MAX_ATTEMPTS=2")...)
	ops, _ := b.subscribe("{delivery.exhausted}", nil)
	// Another subscriber, itself broken: what it misses is not told to anybody, or two of them would go on for ever.
	deaf, deafID := b.subscribe("{delivery.*}", func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	failing, failingID := b.subscribe("{order.paid}", func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	q := b.send(failingID, `1`)
	b.wait(q, "exhausted")
	b.eventually(`SELECT count(*)::text FROM deliveries WHERE status = 'pending'`, "0")
	types, told := ops.told(t)
	require.Equal(t, []string{"delivery.exhausted"}, types)
	require.Equal(t, q.delivery, told[0].Data.DeliveryID)
	require.Equal(t, q.event, told[0].Data.EventID)
	require.Equal(t, 2, told[0].Data.Attempts)
	require.Len(t, failing.requests(), 2)
	require.Len(t, deaf.requests(), 2)
	require.Equal(t, "exhausted", b.Query(`SELECT status FROM deliveries WHERE endpoint_id = $1`, deafID))
	require.Equal(t, "2", b.Query(`SELECT string_agg(fanout::text, ', ') FROM webhook_events WHERE event_type = 'delivery.exhausted'`), "one event for both")
	require.Equal(t, "1", b.Query(`SELECT string_agg(exhausted::text, ', ') FROM (SELECT count(*) AS exhausted FROM delivery_attempts WHERE exhausted AND delivery_id = $1) a`, q.delivery))
	require.Equal(t, "2", b.Query(`SELECT count(*)::text FROM delivery_attempts WHERE exhausted`))
}
