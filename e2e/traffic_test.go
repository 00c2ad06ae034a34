package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"
)

// endpoint is a receiver and what it got.
type endpoint struct {
	id     string
	secret string
	mu     sync.Mutex
	got    map[string]int // requests by webhook-id
	bodies map[string][]byte
	heads  map[string]http.Header
	bad    []string // signature failures
}

// receive makes an endpoint whose requests are recorded, verified, and answered by answer (nil: 200).
func (s *system) receive(answer http.HandlerFunc, settings map[string]any) *endpoint {
	s.t.Helper()
	e := &endpoint{got: map[string]int{}, bodies: map[string][]byte{}, heads: map[string]http.Header{}}
	ready := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		<-ready
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		e.record(r.Header, body)
		if answer != nil {
			answer(w, r)
		}
	}))
	s.t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	body := map[string]any{"url": server.URL}
	for k, v := range settings {
		body[k] = v
	}
	var created struct{ ID, Secret string }
	s.call(s.APIKey, "POST", "/v1/endpoints", body, &created)
	e.id, e.secret = created.ID, created.Secret
	close(ready)
	return e
}

func (e *endpoint) record(header http.Header, body []byte) {
	verifier, err := standardwebhooks.NewWebhook(e.secret)
	if err == nil {
		err = verifier.Verify(body, header)
	}
	id := header.Get("webhook-id")
	e.mu.Lock()
	defer e.mu.Unlock()
	if err != nil {
		e.bad = append(e.bad, id+": "+err.Error())
	}
	e.got[id]++
	e.bodies[id], e.heads[id] = body, header.Clone()
}

func (e *endpoint) received() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.got)
}

// traffic is a load of events and which of them were accepted.
type traffic struct {
	s        *system
	stop     atomic.Bool
	wg       sync.WaitGroup
	mu       sync.Mutex
	accepted map[string]bool // event ids that got a 202
	refused  int             // answers and errors that were repeated
}

// produce posts events from several producers until finish is called. Like a careful producer, each repeats a request that failed,
// with the same Idempotency-Key, until it is accepted.
func (s *system) produce(producers int) *traffic {
	tr := &traffic{s: s, accepted: map[string]bool{}}
	for p := range producers {
		tr.wg.Go(func() {
			for n := 0; !tr.stop.Load(); n++ {
				tr.send(fmt.Sprintf("p%d-%d", p, n))
			}
		})
	}
	return tr
}

func (tr *traffic) send(key string) {
	body := []byte(`{"event_type":"order.paid","payload":{"key":"` + key + `"}}`)
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		status, answer, err := tr.s.Post(ctx, tr.s.APIKey, "POST", "/v1/events", body, key)
		cancel()
		var got struct{ ID string }
		if err == nil && status == http.StatusAccepted && json.Unmarshal(answer, &got) == nil {
			tr.mu.Lock()
			tr.accepted[got.ID] = true
			tr.mu.Unlock()
			return
		}
		tr.mu.Lock()
		tr.refused++
		tr.mu.Unlock()
		time.Sleep(50 * time.Millisecond) // a producer's pause before it repeats
	}
}

// finish stops the producers after the requests that they are at.
func (tr *traffic) finish() {
	tr.stop.Store(true)
	tr.wg.Wait()
}

func (tr *traffic) count() int {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return len(tr.accepted)
}

// atLeast waits until so many more events were accepted.
func (tr *traffic) atLeast(n int) {
	tr.s.t.Helper()
	want := tr.count() + n
	require.Eventually(tr.s.t, func() bool { return tr.count() >= want }, 60*time.Second, 5*time.Millisecond, "events are not accepted")
}

// settled waits until no delivery is pending.
func (s *system) settled(limit time.Duration) {
	s.t.Helper()
	require.Eventually(s.t, func() bool {
		return s.query(`SELECT count(*)::text FROM deliveries WHERE status = 'pending'`) == "0"
	}, limit, 200*time.Millisecond, "deliveries are still pending")
}

// check compares what was accepted with what arrived: nothing is missing, every signature is right, every accepted event is one event,
// and no more than mostDuplicates requests came twice. It reports how many did.
func (tr *traffic) check(t *testing.T, e *endpoint, mostDuplicates int, why string) {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	missing, duplicates := 0, 0
	for id := range tr.accepted {
		if e.got[id] == 0 {
			missing++
		}
	}
	for id, n := range e.got {
		if !tr.accepted[id] {
			require.Failf(t, "unknown event", "%s arrived and was never accepted: a repeated request made a second event", id)
		}
		duplicates += n - 1
	}
	t.Logf("accepted %d, requests repeated by producers %d, missing %d, duplicates %d (at most %d: %s)", len(tr.accepted), tr.refused, missing, duplicates, mostDuplicates, why)
	require.Zero(t, missing, "accepted events that never arrived")
	require.Empty(t, e.bad, "signatures")
	require.LessOrEqual(t, duplicates, mostDuplicates, why)
}
