package send

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/services/beaconpost/internal/demo"
)

// api accepts events, after answering with what is in refusals, one after the other.
type api struct {
	*httptest.Server
	mu       sync.Mutex
	refusals []http.HandlerFunc
	bodies   []string
	keys     []string
}

func newAPI(t *testing.T, refusals ...http.HandlerFunc) *api {
	a := &api{refusals: refusals}
	a.Server = httptest.NewServer(a)
	t.Cleanup(a.Close)
	return a
}

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.bodies = append(a.bodies, string(body))
	a.keys = append(a.keys, r.Header.Get("Idempotency-Key"))
	if len(a.refusals) > 0 {
		next := a.refusals[0]
		a.refusals = a.refusals[1:]
		next(w, r)
		return
	}
	if r.Method+r.URL.Path != "POST/v1/events" || r.Header.Get("Authorization") != "Bearer bp_1" {
		w.WriteHeader(http.StatusTeapot)
		return
	}
	w.WriteHeader(http.StatusAccepted)
	fmt.Fprintf(w, `{"id":"evt_%d","status":"queued"}`, len(a.bodies))
}

func refuse(status int, body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func busy(w http.ResponseWriter, r *http.Request) {
	refuse(503, `{"code":"storage_unavailable","detail":"Try again."}`, "Retry-After", "0")(w, r)
}

func run(t *testing.T, a *api, stdin string, args ...string) (out, notes string, err error) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := Command()
	cmd.Reader, cmd.Writer, cmd.ErrWriter = strings.NewReader(stdin), &stdout, &stderr
	err = cmd.Run(t.Context(), append([]string{"send", "--url", a.URL, "--api-key", "bp_1"}, args...))
	return stdout.String(), stderr.String(), err
}

func TestPayloadIsSentByteForByte(t *testing.T) {
	t.Parallel()
	const odd = "{\t\"b\" : 1.0 ,\r\n \"a\":\"caf\\u00e9 \\/ <&> \u2028 é\", \"a\":1E400 }"
	path := filepath.Join(t.TempDir(), "payload.json")
	require.NoError(t, os.WriteFile(path, []byte(odd+"\n"), 0o600))
	for name, tt := range map[string]struct {
		args  []string
		stdin string
		want  string
	}{
		"argument":  {[]string{"order.paid", odd}, "", `{"event_type":"order.paid","payload":` + odd + `}`},
		"file":      {[]string{"order.paid", "@" + path}, "", `{"event_type":"order.paid","payload":` + odd + "\n}"},
		"stdin":     {[]string{"order.paid", "-"}, " " + odd, `{"event_type":"order.paid","payload": ` + odd + `}`},
		"default":   {[]string{"order.paid"}, "x", `{"event_type":"order.paid","payload":{}}`},
		"negative":  {[]string{"--", "order.paid", "-1"}, "", `{"event_type":"order.paid","payload":-1}`},
		"addressed": {[]string{"order.paid", "--endpoint", "e", "null", "--project", "p"}, "", `{"event_type":"order.paid","endpoint_id":"e","project_id":"p","payload":null}`},
		"quoted":    {[]string{`a"b`}, "", `{"event_type":"a\"b","payload":{}}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t)
			out, _, err := run(t, a, tt.stdin, tt.args...)
			require.NoError(t, err)
			require.Equal(t, "evt_1\n", out)
			require.Equal(t, []string{tt.want}, a.bodies)
			require.True(t, json.Valid([]byte(a.bodies[0])))
		})
	}
}

func TestIdempotencyKeys(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	_, _, err := run(t, a, "", "order.paid", "--idempotency-key", "k")
	require.NoError(t, err)
	out, _, err := run(t, a, "", "order.paid", "--idempotency-key", "k", "--count", "3")
	require.NoError(t, err)
	require.Equal(t, "evt_2\nevt_3\nevt_4\n", out)
	require.Equal(t, []string{"k", "k-1", "k-2", "k-3"}, a.keys)
	for range 2 {
		_, _, err = run(t, a, "", "order.paid")
		require.NoError(t, err)
	}
	require.NotEqual(t, a.keys[4], a.keys[5])
	require.Regexp(t, `^send-[A-Z2-7]{26}$`, a.keys[4])
}

func TestConcurrency(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	out, _, err := run(t, a, "", "order.paid", "--count", "100", "--concurrency", "8")
	require.NoError(t, err)
	require.Equal(t, 100, strings.Count(out, "\n"))
	seen := map[string]bool{}
	for _, key := range a.keys {
		seen[key] = true
	}
	require.Len(t, seen, 100)
}

func TestRepeatsWithTheSameKey(t *testing.T) {
	t.Parallel()
	breakOff := func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	for name, refusals := range map[string][]http.HandlerFunc{
		"unavailable": {busy, busy},
		"too many":    {refuse(429, `{"code":"rate_limited"}`, "Retry-After", "0"), busy},
		"broken":      {breakOff, busy},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t, refusals...)
			out, notes, err := run(t, a, "", "order.paid")
			require.NoError(t, err)
			require.Regexp(t, `^evt_\d\n$`, out)
			require.GreaterOrEqual(t, len(a.keys), 3)
			for i := range a.keys {
				require.Equal(t, a.keys[0], a.keys[i])
				require.Equal(t, a.bodies[0], a.bodies[i])
			}
			require.Contains(t, notes, "again in 0s")
		})
	}
}

func TestGivesUp(t *testing.T) {
	t.Parallel()
	a := newAPI(t, slices.Repeat([]http.HandlerFunc{busy}, maxTries)...)
	out, _, err := run(t, a, "", "order.paid", "--idempotency-key", "k")
	require.EqualError(t, err, "send event: storage_unavailable: Try again. (HTTP 503 Service Unavailable)\n"+
		"Repeat it with --idempotency-key k: it may have been accepted")
	require.Empty(t, out)
	require.Len(t, a.keys, maxTries)

	a = newAPI(t, refuse(503, "", "Retry-After", "3600"))
	_, _, err = run(t, a, "", "order.paid")
	require.ErrorContains(t, err, "HTTP 503")
	require.Len(t, a.keys, 1, "an hour is too long")
}

func TestProblem(t *testing.T) {
	t.Parallel()
	a := newAPI(t, refuse(422, `{"code":"invalid_event_type","detail":"Expected a dotted name.","field":"event_type"}`))
	out, notes, err := run(t, a, "", "x")
	require.EqualError(t, err, "send event: invalid_event_type: event_type: Expected a dotted name. (HTTP 422 Unprocessable Entity)")
	require.Empty(t, out+notes)
	require.Len(t, a.keys, 1)
}

func TestStopsAtTheFirstProblem(t *testing.T) {
	t.Parallel()
	accept := func(w http.ResponseWriter, _ *http.Request) { refuse(202, `{"id":"evt_1"}`)(w, nil) }
	a := newAPI(t, accept, refuse(401, `{"code":"unauthorized"}`))
	out, _, err := run(t, a, "", "order.paid", "--count", "100", "--idempotency-key", "k")
	require.EqualError(t, err, "1 of 100 events were accepted (with --idempotency-key k only the others are sent): send event: unauthorized (HTTP 401 Unauthorized)")
	require.Equal(t, "evt_1\n", out)
	require.Len(t, a.keys, 2)
}

func TestUsageErrors(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	for want, args := range map[string][]string{
		"EVENT_TYPE is missing":         {},
		"got 3 arguments":               {"order.paid", "{", "}"},
		"expected at least 1":           {"order.paid", "--count", "0"},
		"not JSON, at byte 2":           {"order.paid", "{]"},
		"invalid character":             {"order.paid", `{}, "tenant_id": ""`},
		"a file is given as @FILE":      {"order.paid", "payload.json"},
		"payload is empty":              {"order.paid", "-"},
		"read payload: open /no/where:": {"order.paid", "@/no/where"},
	} {
		_, _, err := run(t, a, "", args...)
		require.ErrorContains(t, err, want)
	}
	require.Empty(t, a.keys)
}

func TestPatience(t *testing.T) {
	t.Parallel()
	problem := func(status int, after time.Duration) error {
		return fmt.Errorf("x: %w", &demo.Problem{Status: status, RetryAfter: after})
	}
	for name, tt := range map[string]struct {
		err   error
		try   int
		wait  time.Duration
		again bool
	}{
		"asked to wait":       {problem(503, 7*time.Second), 1, 7 * time.Second, true},
		"not asked":           {problem(503, -1), 1, time.Second, true},
		"not asked, again":    {problem(429, -1), 4, 8 * time.Second, true},
		"too often":           {problem(503, 0), 5, 0, false},
		"too long":            {problem(503, 31*time.Second), 1, 31 * time.Second, false},
		"server's fault":      {problem(500, time.Second), 1, 0, false},
		"caller's fault":      {problem(409, -1), 1, 0, false},
		"broke off":           {fmt.Errorf("x: %w", io.ErrUnexpectedEOF), 2, 2 * time.Second, true},
		"no answer":           {fmt.Errorf("x: %w", context.DeadlineExceeded), 1, time.Second, true},
		"nobody there":        {fmt.Errorf("x: %w", syscall.ECONNREFUSED), 1, time.Second, false},
		"cannot be requested": {errors.New("invalid header"), 1, time.Second, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wait, again := patience(tt.err, tt.try)
			require.Equal(t, tt.wait, wait)
			require.Equal(t, tt.again, again)
		})
	}
}

// handlerTransport answers without a network, which a fake clock needs.
type handlerTransport struct{ http.Handler }

func (h handlerTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	resp := w.Result()
	resp.Request = r
	return resp, nil
}

func TestWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := &api{refusals: []http.HandlerFunc{refuse(503, "", "Retry-After", "7"), refuse(503, "")}}
		s := &sender{client: demo.Client{URL: "http://x", APIKey: "bp_1", HTTP: handlerTransport{a}}, key: "k", count: 1, concurrency: 1, out: io.Discard, notes: io.Discard}
		began := time.Now()
		require.NoError(t, s.run(t.Context()))
		require.Equal(t, 9*time.Second, time.Since(began))

		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		a.refusals = []http.HandlerFunc{refuse(503, "", "Retry-After", "7")}
		require.ErrorIs(t, s.run(ctx), context.DeadlineExceeded)
		require.Equal(t, 12*time.Second, time.Since(began))
	})
}
