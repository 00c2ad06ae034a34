package delivery_test

import (
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/stream"
	"github.com/beaconpost/beaconpost/proto/subject"
)

func TestADeliveryArrivesSignedAndByteForByte(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s := newSink(t, func(_ int, w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("thanks")) })
	endpointID, secret := b.endpoint(s.URL + "/hook?x=1")
	payload := "{\n \"a\" : 1.0, \"u\":\"\\u00e9\" }"
	q := b.send(endpointID, payload)
	b.wait(q, "delivered")

	got := s.requests()
	require.Len(t, got, 1)
	require.Equal(t, payload, string(got[0].body))
	require.Equal(t, q.event.String(), got[0].header.Get("webhook-id"))
	require.Equal(t, "application/json", got[0].header.Get("Content-Type"))
	require.Equal(t, "Beaconpost/test", got[0].header.Get("User-Agent"))
	require.Equal(t, "order.paid", got[0].header.Get("Beaconpost-Event-Type"))
	require.Equal(t, "1", got[0].header.Get("Beaconpost-Attempt"))
	verifier, err := standardwebhooks.NewWebhook(secret.Reveal())
	require.NoError(t, err)
	require.NoError(t, verifier.Verify(got[0].body, got[0].header))

	var read struct {
		Status     string
		Attempts   int
		EventType  string `json:"event_type"`
		AttemptLog []struct {
			Number     int
			StatusCode int    `json:"status_code"`
			Excerpt    string `json:"response_excerpt"`
			TraceID    string `json:"trace_id"`
			Duration   string
		} `json:"attempt_log"`
	}
	b.client.Do("GET", "/v1/deliveries/"+q.delivery.String(), nil).Want(200, &read)
	require.Equal(t, "delivered", read.Status)
	require.Equal(t, "order.paid", read.EventType)
	require.Len(t, read.AttemptLog, 1)
	require.Equal(t, 200, read.AttemptLog[0].StatusCode)
	require.Equal(t, "thanks", read.AttemptLog[0].Excerpt)
	require.Len(t, read.AttemptLog[0].TraceID, 32)
}

func TestDuringRotationBothSignaturesAreSent(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s := newSink(t, nil)
	endpointID, old := b.endpoint(s.URL)
	b.wait(b.send(endpointID, `1`), "delivered") // the old secret is cached now
	b.Exec(`UPDATE endpoint_secrets SET expires_at = now() + interval '2 seconds' WHERE endpoint_id = $1`, endpointID)
	current := b.secret(endpointID)
	b.wait(b.send(endpointID, `2`), "delivered")
	got := s.requests()[1]
	require.Len(t, strings.Fields(got.header.Get("webhook-signature")), 2)
	for _, secret := range []string{old.Reveal(), current.Reveal()} {
		verifier, err := standardwebhooks.NewWebhook(secret)
		require.NoError(t, err)
		require.NoError(t, verifier.Verify(got.body, got.header))
	}
	require.Eventually(t, func() bool {
		b.wait(b.send(endpointID, `3`), "delivered")
		all := s.requests()
		return len(strings.Fields(all[len(all)-1].header.Get("webhook-signature"))) == 1
	}, 10*time.Second, 50*time.Millisecond, "the old secret ends without anybody touching the cache")
}

func TestFailuresAreRetriedUntilSuccess(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s := newSink(t, func(n int, w http.ResponseWriter, _ *http.Request) {
		if n <= 3 {
			w.WriteHeader(500 + n)
		}
	})
	endpointID, _ := b.endpoint(s.URL)
	q := b.send(endpointID, `{}`)
	b.wait(q, "delivered")
	require.Equal(t, "1 501\n2 502\n3 503\n4 200", b.attempts(q))
	for i, r := range s.requests() {
		require.Equal(t, q.event.String(), r.header.Get("webhook-id"), "the same on every attempt")
		require.Equal(t, fmt.Sprint(i+1), r.header.Get("Beaconpost-Attempt"))
	}
	require.Equal(t, "4 200", b.Query(`SELECT attempts || ' ' || last_status FROM deliveries WHERE id = $1`, q.delivery))
}

func TestSpentAttemptsExhaust(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s := newSink(t, func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) })
	endpointID, _ := b.endpoint(s.URL)
	b.Exec(`UPDATE endpoints SET retry_schedule_ms = '{50,100}' WHERE id = $1`, endpointID)
	q := b.send(endpointID, `{}`)
	b.wait(q, "exhausted")
	require.Equal(t, "1 404\n2 404\n3 404", b.attempts(q))

	// One more by hand; the policy is spent, so it ends there again.
	b.client.Do("POST", "/v1/deliveries/"+q.delivery.String()+"/retry", nil).Want(202, nil)
	require.Eventually(t, func() bool { return len(s.requests()) == 4 && b.status(q) == "exhausted" }, 10*time.Second, 10*time.Millisecond)
}

func TestEveryKindOfFailureHasItsClass(t *testing.T) {
	t.Parallel()
	b := setup(t, "BEACONPOST_DELIVERY_TIMEOUT=300ms", "BEACONPOST_NETWORK_ALLOW_LOOPBACK=false", "BEACONPOST_NETWORK_ALLOW=127.0.0.1/32", "BEACONPOST_DELIVERY_MAX_ATTEMPTS=1")
	hang := newSink(t, func(_ int, _ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	drip := newSink(t, func(_ int, w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			_, _ = w.Write([]byte("."))
			_ = http.NewResponseController(w).Flush()
			select {
			case <-r.Context().Done():
			case <-time.After(20 * time.Millisecond):
			}
		}
	})
	redirect := newSink(t, func(_ int, w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/elsewhere", http.StatusFound)
	})
	reset := newSink(t, func(int, http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	endless := newSink(t, func(_ int, w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 8<<10)); err != nil {
				return
			}
		}
	})
	big := newSink(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(500)
		_, _ = w.Write([]byte(strings.Repeat("x", 5000)))
	})
	for name, tt := range map[string]struct{ url, status, attempt string }{
		"hang":         {hang.URL, "exhausted", "1 timeout_header"},
		"drip":         {drip.URL, "exhausted", "1 200 timeout_body"},
		"redirect":     {redirect.URL, "exhausted", "1 302"},
		"reset":        {reset.URL, "exhausted", "1 reset"},
		"endless body": {endless.URL, "delivered", "1 200"},
		"big error":    {big.URL, "exhausted", "1 500"},
		"refused":      {"http://" + closedPort(t), "exhausted", "1 connect"},
		"no such host": {"http://nothing.invalid/", "exhausted", "1 dns"},
		"blocked":      {"http://127.0.0.2:9/", "exhausted", "1 blocked_address"},
		"metadata":     {"http://169.254.169.254/latest", "exhausted", "1 blocked_address"},
		"not TLS":      {strings.Replace(hang.URL, "http:", "https:", 1), "exhausted", "1 tls"},
		"not HTTP":     {"http://" + notHTTP(t), "exhausted", "1 protocol"},
	} {
		endpointID, _ := b.endpoint(tt.url)
		q := b.send(endpointID, `{}`)
		b.wait(q, tt.status)
		require.Equal(t, tt.attempt, b.attempts(q), name)
	}
	require.Len(t, redirect.requests(), 1, "a redirect is not followed")
	require.Equal(t, "4096 true", b.Query(`SELECT length(response_excerpt) || ' ' || response_truncated::text FROM delivery_attempts WHERE status_code = 500`))
}

// An endpoint from before the installation became stricter.
func TestHTTPSOnly(t *testing.T) {
	t.Parallel()
	b := setup(t, "BEACONPOST_NETWORK_HTTPS_ONLY=true", "BEACONPOST_DELIVERY_MAX_ATTEMPTS=1")
	s := newSink(t, nil)
	endpointID, _ := b.endpoint(s.URL)
	q := b.send(endpointID, `{}`)
	b.wait(q, "exhausted")
	require.Equal(t, "1 blocked_address", b.attempts(q))
	require.Empty(t, s.requests())
}

func closedPort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	return ln.Addr().String()
}

func notHTTP(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte("SSH-2.0-OpenSSH\r\n\r\n"))
			_ = conn.Close()
		}
	}()
	return ln.Addr().String()
}

func TestOfManyMessagesForAnAttemptOneStartsIt(t *testing.T) {
	t.Parallel()
	b := setup(t, "BEACONPOST_DELIVERY_RECONCILE_GRACE=1h")
	b.start("BEACONPOST_DELIVERY_RECONCILE_GRACE=1h") // a second replica
	release := make(chan struct{})
	s := newSink(t, func(n int, _ http.ResponseWriter, _ *http.Request) {
		if n == 1 {
			<-release
		}
	})
	endpointID, _ := b.endpoint(s.URL)
	q := b.enqueue(endpointID, `{}`)
	// The reconciler leased the row again and again while the first message was only late: they all arrive at once.
	old, repeat := q.message, q.message
	repeat.MustClaim = true
	repeats := func(n int) {
		for range n {
			repeat.Due = repeat.Due.Add(time.Microsecond)
			b.publish.Ready(repeat)
		}
	}
	b.Exec(`UPDATE deliveries SET next_attempt_at = next_attempt_at + interval '1 microsecond' WHERE id = $1`, q.delivery)
	b.publish.Ready(old)
	repeats(20)
	require.Eventually(t, func() bool { return len(s.requests()) >= 1 }, 10*time.Second, 5*time.Millisecond)
	repeats(20)
	close(release)
	b.wait(q, "delivered")
	repeats(2)
	b.wait(b.send(endpointID, `"last"`), "delivered")
	b.drained()
	require.Len(t, s.requests(), 2, "one for each event")
}

// drained waits until the broker holds no message.
func (b *bundle) drained() {
	b.t.Helper()
	js, err := stream.JetStream(b.nats)
	require.NoError(b.t, err)
	require.Eventually(b.t, func() bool {
		info, err := js.Stream(b.t.Context(), subject.StreamDeliveries)
		return err == nil && info.CachedInfo().State.Msgs == 0
	}, 10*time.Second, 10*time.Millisecond)
}

func TestGarbageOnTheSubjectIsRemoved(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s := newSink(t, nil)
	endpointID, _ := b.endpoint(s.URL)
	b.wait(b.send(endpointID, `1`), "delivered")
	require.NoError(t, b.nats.Publish(subject.Ready(0), []byte("garbage")))
	b.wait(b.send(endpointID, `2`), "delivered")
	b.drained()
}

func TestDisabledEndpointsParkAndDeletedOnesCancel(t *testing.T) {
	t.Parallel()
	b := setup(t, "BEACONPOST_DELIVERY_RECONCILE_GRACE=200ms")
	s := newSink(t, nil)
	endpointID, _ := b.endpoint(s.URL)
	b.Exec(`UPDATE endpoints SET status = 'disabled' WHERE id = $1`, endpointID)
	q := b.send(endpointID, `{}`)
	require.Eventually(t, func() bool {
		return b.Query(`SELECT next_attempt_at::text FROM deliveries WHERE id = $1`, q.delivery) == "infinity"
	}, 10*time.Second, 10*time.Millisecond)
	var view struct {
		Status        string
		NextAttemptAt *string `json:"next_attempt_at"`
	}
	b.client.Do("GET", "/v1/deliveries/"+q.delivery.String(), nil).Want(200, &view)
	require.Equal(t, "pending", view.Status)
	require.Nil(t, view.NextAttemptAt)
	b.client.Do("POST", "/v1/deliveries/"+q.delivery.String()+"/retry", nil).WantProblem(409, "endpoint_disabled", "")

	b.Exec(`UPDATE endpoints SET status = 'enabled' WHERE id = $1`, endpointID)
	b.Exec(`UPDATE deliveries SET next_attempt_at = now() - interval '1 hour' WHERE id = $1`, q.delivery) // as ingest does
	b.wait(q, "delivered")

	b.Exec(`UPDATE endpoints SET deleted_at = now() WHERE id = $1`, endpointID)
	q = b.send(endpointID, `{}`)
	b.wait(q, "cancelled")
	require.Len(t, s.requests(), 1)
}

func TestASecretThatCannotBeOpenedStopsItsEndpointOnly(t *testing.T) {
	t.Parallel()
	b := setup(t, "BEACONPOST_DELIVERY_RECONCILE_GRACE=200ms")
	s := newSink(t, nil)
	broken, _ := b.endpoint(s.URL)
	fine, _ := b.endpoint(s.URL)
	good := b.Query(`SELECT encode(ciphertext, 'hex') FROM endpoint_secrets WHERE endpoint_id = $1`, broken)
	b.Exec(`UPDATE endpoint_secrets SET ciphertext = '\x00' WHERE endpoint_id = $1`, broken)
	waiting := b.send(broken, `1`)
	b.wait(b.send(fine, `2`), "delivered")
	require.Equal(t, "pending", b.status(waiting))
	require.Empty(t, b.attempts(waiting), "our fault is not the endpoint's failure")
	b.Exec(`UPDATE endpoint_secrets SET ciphertext = decode($2, 'hex') WHERE endpoint_id = $1`, broken, good)
	b.wait(waiting, "delivered")
}

func TestCancel(t *testing.T) {
	t.Parallel()
	b := setup(t, "BEACONPOST_DELIVERY_RETRY_BASE=1h")
	s := newSink(t, func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	endpointID, _ := b.endpoint(s.URL)
	q := b.send(endpointID, `{}`)
	path := "/v1/deliveries/" + q.delivery.String()
	require.Eventually(t, func() bool { return b.attempts(q) != "" }, 10*time.Second, 10*time.Millisecond)
	var view struct {
		Status       string
		CancelReason string `json:"cancel_reason"`
	}
	b.client.Do("POST", path+"/cancel", nil).Want(200, &view)
	require.Equal(t, "cancelled", view.Status)
	require.Equal(t, "requested", view.CancelReason)
	b.drained() // the retry that was planned in an hour is gone
	b.client.Do("POST", path+"/cancel", nil).Want(200, nil)
	b.client.Do("POST", path+"/retry", nil).Want(202, &view)
	require.Equal(t, "pending", view.Status)
	require.Eventually(t, func() bool { return len(s.requests()) == 2 }, 10*time.Second, 10*time.Millisecond)
	b.client.Do("POST", "/v1/deliveries/"+uuid.NewString()+"/cancel", nil).WantProblem(404, "delivery_not_found", "")
	b.client.Do("POST", "/v1/deliveries/"+uuid.NewString()+"/retry", nil).WantProblem(404, "delivery_not_found", "")

	done := newSink(t, nil)
	fine, _ := b.endpoint(done.URL)
	q = b.send(fine, `{}`)
	b.wait(q, "delivered")
	b.client.Do("POST", "/v1/deliveries/"+q.delivery.String()+"/cancel", nil).WantProblem(409, "delivery_ended", "")
	b.client.Do("POST", "/v1/deliveries/"+q.delivery.String()+"/retry", nil).WantProblem(409, "delivery_ended", "")
}

func TestCancelAndRetryWhileAnAttemptRunsRepeatNothing(t *testing.T) {
	t.Parallel()
	b := setup(t, "BEACONPOST_DELIVERY_TIMEOUT=20s")
	release := make(chan struct{})
	s := newSink(t, func(n int, w http.ResponseWriter, _ *http.Request) {
		if n == 1 {
			<-release
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	endpointID, _ := b.endpoint(s.URL)
	q := b.send(endpointID, `{}`)
	path := "/v1/deliveries/" + q.delivery.String()
	require.Eventually(t, func() bool { return len(s.requests()) == 1 }, 10*time.Second, 5*time.Millisecond)
	b.client.Do("POST", path+"/retry", nil).Want(202, nil) // due and being attempted: nothing to do
	b.client.Do("POST", path+"/cancel", nil).Want(200, nil)
	b.client.Do("POST", path+"/retry", nil).WantProblem(409, "attempt_in_progress", "")
	close(release)
	require.Eventually(t, func() bool { return b.attempts(q) == "1 500" }, 10*time.Second, 5*time.Millisecond)
	require.Equal(t, "cancelled 1", b.Query(`SELECT status || ' ' || attempts FROM deliveries WHERE id = $1`, q.delivery), "it stays cancelled, and the attempt counts")
	b.client.Do("POST", path+"/retry", nil).Want(202, nil)
	b.wait(q, "delivered")
	require.Equal(t, "1 500\n2 200", b.attempts(q))
	require.Len(t, s.requests(), 2)
}

func TestAnAttemptThatCannotBeStoredStillCounts(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s := newSink(t, nil)
	endpointID, _ := b.endpoint(s.URL)
	b.Exec(`ALTER TABLE delivery_attempts ADD CONSTRAINT refused CHECK (number < 1) NOT VALID`)
	q := b.send(endpointID, `{}`)
	b.wait(q, "delivered")
	require.Empty(t, b.attempts(q))
	require.Len(t, s.requests(), 1)
}

func TestARetryByHandDoesNotWaitForThePlannedTime(t *testing.T) {
	t.Parallel()
	b := setup(t, "BEACONPOST_DELIVERY_RETRY_BASE=1h")
	s := newSink(t, func(n int, w http.ResponseWriter, _ *http.Request) {
		if n == 1 {
			w.WriteHeader(500)
		}
	})
	endpointID, _ := b.endpoint(s.URL)
	q := b.send(endpointID, `{}`)
	require.Eventually(t, func() bool { return b.attempts(q) == "1 500" }, 10*time.Second, 10*time.Millisecond)
	b.client.Do("POST", "/v1/deliveries/"+q.delivery.String()+"/retry", nil).Want(202, nil)
	b.wait(q, "delivered")
	require.Equal(t, "1 500\n2 200", b.attempts(q))
}

// What an endpoint leaves open its project says, then its tenant, then the installation.
func TestPoliciesOfProjectAndTenant(t *testing.T) {
	t.Parallel()
	b := setup(t, "BEACONPOST_DELIVERY_MAX_ATTEMPTS=5")
	bad := newSink(t, func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	project := uuid.Must(uuid.NewV7())
	b.Exec(`INSERT INTO projects (tenant_id, id, name) VALUES ($1, $2, 'shop')`, b.tenant.UUID(), project)
	b.Exec(`INSERT INTO retry_policies (tenant_id, project_id, max_attempts, base_ms) VALUES ($1, $1, 3, 1), ($1, $2, 2, null)`, b.tenant.UUID(), project)
	attempts := map[uuid.UUID]int{}
	of := func(change string, want int) {
		id, _ := b.endpoint(bad.URL)
		b.Exec(`UPDATE endpoints SET version = version + 1`+change+` WHERE id = $1`, id)
		attempts[id] = want
	}
	of("", 3)
	of(", project_id = '"+project.String()+"'", 2)
	of(", max_attempts = 1, project_id = '"+project.String()+"'", 1)
	of(", max_attempts = 1", 1)
	for id, want := range attempts {
		q := b.send(id, `{}`)
		b.wait(q, "exhausted")
		require.Len(t, strings.Split(b.attempts(q), "\n"), want)
	}
}

// A policy that is changed counts from the next result on; what is planned stays planned.
func TestNothingIsRetriedBeyondItsAge(t *testing.T) {
	t.Parallel()
	b := setup(t, "BEACONPOST_DELIVERY_RETRY_MAX_AGE=1h")
	bad := newSink(t, func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	short, _ := b.endpoint(bad.URL)
	b.Exec(`UPDATE endpoints SET retry_max_age_ms = 200, version = version + 1 WHERE id = $1`, short)
	long, _ := b.endpoint(bad.URL)
	q, other := b.send(short, `{}`), b.send(long, `{}`)
	b.wait(q, "exhausted")
	require.Less(t, len(strings.Split(b.attempts(q), "\n")), 4, "100 ms after the first, and no second of 200 ms later")
	require.Eventually(t, func() bool { return len(strings.Split(b.attempts(other), "\n")) >= 4 }, 10*time.Second, 10*time.Millisecond, "the installation's age is an hour")
}

func TestListOfDeliveries(t *testing.T) {
	t.Parallel()
	b := setup(t)
	good, bad := newSink(t, nil), newSink(t, func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	goodID, _ := b.endpoint(good.URL)
	badID, _ := b.endpoint(bad.URL)
	b.Exec(`UPDATE endpoints SET max_attempts = 1 WHERE id = $1`, badID)
	var all []queued
	for range 5 {
		all = append(all, b.send(goodID, `{}`))
	}
	failed := b.send(badID, `{}`)
	for _, q := range all {
		b.wait(q, "delivered")
	}
	b.wait(failed, "exhausted")
	count := func(query string) int {
		var page struct {
			Data []struct{ ID string }
			Next string `json:"next_cursor"`
		}
		n := 0
		for cursor := ""; ; cursor = "&cursor=" + page.Next {
			page.Next = ""
			b.client.Do("GET", "/v1/deliveries?limit=2"+query+cursor, nil).Want(200, &page)
			n += len(page.Data)
			if page.Next == "" {
				return n
			}
		}
	}
	require.Equal(t, 6, count(""))
	require.Equal(t, 5, count("&status=delivered"))
	require.Equal(t, 1, count("&endpoint_id="+badID.String()))
	require.Equal(t, 1, count("&event_id="+all[2].event.String()))
	require.Equal(t, 0, count("&status=pending"))
	require.Equal(t, 0, count("&created_before=2020-01-01T00:00:00Z"))
	require.Equal(t, 6, count("&created_after=2020-01-01T00:00:00Z"))
	b.client.Do("GET", "/v1/deliveries?status=lost", nil).WantProblem(422, "invalid_request", "status")
	b.client.Do("GET", "/v1/deliveries?event_id=7", nil).WantProblem(422, "invalid_request", "event_id")
}

// Statistics are there ten seconds later, or when the service stops, and add up over replicas.
func TestStatisticsAreStored(t *testing.T) {
	t.Parallel()
	b := prepare(t)
	s := newSink(t, func(n int, w http.ResponseWriter, _ *http.Request) {
		if n%3 == 1 {
			w.WriteHeader(500)
		}
	})
	endpointID, _ := b.endpoint(s.URL)
	broken := newSink(t, func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	brokenID, _ := b.endpoint(broken.URL)
	for range 2 {
		stop := b.start("BEACONPOST_DELIVERY_MAX_ATTEMPTS=1", "BEACONPOST_DELIVERY_BREAKER_FAILURES=100")
		b.wait(b.send(brokenID, `1`), "exhausted") // it only fails: there are no latencies to add
		require.NoError(t, stop(20*time.Second))
		stop = b.start()
		for i := range 6 {
			b.wait(b.send(endpointID, strconv.Itoa(i)), "delivered")
		}
		require.NoError(t, stop(20*time.Second))
	}
	const total = `SELECT concat_ws(' ', sum(attempts_succeeded), sum(attempts_failed), sum(delivered), sum(exhausted),
		(SELECT sum(n) FROM endpoint_stats, unnest(attempt_counts) n), (SELECT sum(n) FROM endpoint_stats, unnest(latency_counts) n)) FROM endpoint_stats WHERE endpoint_id = $1`
	failed := len(s.requests()) - 12
	require.Equal(t, fmt.Sprintf("12 %d 12 0 12 12", failed), b.Query(total, endpointID))
	require.Equal(t, "0 2 0 2 12 12", b.Query(total, brokenID), "the last two are of all endpoints")
}
