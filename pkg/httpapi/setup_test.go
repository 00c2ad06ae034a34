package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log"
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
	"github.com/beaconpost/beaconpost/pkg/httpapi"
	"github.com/beaconpost/beaconpost/pkg/telemetry"
	"github.com/beaconpost/beaconpost/pkg/tenant"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The credentials that setup's API knows.
const (
	writer   = "token-of-a-writer"    // endpoints:write in a tenant
	reader   = "token-of-a-reader"    // endpoints:read in a tenant
	operator = "token-of-an-operator" // no tenant
	rootless = "token-without-tenant" // endpoints:write, but no tenant
	uncheck  = "token-of-an-outage"   // cannot be checked now
)

var acme = tenant.ID(uuid.MustParse("0190f0a4-0000-7000-8000-00000000000a"))

type credentials struct{}

func (credentials) Authenticate(r *http.Request) (auth.Principal, error) {
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	switch token {
	case writer:
		return auth.Principal{Kind: auth.KindAPIKey, Tenant: acme, CredentialID: "key-1", Scopes: auth.Scopes{auth.ScopeEndpointsWrite}}, nil
	case reader:
		return auth.Principal{Kind: auth.KindAPIKey, Tenant: acme, CredentialID: "key-2", Scopes: auth.Scopes{auth.ScopeEndpointsRead}}, nil
	case operator:
		return auth.Principal{Kind: auth.KindJWT, Scopes: auth.Scopes{auth.ScopeOperator}}, nil
	case rootless:
		return auth.Principal{Kind: auth.KindJWT, Scopes: auth.Scopes{auth.ScopeEndpointsWrite}}, nil
	case uncheck:
		return auth.Principal{}, fault.Unavailable(io.ErrUnexpectedEOF, 5*time.Second, "Credentials cannot be checked at the moment.")
	}
	return auth.Principal{}, fault.Unauthenticated(auth.CodeInvalidCredentials, "The API key is not known.", nil)
}

// lines collects log lines; handlers of a test run at the same time.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func stdLogger(w io.Writer) *log.Logger { return log.New(w, "", 0) }

type bundle struct {
	t   *testing.T
	api *httpapi.API
	tel *telemetry.Telemetry
	log *lines
	url string
}

// setup makes an API; add its routes, then serve it.
func setup(t *testing.T) *bundle {
	t.Helper()
	b := &bundle{t: t, log: &lines{}}
	b.tel = b.telemetry("info")
	b.api = httpapi.New(httpapi.Config{Service: "shop", Title: "Beaconpost shop", Version: "1.2.3", Authenticator: credentials{}, Telemetry: b.tel})
	return b
}

// telemetry makes one that writes to b.log; an API registers its metrics, so each needs its own.
func (b *bundle) telemetry(level string) *telemetry.Telemetry {
	b.t.Helper()
	tel, err := telemetry.New(b.t.Context(), telemetry.Config{Service: "shop", Version: "1.2.3", LogLevel: level, LogWriter: b.log})
	require.NoError(b.t, err)
	return tel
}

func (b *bundle) serve() {
	b.t.Helper()
	handler, err := b.api.Handler()
	require.NoError(b.t, err)
	server := httptest.NewServer(handler)
	b.url = server.URL
	b.t.Cleanup(server.Close)
}

// route is a tenant's route that needs endpoints:write.
func route(method, path string) httpapi.Route {
	return httpapi.Route{
		Method: method, Path: path, ID: strings.ToLower(method) + strings.NewReplacer("/", "-", "{", "", "}", "").Replace(path),
		Summary: "Do " + path, Tag: "things", Scope: auth.ScopeEndpointsWrite,
	}
}

// fails registers GET path, whose handler returns err.
func (b *bundle) fails(path string, err error) {
	httpapi.Register(b.api, route(http.MethodGet, path), func(context.Context, *struct{}) (*struct{}, error) { return nil, err })
}

type answer struct {
	*http.Response
	body string
}

// do sends a request as writer unless headers (pairs) say otherwise; an empty value removes a header.
func (b *bundle) do(method, path, body string, headers ...string) answer {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), method, b.url+path, strings.NewReader(body))
	require.NoError(b.t, err)
	req.Header.Set("Authorization", "Bearer "+writer)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Del(headers[i])
		if headers[i+1] != "" {
			req.Header.Set(headers[i], headers[i+1])
		}
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(b.t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(b.t, err)
	return answer{resp, string(text)}
}

// problem gives the body of an error, after a look at what all of them have in common.
func (b *bundle) problem(a answer) httpapi.Problem {
	b.t.Helper()
	require.Equal(b.t, "application/problem+json", a.Header.Get("Content-Type"), a.body)
	var p httpapi.Problem
	decoder := json.NewDecoder(strings.NewReader(a.body))
	decoder.DisallowUnknownFields()
	require.NoError(b.t, decoder.Decode(&p), a.body)
	require.Equal(b.t, "about:blank", p.Type)
	require.Equal(b.t, a.StatusCode, p.Status)
	require.Equal(b.t, http.StatusText(a.StatusCode), p.Title)
	require.Regexp(b.t, `^[a-z]+(_[a-z]+)*$`, p.Code)
	require.NotEmpty(b.t, p.Detail)
	require.Equal(b.t, a.StatusCode >= 500, a.Header.Get("Retry-After") != "" && a.StatusCode != http.StatusTooManyRequests, "ours is 5xx with Retry-After")
	require.Equal(b.t, a.StatusCode == http.StatusUnauthorized, a.Header.Get("WWW-Authenticate") != "")
	return p
}

// logged gives the request lines so far.
func (b *bundle) logged() (list []map[string]any) {
	b.t.Helper()
	for line := range strings.Lines(b.log.String()) {
		var fields map[string]any
		require.NoError(b.t, json.Unmarshal([]byte(line), &fields), line)
		list = append(list, fields)
	}
	return list
}
