package listen

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/signature"
)

const payload = `{"order": 42,  "note": "caf\u00e9 <b>"}`

// webhook is a request as Beaconpost sends it.
type webhook struct {
	id, eventType, body string
	secrets             []signature.Secret
	at                  time.Time
	change              func(*http.Request) // after signing
}

func (h webhook) request(ctx context.Context, t *testing.T, url string) *http.Request {
	t.Helper()
	if h.at.IsZero() {
		h.at = time.Now()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(h.body))
	require.NoError(t, err)
	req.Header.Set("Webhook-Id", h.id)
	req.Header.Set("Webhook-Timestamp", signature.Timestamp(h.at))
	if len(h.secrets) > 0 {
		req.Header.Set("Webhook-Signature", signature.Sign(h.secrets, h.id, h.at, []byte(h.body)))
	}
	req.Header.Set("Beaconpost-Event-Type", h.eventType)
	req.Header.Set("Beaconpost-Attempt", "2")
	req.Header.Set("Beaconpost-Delivery-Id", "d-"+h.id)
	req.Header.Set("Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	if h.change != nil {
		h.change(req)
	}
	return req
}

func (h webhook) post(t *testing.T, url string) (status int, text string, header http.Header) {
	t.Helper()
	resp, err := http.DefaultClient.Do(h.request(t.Context(), t, url))
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(body), resp.Header
}

// shelf is an Output that keeps what was shown.
type shelf struct {
	mu      sync.Mutex
	records []Record
	shown   chan Record
	err     error
}

func newShelf() *shelf { return &shelf{shown: make(chan Record, 100)} }

func (s *shelf) Show(rec Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	s.records = append(s.records, rec)
	s.shown <- rec
	return nil
}

func (s *shelf) last(t *testing.T) Record {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	require.NotEmpty(t, s.records)
	return s.records[len(s.records)-1]
}

func setup(t *testing.T, o Options) (url string, out *shelf, receiver *Receiver) {
	t.Helper()
	if o.Status == 0 {
		o.Status = http.StatusOK
	}
	out = newShelf()
	receiver, err := NewReceiver(o, out)
	require.NoError(t, err)
	server := httptest.NewServer(receiver)
	t.Cleanup(server.Close)
	return server.URL, out, receiver
}

func TestVerifies(t *testing.T) {
	t.Parallel()
	ours, other := signature.NewSecret(), signature.NewSecret()
	for name, tt := range map[string]struct {
		secrets []signature.Secret // of the receiver
		webhook webhook
		status  int
		err     string
	}{
		"signed":              {[]signature.Secret{ours}, webhook{secrets: []signature.Secret{ours}}, 200, ""},
		"during a rotation":   {[]signature.Secret{ours}, webhook{secrets: []signature.Secret{other, ours}}, 200, ""},
		"one of several":      {[]signature.Secret{other, ours}, webhook{secrets: []signature.Secret{ours}}, 200, ""},
		"wrong secret":        {[]signature.Secret{ours}, webhook{secrets: []signature.Secret{other}}, 401, "wrong signature: another secret"},
		"none of the secrets": {[]signature.Secret{ours, ours}, webhook{secrets: []signature.Secret{other}}, 401, "none of the 2 secrets"},
		"not signed":          {[]signature.Secret{ours}, webhook{}, 401, "not signed"},
		"old":                 {[]signature.Secret{ours}, webhook{secrets: []signature.Secret{ours}, at: time.Now().Add(-time.Hour)}, 401, "more than 5 minutes old"},
		"from the future":     {[]signature.Secret{ours}, webhook{secrets: []signature.Secret{ours}, at: time.Now().Add(time.Hour)}, 401, "in the future"},
		"no time": {[]signature.Secret{ours}, webhook{secrets: []signature.Secret{ours}, change: func(r *http.Request) {
			r.Header.Set("Webhook-Timestamp", "now")
		}}, 401, "not a number"},
		"tampered body": {[]signature.Secret{ours}, webhook{secrets: []signature.Secret{ours}, change: func(r *http.Request) {
			r.Body = io.NopCloser(strings.NewReader(strings.Replace(payload, "42", "43", 1)))
		}}, 401, "the body was changed"},
		"another id": {[]signature.Secret{ours}, webhook{secrets: []signature.Secret{ours}, change: func(r *http.Request) {
			r.Header.Set("Webhook-Id", "evt_2")
		}}, 401, "wrong signature"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var texts []string
			for _, s := range tt.secrets {
				texts = append(texts, s.Reveal())
			}
			url, out, _ := setup(t, Options{Secrets: texts})
			tt.webhook.id, tt.webhook.eventType, tt.webhook.body = "evt_1", "order.paid", payload
			status, text, _ := tt.webhook.post(t, url+"/hooks?x=1")
			require.Equal(t, tt.status, status)
			rec := out.last(t)
			require.Equal(t, tt.status, rec.Status)
			require.True(t, rec.Checked)
			require.Equal(t, tt.err == "", rec.Verified)
			require.Contains(t, rec.Error, tt.err)
			require.Contains(t, text, rec.Error, "the answer says why")
		})
	}
}

func TestRecord(t *testing.T) {
	t.Parallel()
	url, out, _ := setup(t, Options{})
	status, _, _ := webhook{id: "evt_1", eventType: "order.paid", body: payload}.post(t, url+"/hooks?x=1")
	require.Equal(t, 200, status)
	rec := out.last(t)
	require.False(t, rec.Checked)
	require.False(t, rec.Verified)
	require.Equal(t, []any{"evt_1", "order.paid", 2, "POST", "/hooks?x=1", payload, "", false},
		[]any{rec.ID(), rec.EventType(), rec.Attempt(), rec.Method, rec.Path, string(rec.Body), rec.Error, rec.Duplicate})
	require.WithinDuration(t, time.Now(), rec.Time, time.Minute)
}

func TestFailsFirst(t *testing.T) {
	t.Parallel()
	url, out, _ := setup(t, Options{Fail: 2, FailStatus: 503, RetryAfter: 1500 * time.Millisecond, Status: 204})
	a, b := webhook{id: "a", body: payload}, webhook{id: "b", body: payload}
	for i, step := range []struct {
		webhook   webhook
		status    int
		retry     string
		duplicate bool
	}{
		{a, 503, "2", false}, {b, 503, "2", false}, {a, 503, "2", false}, {a, 204, "", false}, {b, 503, "2", false}, {a, 204, "", true}, {b, 204, "", false},
	} {
		status, _, header := step.webhook.post(t, url)
		require.Equal(t, step.status, status, "step %d", i)
		require.Equal(t, step.retry, header.Get("Retry-After"), "step %d", i)
		require.Equal(t, step.duplicate, out.last(t).Duplicate, "step %d", i)
		require.Empty(t, out.last(t).Error)
	}
}

func TestRefusedDoesNotCount(t *testing.T) {
	t.Parallel()
	secret := signature.NewSecret()
	url, out, receiver := setup(t, Options{Secrets: []string{secret.Reveal()}, Fail: 1, FailStatus: 500, Max: 1})
	forged := webhook{id: "a", body: payload}
	genuine := webhook{id: "a", body: payload, secrets: []signature.Secret{secret}}
	for _, step := range []struct {
		webhook webhook
		status  int
	}{{forged, 401}, {genuine, 500}, {forged, 401}, {genuine, 200}} {
		require.Zero(t, receiver.LastAccepted())
		status, _, _ := step.webhook.post(t, url)
		require.Equal(t, step.status, status)
		require.False(t, out.last(t).Duplicate)
	}
	<-receiver.Done()
	require.NotZero(t, receiver.LastAccepted())
	status, text, _ := genuine.post(t, url)
	require.Equal(t, 503, status, "nothing more is accepted")
	require.Contains(t, text, "--max")
}

func TestBadRequests(t *testing.T) {
	t.Parallel()
	url, out, _ := setup(t, Options{})
	status, _, _ := webhook{id: "a", change: func(r *http.Request) { r.Method = http.MethodGet }}.post(t, url)
	require.Equal(t, 405, status)
	require.Equal(t, "webhooks are POST requests", out.last(t).Error)

	status, _, _ = webhook{id: "a", body: strings.Repeat("x", maxBody)}.post(t, url)
	require.Equal(t, 200, status)
	require.Len(t, out.last(t).Body, maxBody)
	status, _, _ = webhook{id: "b", body: strings.Repeat("x", maxBody+1)}.post(t, url)
	require.Equal(t, 413, status)
	require.Equal(t, "the body is larger than 1MiB", out.last(t).Error)
	require.Nil(t, out.last(t).Body)
}

func TestWhatIsNotShownIsNotAccepted(t *testing.T) {
	t.Parallel()
	url, out, receiver := setup(t, Options{Max: 1})
	out.err = errors.New("disk full")
	status, text, _ := webhook{id: "a", body: payload}.post(t, url)
	require.Equal(t, 500, status)
	require.Contains(t, text, "disk full")
	out.mu.Lock()
	out.err = nil
	out.mu.Unlock()
	status, _, _ = webhook{id: "a", body: payload}.post(t, url)
	require.Equal(t, 200, status)
	require.False(t, out.last(t).Duplicate)
	<-receiver.Done()
}

func TestHangUntilTheClientGoes(t *testing.T) {
	t.Parallel()
	url, out, receiver := setup(t, Options{Hang: true})
	ctx, cancel := context.WithCancel(t.Context())
	trace := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { cancel() }})
	_, err := http.DefaultClient.Do(webhook{id: "a", body: payload}.request(trace, t, url))
	require.ErrorIs(t, err, context.Canceled)
	rec := <-out.shown
	require.Zero(t, rec.Status)
	require.Equal(t, "not answered: the client went away", rec.Error)
	require.Equal(t, payload, string(rec.Body))
	require.Zero(t, receiver.LastAccepted())
}

// TestDelay uses a fake clock, which needs a request without a network.
func TestDelay(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		patience time.Duration // of the client
		cause    error
		took     time.Duration
		err      string
	}{
		"patient":  {time.Hour, nil, 2 * time.Second, ""},
		"gives up": {time.Second, nil, time.Second, "not answered: the client went away"},
		"stopped":  {time.Second, errStopping, time.Second, "not answered: stopped while waiting"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				out := newShelf()
				receiver, err := NewReceiver(Options{Status: 200, Delay: 2 * time.Second}, out)
				require.NoError(t, err)
				ctx, cancel := context.WithTimeoutCause(t.Context(), tt.patience, tt.cause)
				defer cancel()
				answer := httptest.NewRecorder()
				serve := func() { receiver.ServeHTTP(answer, webhook{id: "a", body: payload}.request(ctx, t, "http://x/")) }
				if tt.err == "" {
					serve()
					require.Equal(t, 200, answer.Code)
				} else {
					require.PanicsWithValue(t, http.ErrAbortHandler, serve)
				}
				rec := out.last(t)
				require.Equal(t, tt.took, rec.Took)
				require.Equal(t, tt.err, rec.Error)
			})
		})
	}
}

func TestOptionsCheck(t *testing.T) {
	t.Parallel()
	for want, o := range map[string]Options{
		"--status: expected":            {Status: 99},
		"--fail-status: expected":       {Status: 200, Fail: 1, FailStatus: 200},
		"--fail: expected":              {Status: 200, Fail: -1},
		"--max: expected":               {Status: 200, Max: -1},
		"--delay: expected":             {Status: 200, Delay: -1},
		"--retry-after: expected":       {Status: 200, RetryAfter: -1},
		"--hang: never answers":         {Status: 200, Hang: true, Max: 1},
		"--max: nothing is accepted":    {Status: 410, Max: 1},
		"--secret: parse signing":       {Status: 200, Secrets: []string{"sesame"}},
		"must have 24 to 64":            {Status: 200, Secrets: []string{"whsec_AAAA"}},
		"--max: expected a count, got ": {Status: 1, Max: -1}, // all at once
	} {
		_, err := NewReceiver(o, newShelf())
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "sesame")
	}
}
