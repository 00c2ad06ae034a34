package delivery_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/stream"
	"github.com/beaconpost/beaconpost/proto/subject"
)

func TestADeliveryWithoutAMessageIsFound(t *testing.T) {
	t.Parallel()
	b := setup(t, "BEACONPOST_DELIVERY_RECONCILE_GRACE=200ms")
	s := newSink(t, nil)
	endpointID, _ := b.endpoint(s.URL)
	q := b.enqueue(endpointID, `{}`) // committed, and then ingest died
	b.wait(q, "delivered")
	require.Len(t, s.requests(), 1)
	b.metric("beaconpost_reconciler_republished_total", "1")
	b.metric("beaconpost_deliveries_unaccounted", "0")
}

func TestAWipedBrokerIsRebuiltFromPostgres(t *testing.T) {
	t.Parallel()
	b := setup(t, "BEACONPOST_DELIVERY_RECONCILE_GRACE=500ms", "BEACONPOST_DELIVERY_RETRY_BASE=300ms")
	s := newSink(t, func(n int, w http.ResponseWriter, _ *http.Request) {
		if n <= 10 {
			w.WriteHeader(500)
		}
	})
	endpointID, _ := b.endpoint(s.URL)
	var all []queued
	for i := range 10 {
		all = append(all, b.send(endpointID, fmt.Sprint(i)))
	}
	require.Eventually(t, func() bool {
		return b.Query(`SELECT count(*)::text FROM deliveries WHERE attempts = 1`) == "10"
	}, 10*time.Second, 5*time.Millisecond)
	// The schedules of ten retries are gone, with stream and consumers.
	js, err := stream.JetStream(b.nats)
	require.NoError(t, err)
	require.NoError(t, js.DeleteStream(t.Context(), subject.StreamDeliveries))
	for _, q := range all {
		b.wait(q, "delivered")
	}
	require.Len(t, s.requests(), 20)
}

func TestStopFinishesWhatIsInFlight(t *testing.T) {
	t.Parallel()
	b := prepare(t)
	stop := b.start()
	release := make(chan struct{})
	s := newSink(t, func(int, http.ResponseWriter, *http.Request) { <-release })
	endpointID, _ := b.endpoint(s.URL)
	q := b.send(endpointID, `{}`)
	require.Eventually(t, func() bool { return len(s.requests()) == 1 }, 10*time.Second, 5*time.Millisecond)
	stopped := make(chan error, 1)
	go func() { stopped <- stop(10 * time.Second) }()
	require.Eventually(t, func() bool { return b.service.Ready(t.Context()) != nil }, 5*time.Second, time.Millisecond)
	close(release)
	require.NoError(t, <-stopped)
	require.Equal(t, "delivered", b.status(q), "recorded before the stop was over")
	require.Len(t, s.requests(), 1)
}

func TestWhatAStopCutsIsNoAttempt(t *testing.T) {
	t.Parallel()
	b := prepare(t)
	stop := b.start("BEACONPOST_DELIVERY_TIMEOUT=1m")
	s := newSink(t, func(n int, _ http.ResponseWriter, r *http.Request) {
		if n == 1 {
			<-r.Context().Done()
		}
	})
	endpointID, _ := b.endpoint(s.URL)
	q := b.send(endpointID, `{}`)
	require.Eventually(t, func() bool { return len(s.requests()) == 1 }, 10*time.Second, 5*time.Millisecond)
	_ = stop(300 * time.Millisecond) // out of time, and says so
	require.Equal(t, "pending", b.status(q))
	require.Empty(t, b.attempts(q), "the endpoint did not fail, we did")
	b.start("BEACONPOST_DELIVERY_TIMEOUT=1m")
	b.wait(q, "delivered")
	require.Equal(t, "1 200", b.attempts(q))
}

func TestTwoReplicasShareTheWorkWithoutRepeatingIt(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.start()
	s := newSink(t, nil)
	endpointID, _ := b.endpoint(s.URL)
	const n = 300
	var all []queued
	for i := range n {
		all = append(all, b.send(endpointID, fmt.Sprint(i)))
	}
	for _, q := range all {
		b.wait(q, "delivered")
	}
	require.Len(t, s.requests(), n)
}

func TestPartitionsAreKeptAheadAndOldOnesDropped(t *testing.T) {
	t.Parallel()
	b := prepare(t)
	s := newSink(t, nil)
	endpointID, _ := b.endpoint(s.URL)
	b.Exec(`SELECT beaconpost_ensure_partitions(current_date - 40, current_date - 38)`)
	days := func() string {
		return b.Query(`SELECT count(*)::text FROM pg_inherits WHERE inhparent = 'deliveries'::regclass`)
	}
	require.Equal(t, "12", days())
	// One old day still has work; the others are empty or done.
	b.Exec(`INSERT INTO webhook_events (tenant_id, id, event_type, payload)
		SELECT $1, beaconpost_uuid_floor(now() - interval '39 days'), 'x', '{}'`, b.tenant.UUID())
	b.Exec(`INSERT INTO deliveries (tenant_id, id, event_id, endpoint_id, next_attempt_at)
		SELECT $1, beaconpost_uuid_floor(now() - interval '39 days'), beaconpost_uuid_floor(now() - interval '39 days'), $2, 'infinity'`, b.tenant.UUID(), endpointID)
	b.Exec(`DROP TABLE deliveries_p` + time.Now().UTC().AddDate(0, 0, 7).Format("20060102"))
	b.Exec(`ANALYZE pg_class, pg_inherits`) // or the catalog looks smaller to the planner than it is
	stop := b.start()
	require.Eventually(t, func() bool { return days() == "10" }, 10*time.Second, 10*time.Millisecond, "nine days around today, and the old one with work")
	require.Equal(t, "1", b.Query(`SELECT count(*)::text FROM deliveries`))
	require.NoError(t, stop(10*time.Second))
	b.Exec(`UPDATE deliveries SET status = 'delivered', completed_at = now()`)
	b.start()
	require.Eventually(t, func() bool { return days() == "9" }, 10*time.Second, 10*time.Millisecond)
	require.Equal(t, "0", b.Query(`SELECT count(*)::text FROM webhook_events`))
}
