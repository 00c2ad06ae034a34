package listen

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/urfave/cli/v3"

	"github.com/beaconpost/beaconpost/pkg/signature"
)

// screen collects what a command writes and hands out complete lines.
type screen struct {
	mu    sync.Mutex
	all   bytes.Buffer
	rest  string
	lines chan string
}

func newScreen() *screen { return &screen{lines: make(chan string, 1000)} }

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all.Write(p)
	s.rest += string(p)
	for {
		line, rest, ok := strings.Cut(s.rest, "\n")
		if !ok {
			return len(p), nil
		}
		s.lines <- line
		s.rest = rest
	}
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all.String()
}

// until gives the rest of the next line that starts with prefix.
func (s *screen) until(t *testing.T, prefix string) string {
	t.Helper()
	for {
		select {
		case line := <-s.lines:
			if rest, ok := strings.CutPrefix(line, prefix); ok {
				return rest
			}
		case <-t.Context().Done():
			require.Fail(t, "the test ended", "no line %q in:\n%s", prefix, s)
		}
	}
}

// listener is a running `beaconpost listen`.
type listener struct {
	url         string
	out, errOut *screen
	stop        context.CancelFunc
	ended       chan error
}

// grace is long enough to be measured.
const grace = 50 * time.Millisecond

func start(t *testing.T, args ...string) *listener {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	l := &listener{out: newScreen(), errOut: newScreen(), stop: cancel, ended: make(chan error, 1)}
	notes := l.out
	for _, arg := range args {
		if arg == "--json" {
			notes = l.errOut
		}
	}
	cmd := Command()
	cmd.Writer, cmd.ErrWriter = l.out, l.errOut
	cmd.Action = func(ctx context.Context, cmd *cli.Command) error {
		s, err := settingsOf(cmd)
		s.grace = grace
		if err != nil {
			return err
		}
		return s.run(ctx)
	}
	go func() { l.ended <- cmd.Run(ctx, append([]string{"listen", "--listen", "127.0.0.1:0"}, args...)) }()
	t.Cleanup(cancel)
	l.url = notes.until(t, "Listening on ")
	return l
}

// api is a Beaconpost with one endpoint.
type api struct {
	*httptest.Server
	secret   signature.Secret
	created  map[string]any
	deleted  int
	onDelete func()
	status   int // of DELETE
}

func newAPI(t *testing.T) *api {
	a := &api{secret: signature.NewSecret(), onDelete: func() {}, status: http.StatusOK}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/endpoints", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer bp_1" || json.NewDecoder(r.Body).Decode(&a.created) != nil {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, `{"code":"unauthorized","detail":"Expected a credential."}`)
			return
		}
		w.WriteHeader(http.StatusCreated)
		_ = json.NewEncoder(w).Encode(map[string]any{"id": "ep_1", "url": a.created["url"], "secret": a.secret.Reveal()})
	})
	mux.HandleFunc("DELETE /v1/endpoints/ep_1", func(w http.ResponseWriter, _ *http.Request) {
		a.deleted++
		a.onDelete()
		w.WriteHeader(a.status)
		_, _ = io.WriteString(w, `{"id":"ep_1","deliveries_cancelled":3,"code":"a_code"}`)
	})
	a.Server = httptest.NewServer(mux)
	t.Cleanup(a.Close)
	return a
}

func TestRegister(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	l := start(t, "--register", "--url", a.URL, "--api-key", "bp_1", "--event-type", "order.*", "--event-type", "user.created")
	require.Equal(t, "ep_1 at "+a.URL+"; it is deleted on exit (Ctrl-C)", l.out.until(t, "Created endpoint "))
	require.Equal(t, map[string]any{"url": l.url, "description": "beaconpost listen", "event_types": []any{"order.*", "user.created"}}, a.created)

	w := webhook{id: "evt_1", eventType: "order.paid", body: payload, secrets: []signature.Secret{a.secret}}
	status, _, _ := w.post(t, l.url)
	require.Equal(t, 200, status)
	require.Contains(t, l.out.String(), "order.paid  attempt 2  ✓ verified  → 200\n")
	w.secrets = []signature.Secret{signature.NewSecret()}
	status, _, _ = w.post(t, l.url)
	require.Equal(t, 401, status)

	open := make(chan error, 1)
	a.onDelete = func() {
		conn, err := net.Dial("tcp", strings.TrimPrefix(l.url, "http://"))
		if err == nil {
			err = conn.Close()
		}
		open <- err
	}
	l.stop()
	require.NoError(t, <-l.ended)
	require.NoError(t, <-open, "attempts must not fail on a closed port while the endpoint is being deleted")
	require.Equal(t, 1, a.deleted)
	require.Contains(t, l.out.String(), "Deleted endpoint ep_1; pending deliveries cancelled: 3\n")
	_, err := net.Dial("tcp", strings.TrimPrefix(l.url, "http://"))
	require.Error(t, err, "nothing listens any more")
}

func TestRegisterWithPublicURL(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.status = http.StatusNotFound
	l := start(t, "--register", "--url", a.URL, "--api-key", "bp_1", "--public-url", "http://tunnel.test/hooks")
	l.out.until(t, "Created endpoint ")
	require.Equal(t, map[string]any{"url": "http://tunnel.test/hooks", "description": "beaconpost listen"}, a.created)
	l.stop()
	require.NoError(t, <-l.ended)
	require.Contains(t, l.out.String(), "Endpoint ep_1 was deleted already\n")
}

func TestRegisterErrors(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	l := start(t, "--register", "--url", a.URL, "--api-key", "bp_2")
	require.EqualError(t, <-l.ended, "create endpoint: unauthorized: Expected a credential. (HTTP 401 Unauthorized)")
	require.Zero(t, a.deleted)

	a.status = http.StatusInternalServerError
	l = start(t, "--register", "--url", a.URL, "--api-key", "bp_1")
	l.out.until(t, "Created endpoint ")
	l.stop()
	require.ErrorContains(t, <-l.ended, "delete endpoint ep_1 (it is left behind): a_code")
}

func TestJSONAndMax(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	l := start(t, "--json", "--register", "--url", a.URL, "--api-key", "bp_1", "--fail", "1", "--max", "2")
	w := webhook{id: "evt_1", eventType: "order.paid", body: payload, secrets: []signature.Secret{a.secret}}
	var asked, deleted time.Time
	a.onDelete = func() { deleted = time.Now() }
	for _, want := range []int{503, 200, 200} {
		asked = time.Now()
		status, _, _ := w.post(t, l.url)
		require.Equal(t, want, status)
	}
	require.NoError(t, <-l.ended)
	require.Equal(t, 1, a.deleted)
	require.GreaterOrEqual(t, deleted.Sub(asked), grace, "deleting cancels deliveries that are not recorded yet")
	lines := strings.Split(strings.TrimSpace(l.out.String()), "\n")
	require.Len(t, lines, 3, "standard output is for records only")
	for i, want := range []jsonRecord{{Status: 503}, {Status: 200}, {Status: 200, Duplicate: true}} {
		var got jsonRecord
		require.NoError(t, json.Unmarshal([]byte(lines[i]), &got))
		require.Equal(t, want.Status, got.Status)
		require.Equal(t, want.Duplicate, got.Duplicate)
		require.True(t, *got.Verified)
		require.Equal(t, payload, *got.Body)
	}
	require.Contains(t, l.errOut.String(), "pending deliveries cancelled: 3")
}

func TestStopsWhileHanging(t *testing.T) {
	t.Parallel()
	l := start(t, "--hang")
	trace := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { l.stop() }})
	_, err := http.DefaultClient.Do(webhook{id: "a", body: payload}.request(trace, t, l.url))
	require.Error(t, err)
	require.NoError(t, <-l.ended)
}

func TestUnverified(t *testing.T) {
	t.Parallel()
	l := start(t, "--body-limit", "10B", "--status", "201")
	l.out.until(t, "Signatures are not verified: no --secret.")
	status, _, _ := webhook{id: "a", eventType: "order.paid", body: payload}.post(t, l.url)
	require.Equal(t, 201, status)
	require.Contains(t, l.out.String(), "order.paid  attempt 2  – not verified, no --secret  → 201\n")
	require.NotContains(t, l.out.String(), "note")
	l.stop()
	require.NoError(t, <-l.ended)
}

func TestUsageErrors(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	for want, args := range map[string][]string{
		"another program uses this port": {"--listen", ln.Addr().String()},
		"--hang: never answers":          {"--hang", "--fail", "1"},
		"--body-limit: must be a size":   {"--body-limit", "lots"},
		"need --register":                {"--event-type", "order.*"},
		"--public-url: expected":         {"--register", "--public-url", "here"},
		"beaconpost up":                  {"--register", "--data-dir", t.TempDir()},
		"takes no arguments":             {"9999"},
	} {
		cmd := Command()
		cmd.Writer, cmd.ErrWriter = io.Discard, io.Discard
		require.ErrorContains(t, cmd.Run(t.Context(), append([]string{"listen"}, args...)), want)
	}
}

func TestDialable(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ ip, want string }{{"0.0.0.0", "127.0.0.1:1"}, {"::", "127.0.0.1:1"}, {"::1", "[::1]:1"}, {"192.0.2.1", "192.0.2.1:1"}} {
		require.Equal(t, tt.want, dialable(&net.TCPAddr{IP: net.ParseIP(tt.ip), Port: 1}))
	}
}
