package e2e

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	producers = 8
	settling  = 150 * time.Second // AckWait is 60 s, and machines are shared
)

// withReplicas runs a fault test with one and with two replicas of delivery.
func withReplicas(t *testing.T, test func(t *testing.T, s *system), extra ...string) {
	t.Helper()
	t.Parallel()
	for _, replicas := range []int{1, 2} {
		t.Run(fmt.Sprintf("replicas=%d", replicas), func(t *testing.T) {
			t.Parallel()
			test(t, startSystem(t, replicas, extra...))
		})
	}
}

// With the broker away nothing can be published; then ingest dies. All that is left are rows.
func TestIngestDiesBetweenCommitAndPublish(t *testing.T) {
	withReplicas(t, func(t *testing.T, s *system) {
		e := s.receive(nil, nil)
		s.terminate(s.NATS)
		load := s.produce(producers)
		load.atLeast(200)
		load.finish()
		s.Ingest.Kill()
		require.Zero(t, e.received())
		s.startNATS()
		s.startIngest()
		s.settled(settling)
		load.check(t, e, 0, "nothing was sent before the crash")
	})
}

// Killed at any moment: some requests are committed without an answer, some answered without a publish. Producers repeat.
func TestIngestIsKilledUnderLoad(t *testing.T) {
	withReplicas(t, func(t *testing.T, s *system) {
		e := s.receive(nil, nil)
		load := s.produce(producers)
		for range 3 {
			load.atLeast(300)
			s.Ingest.Kill()
			s.startIngest()
		}
		load.atLeast(100)
		load.finish()
		s.settled(settling)
		load.check(t, e, 0, "ingest makes no attempts")
	})
}

// Postgres is stopped while endpoints answer, so nothing can be recorded; then delivery dies. Exactly the attempts in between are repeated.
func TestDeliveryDiesBetweenAnswerAndRecord(t *testing.T) {
	withReplicas(t, func(t *testing.T, s *system) {
		const n = 20
		hold, letGo := make(chan struct{}), sync.Once{}
		release := func() { letGo.Do(func() { close(hold) }) }
		defer release()
		var holding atomic.Bool
		e := s.receive(func(http.ResponseWriter, *http.Request) {
			if holding.Load() {
				<-hold
			}
		}, map[string]any{"timeout": "10s"})
		load := &traffic{s: s, accepted: map[string]bool{}}
		// An endpoint gets many attempts at the same time only when it has shown that it answers, to each replica.
		const known = 8 * n
		for i := range known {
			load.send(fmt.Sprint("known", i))
		}
		s.settled(settling)
		before := maps.Clone(load.accepted)
		holding.Store(true)
		for i := range n {
			load.send(fmt.Sprint("k", i))
		}
		require.Eventually(t, func() bool { return e.received() == known+n }, 20*time.Second, 10*time.Millisecond)
		s.stopPostgres()
		release() // every endpoint answers now
		require.Eventually(t, func() bool { return s.trouble("record") }, 20*time.Second, 20*time.Millisecond, "no record was tried")
		for _, p := range s.Deliveries {
			p.Kill()
		}
		s.startPostgres()
		s.startDelivery()
		s.settled(settling)
		load.check(t, e, n, "each attempt that was answered and not recorded is repeated once")
		require.Equal(t, "delivered", s.query(`SELECT string_agg(DISTINCT status, ',') FROM deliveries`))
		for id, requests := range e.got {
			if !before[id] {
				require.Equal(t, 2, requests, id)
			}
		}
	})
}

// trouble says whether a delivery replica has failed at doing something.
func (s *system) trouble(doing string) bool {
	for _, p := range s.Deliveries {
		if strings.Contains(s.metrics(p), `beaconpost_delivery_trouble_total{doing="`+doing+`"}`) {
			return true
		}
	}
	return false
}

func TestDeliveryIsKilledUnderLoad(t *testing.T) {
	const kills, slots = 3, 16
	withReplicas(t, func(t *testing.T, s *system) {
		e := s.receive(nil, nil)
		load := s.produce(producers)
		for range kills {
			load.atLeast(300)
			s.Deliveries[0].Kill()
			s.replaceDelivery()
		}
		load.atLeast(100)
		load.finish()
		s.settled(settling)
		load.check(t, e, kills*slots, "an answer without a record holds a slot, so each kill repeats at most the slots")
		require.Equal(t, "1", s.query(`SELECT max(n)::text FROM (SELECT count(*) AS n FROM delivery_attempts GROUP BY delivery_id) x`), "what was recorded is not repeated")
	}, fmt.Sprintf("BEACONPOST_DELIVERY_CONCURRENCY=%d", slots))
}

func TestTheBrokerIsStoppedUnderLoad(t *testing.T) {
	withReplicas(t, func(t *testing.T, s *system) {
		e := s.receive(nil, nil)
		load := s.produce(producers)
		load.atLeast(300)
		s.NATS.Kill()
		load.atLeast(300) // still 202
		s.startNATS()
		load.atLeast(300)
		load.finish()
		s.settled(settling)
		load.check(t, e, 0, "attempts are recorded whether the broker hears of it or not")
	})
}

func TestTheBrokersDirectoryIsWipedUnderLoad(t *testing.T) {
	withReplicas(t, func(t *testing.T, s *system) {
		// Some fail at first, so that retry schedules are lost too.
		e := s.receive(failFirst(3), nil)
		load := s.produce(producers)
		load.atLeast(500)
		s.NATS.Kill()
		require.NoError(t, os.RemoveAll(s.NATSDir()))
		load.atLeast(300)
		s.startNATS()
		load.atLeast(300)
		load.finish()
		s.settled(settling)
		load.checkArrived(t, e)
		require.Eventually(t, func() bool { return s.unaccounted() == "0" }, 20*time.Second, 50*time.Millisecond)
	})
}

func TestPostgresIsRestartedUnderLoad(t *testing.T) {
	withReplicas(t, func(t *testing.T, s *system) {
		e := s.receive(nil, nil)
		load := s.produce(producers)
		for range 2 {
			load.atLeast(300)
			s.stopPostgres()
			s.startPostgres()
		}
		load.atLeast(300)
		load.finish()
		s.settled(settling)
		load.check(t, e, 0, "results wait in memory until Postgres is back")
	})
}

// A deploy: SIGTERM, new process. No attempt is cut, none counts against the endpoint.
func TestDeliveryIsReplacedUnderLoad(t *testing.T) {
	withReplicas(t, func(t *testing.T, s *system) {
		e := s.receive(func(http.ResponseWriter, *http.Request) { time.Sleep(50 * time.Millisecond) }, nil)
		load := s.produce(producers)
		for range 2 {
			load.atLeast(200)
			s.terminate(s.Deliveries[0])
			s.replaceDelivery()
		}
		load.atLeast(100)
		load.finish()
		s.settled(settling)
		load.check(t, e, 0, "a deploy repeats nothing")
		require.Equal(t, "1", s.query(`SELECT max(attempts)::text FROM deliveries`))
	})
}
