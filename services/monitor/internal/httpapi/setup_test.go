package httpapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/beaconpost/beaconpost/pkg/auth"
	"github.com/beaconpost/beaconpost/pkg/fault"
	pkghttp "github.com/beaconpost/beaconpost/pkg/httpapi"
	"github.com/beaconpost/beaconpost/pkg/telemetry"
	"github.com/beaconpost/beaconpost/pkg/tenant"
	"github.com/beaconpost/beaconpost/services/monitor/internal/alert"
	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
	"github.com/beaconpost/beaconpost/services/monitor/internal/httpapi"
	"github.com/beaconpost/beaconpost/services/monitor/internal/ledger"
	"github.com/beaconpost/beaconpost/services/monitor/internal/monitor"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	acme = tenant.ID(uuid.MustParse("0190f0a4-0000-7000-8000-00000000000a"))
	evil = tenant.ID(uuid.MustParse("0190f0a4-0000-7000-8000-00000000000e"))
)

type credentials struct{}

func (credentials) Authenticate(r *http.Request) (auth.Principal, error) {
	if r.Header.Get("Authorization") == "" {
		return auth.Principal{}, fault.Unauthenticated("missing_credentials", "There is none.", nil)
	}
	owner := acme
	if r.Header.Get("Authorization") == "Bearer evil" {
		owner = evil
	}
	return auth.Principal{Kind: auth.KindAPIKey, Tenant: owner, Scopes: auth.Scopes{auth.ScopeMonitorsRead, auth.ScopeMonitorsWrite}}, nil
}

// store keeps monitors, channels, policies and windows in memory; what a test does not set panics.
type store struct {
	httpapi.Store
	mu       sync.Mutex
	monitors map[uuid.UUID]ledger.Watched
	channels []alert.Channel
	policies []alert.Policy
	windows  []ledger.Window

	intervals func(f ledger.IntervalFilter) []ledger.Interval
	times     func(ranges []ledger.Range) ([]ledger.Times, float64)
	rollups   func(spans []ledger.Span) []ledger.Rollup
}

func (s *store) Create(_ context.Context, m *monitor.Monitor) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	m.Version, m.CreatedAt, m.UpdatedAt = 1, time.Now(), time.Now()
	s.monitors[m.ID] = ledger.Watched{Monitor: *m, Status: ledger.Status{Status: "unknown", Since: m.CreatedAt}}
	return nil
}

func (s *store) Monitor(_ context.Context, t tenant.ID, id uuid.UUID) (ledger.Watched, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w, ok := s.monitors[id]
	if !ok || w.Tenant != t {
		return w, fault.NotFound("monitor_not_found", "There is no monitor with this id.")
	}
	return w, nil
}

func (s *store) Update(ctx context.Context, t tenant.ID, id uuid.UUID, change func(*monitor.Monitor) error) (ledger.Watched, error) {
	w, err := s.Monitor(ctx, t, id)
	if err != nil {
		return w, err
	}
	if err := change(&w.Monitor); err != nil {
		return ledger.Watched{}, err
	}
	w.Version++
	s.mu.Lock()
	defer s.mu.Unlock()
	s.monitors[id] = w
	return w, nil
}

func (s *store) Intervals(_ context.Context, _ tenant.ID, _ uuid.UUID, f ledger.IntervalFilter) ([]ledger.Interval, error) {
	return s.intervals(f), nil
}

func (s *store) Times(_ context.Context, _ tenant.ID, _ uuid.UUID, ranges []ledger.Range) ([]ledger.Times, float64, error) {
	times, target := s.times(ranges)
	return times, target, nil
}

func (s *store) Rollups(_ context.Context, _ tenant.ID, _ uuid.UUID, _ string, spans []ledger.Span) ([]ledger.Rollup, error) {
	return s.rollups(spans), nil
}

func (s *store) CheckProject(context.Context, tenant.ID, *uuid.UUID) error { return nil }

func (s *store) CreateChannel(_ context.Context, _ tenant.ID, c alert.Channel) error {
	s.channels = append(s.channels, c)
	return nil
}

func (s *store) Channel(_ context.Context, _ tenant.ID, id uuid.UUID) (alert.Channel, error) {
	return s.channels[0], nil
}

func (s *store) CreatePolicy(_ context.Context, _ tenant.ID, p alert.Policy) error {
	s.policies = append(s.policies, p)
	return nil
}

func (s *store) CreateWindow(_ context.Context, _ tenant.ID, w ledger.Window) error {
	s.windows = append(s.windows, w)
	return nil
}

// call is one of a heartbeat's URL.
type call struct{ token, kind, body string }

// bundle is an API with what it works with.
type bundle struct {
	t      *testing.T
	url    string
	store  *store
	result check.Result
	calls  []call
	tested []alert.Channel
}

func (b *bundle) CheckNow(context.Context, tenant.ID, *monitor.Monitor) check.Result { return b.result }

func (b *bundle) TestChannel(_ context.Context, _ tenant.ID, c alert.Channel) error {
	b.tested = append(b.tested, c)
	return nil
}

func (b *bundle) Beat(_ context.Context, token, kind string, body []byte) error {
	if token == "unknown" {
		return fault.NotFound("heartbeat_not_found", "There is no heartbeat at this URL.")
	}
	b.calls = append(b.calls, call{token, kind, string(body)})
	return nil
}

func setup(t *testing.T) *bundle {
	t.Helper()
	tel, err := telemetry.New(t.Context(), telemetry.Config{Service: "monitor", LogLevel: "error", LogWriter: io.Discard})
	require.NoError(t, err)
	api := pkghttp.New(pkghttp.Config{Service: "monitor", Title: "Monitor", Version: "1", Authenticator: credentials{}, Telemetry: tel})
	b := &bundle{t: t, store: &store{monitors: map[uuid.UUID]ledger.Watched{}}}
	h := httpapi.Handlers{Store: b.store, Runner: b, Tester: b, Beats: b, CheckAssertion: func(expr string) error {
		if strings.Contains(expr, "bad") {
			return errors.New("does not compile")
		}
		return nil
	}}
	h.Register(api)
	handler, err := api.Handler()
	require.NoError(t, err)
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	b.url = server.URL
	return b
}

// object is a JSON object.
type object = map[string]any

// do sends a request; the answer's status has to be as expected.
func (b *bundle) do(method, path, body string, status int) object {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), method, b.url+path, strings.NewReader(body))
	require.NoError(b.t, err)
	if !strings.HasPrefix(path, "/v1/heartbeats/") {
		req.Header.Set("Authorization", "Bearer x")
	}
	if method == http.MethodPatch {
		req.Header.Set("Content-Type", "application/merge-patch+json")
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(b.t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(b.t, err)
	require.Equal(b.t, status, resp.StatusCode, "%s %s: %s", method, path, text)
	var answer object
	if len(text) > 0 {
		require.NoError(b.t, json.Unmarshal(text, &answer), string(text))
	}
	return answer
}

// refused sends a request that is refused because of its input.
func (b *bundle) refused(method, path, body, code, field string) {
	b.t.Helper()
	problem := b.do(method, path, body, http.StatusUnprocessableEntity)
	require.Equal(b.t, code, problem["code"], "%s: %v", body, problem)
	require.Equal(b.t, field, problem["field"], "%s: %v", body, problem)
	require.NotEmpty(b.t, problem["detail"])
}
