package httpapi_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/beaconpost/beaconpost/pkg/auth"
	"github.com/beaconpost/beaconpost/pkg/fault"
	"github.com/beaconpost/beaconpost/pkg/httpapi"
	"github.com/beaconpost/beaconpost/pkg/telemetry"
)

type idInput struct {
	ID   string `path:"id"`
	Sort string `query:"sort"`
}

// read is a route that answers "ok", or panics or fails for some ids.
func (b *bundle) read() {
	httpapi.Register(b.api, route("GET", "/v1/things/{id}"), func(_ context.Context, in *idInput) (*struct{ Body string }, error) {
		switch in.ID {
		case "panic":
			panic("the password is hunter2")
		case "fail":
			return nil, fault.Internal(errors.New("disk is full"))
		}
		return &struct{ Body string }{"ok"}, nil
	})
}

// requests gives the series that count requests, as the admin port shows them.
func (b *bundle) requests() string {
	b.t.Helper()
	w := httptest.NewRecorder()
	httpapi.Admin(b.tel.Registry, nil).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody))
	var series []string
	for line := range strings.Lines(w.Body.String()) {
		if strings.HasPrefix(line, "beaconpost_http_requests_total") {
			series = append(series, line)
		}
	}
	return strings.Join(series, "")
}

func TestLabelsAreBounded(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.read()
	b.serve()
	for i := range 20 {
		b.do("GET", fmt.Sprint("/v1/things/", i, "?sort=", i), "")
		b.do("GET", fmt.Sprint("/v1/nothing/", i), "")
		b.do(fmt.Sprint("BREW", i), "/v1/things/7", "")
		b.do("POST", fmt.Sprint("/v1/things/", i), "")
	}
	b.do("GET", "/v1/things/7", "", "Authorization", "")
	b.do("GET", "/openapi/shop.json", "")
	const want = `beaconpost_http_requests_total{method="GET",route="/openapi/shop.json",status="200"} 1
beaconpost_http_requests_total{method="GET",route="/v1/things/{id}",status="200"} 20
beaconpost_http_requests_total{method="GET",route="/v1/things/{id}",status="401"} 1
beaconpost_http_requests_total{method="GET",route="none",status="404"} 20
beaconpost_http_requests_total{method="POST",route="none",status="405"} 20
beaconpost_http_requests_total{method="other",route="none",status="405"} 20
`
	require.Equal(t, want, b.requests())
	count, err := testutil.GatherAndCount(b.tel.Registry, "beaconpost_http_request_duration_seconds")
	require.NoError(t, err)
	require.Equal(t, 6, count)
}

// `beaconpost up` puts the APIs of all services behind one router.
func TestLabelsDoNotNameARouterAround(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.read()
	handler, err := b.api.Handler()
	require.NoError(t, err)
	around := chi.NewRouter()
	around.Handle("/v1/*", handler)
	around.NotFound(handler.ServeHTTP)
	server := httptest.NewServer(around)
	defer server.Close()
	b.url = server.URL
	require.Equal(t, 200, b.do("GET", "/v1/things/7", "").StatusCode)
	require.Equal(t, 405, b.do("PUT", "/v1/things/7", "").StatusCode)
	require.Equal(t, 200, b.do("GET", "/docs/shop", "").StatusCode)
	require.Contains(t, b.requests(), `{method="GET",route="/v1/things/{id}",status="200"} 1`)
	require.Contains(t, b.requests(), `{method="PUT",route="none",status="405"} 1`)
	require.Contains(t, b.requests(), `{method="GET",route="/docs/shop",status="200"} 1`)
}

func TestOneLinePerRequest(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.read()
	b.serve()
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	b.do("GET", "/v1/things/7?sort=in-the-query", "", "traceparent", "00-"+trace+"-00f067aa0ba902b7-01")
	b.do("GET", "/v1/things/7", "", "Authorization", "Bearer not-a-good-one")
	b.do("GET", "/v1/things/fail", "")
	b.do("GET", "/nothing", "")

	got := b.logged()
	require.Len(t, got, 4)
	seen := map[string]bool{}
	for _, line := range got {
		require.Equal(t, "request", line["message"])
		require.Len(t, line["trace_id"], 32)
		require.Len(t, line["span_id"], 16)
		seen[line["trace_id"].(string)] = true
	}
	require.Len(t, seen, 4)
	ok, refused, failed, nothing := got[0], got[1], got[2], got[3]
	require.Equal(t, trace, ok["trace_id"], "the caller's trace goes on")
	require.Equal(t, "info", ok["level"])
	require.Equal(t, "GET", ok["method"])
	require.Equal(t, "/v1/things/{id}", ok["route"])
	require.EqualValues(t, 200, ok["status"])
	require.EqualValues(t, len(`"ok"`)+1, ok["response_bytes"])
	require.Equal(t, acme.String(), ok["tenant_id"])
	require.Equal(t, "key-1", ok["credential_id"])
	require.NotContains(t, ok, "error")

	require.Equal(t, "info", refused["level"], "the caller's fault")
	require.EqualValues(t, 401, refused["status"])
	require.NotContains(t, refused, "tenant_id")
	require.Contains(t, refused["error"], "invalid_credentials")

	require.Equal(t, "error", failed["level"], "ours")
	require.Equal(t, "internal_error: disk is full", failed["error"])
	require.Equal(t, "none", nothing["route"])

	for _, secret := range []string{writer, "not-a-good-one", "Bearer", "Authorization", "in-the-query"} {
		require.NotContains(t, b.log.String(), secret)
	}
}

func TestAPanicIsA500AndLogged(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.read()
	httpapi.RegisterRaw[struct{}, struct{}](b.api, route("GET", "/v1/raw"), func(http.ResponseWriter, *http.Request) {
		panic(errors.New("the password is hunter2"))
	})
	b.serve()
	for _, path := range []string{"/v1/things/panic", "/v1/raw"} {
		a := b.do("GET", path, "")
		require.Equal(t, 500, a.StatusCode)
		require.Equal(t, "internal_error", b.problem(a).Code)
		require.NotContains(t, a.body, "hunter2")
		require.Equal(t, 200, b.do("GET", "/v1/things/7", "").StatusCode, "the process lives")
	}
	for _, i := range []int{0, 2} {
		line := b.logged()[i]
		require.Equal(t, "error", line["level"])
		require.Contains(t, line["error"], "handler panicked: the password is hunter2")
		require.Contains(t, line["error"], "observe_test.go", "with the stack")
	}
	require.Contains(t, b.requests(), `{method="GET",route="/v1/things/{id}",status="500"} 1`)
}

// What was sent cannot be taken back: a caller must not think that it is the whole answer.
func TestAPanicInTheMiddleOfAnAnswerBreaksTheConnection(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for path, value := range map[string]any{"/v1/panic": "hunter2", "/v1/abort": http.ErrAbortHandler} {
		httpapi.RegisterRaw[struct{}, struct{}](b.api, route("GET", path), func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"data":[1,2,`)
			_ = http.NewResponseController(w).Flush()
			panic(value)
		})
	}
	handler, err := b.api.Handler()
	require.NoError(t, err)
	server := httptest.NewUnstartedServer(handler)
	var complaints lines
	server.Config.ErrorLog = stdLogger(&complaints)
	server.Start()
	defer server.Close()
	for i, path := range []string{"/v1/panic", "/v1/abort"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+path, http.NoBody)
		require.NoError(t, err)
		req.Header.Set("Authorization", "Bearer "+writer)
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		got, err := io.ReadAll(resp.Body)
		require.NoError(t, resp.Body.Close())
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		require.Equal(t, `{"data":[1,2,`, string(got))
		require.Len(t, b.logged(), i+1)
		require.Equal(t, "error", b.logged()[i]["level"])
		require.Equal(t, path, b.logged()[i]["route"])
	}
	require.Contains(t, b.logged()[0]["error"], "hunter2")
	require.Empty(t, complaints.String(), "net/http does not print it a second time")
}

func TestConcurrentRequestsDoNotMixUp(t *testing.T) {
	t.Parallel()
	b := setup(t)
	httpapi.Register(b.api, route("GET", "/v1/echo/{id}"), func(ctx context.Context, in *idInput) (*struct{ Body string }, error) {
		if in.ID == "7" {
			return nil, fault.NotFound("seven_not_found", "No seven.")
		}
		return &struct{ Body string }{in.ID + " " + httpapi.Principal(ctx).CredentialID}, nil
	})
	b.serve()
	var all sync.WaitGroup
	bodies := make([]string, 20)
	for i := range bodies {
		all.Go(func() { bodies[i] = strings.TrimSpace(b.do("GET", fmt.Sprint("/v1/echo/", i), "").body) })
	}
	all.Wait()
	for i, body := range bodies {
		if i == 7 {
			require.Contains(t, body, "seven_not_found")
			continue
		}
		require.Equal(t, fmt.Sprintf(`"%d key-1"`, i), body)
	}
	failed := 0
	for _, line := range b.logged() {
		if line["error"] != nil {
			failed++
			require.EqualValues(t, 404, line["status"])
		}
	}
	require.Equal(t, 1, failed)
	require.Len(t, b.logged(), len(bodies))
}

func TestLinesBelowTheLevelAreNotWritten(t *testing.T) {
	t.Parallel()
	b := &bundle{t: t, log: &lines{}}
	b.tel = b.telemetry("error")
	b.api = httpapi.New(httpapi.Config{Service: "shop", Title: "Beaconpost shop", Authenticator: credentials{}, Telemetry: b.tel})
	b.read()
	b.serve()
	b.do("GET", "/v1/things/7", "")
	require.Empty(t, b.log.String())
	b.do("GET", "/v1/things/fail", "")
	require.Len(t, b.logged(), 1)
}

// kept is an exporter that keeps spans.
type kept struct {
	mu    sync.Mutex
	spans []sdktrace.ReadOnlySpan
}

func (k *kept) ExportSpans(_ context.Context, spans []sdktrace.ReadOnlySpan) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.spans = append(k.spans, spans...)
	return nil
}

func (*kept) Shutdown(context.Context) error { return nil }

func TestSpans(t *testing.T) {
	t.Parallel()
	exporter := &kept{}
	tel, err := telemetry.New(t.Context(), telemetry.Config{Service: "shop", LogLevel: "error", SampleRatio: 1, Exporter: exporter})
	require.NoError(t, err)
	b := &bundle{t: t, log: &lines{}, tel: tel, api: httpapi.New(httpapi.Config{Service: "shop", Title: "Beaconpost shop", Authenticator: credentials{}, Telemetry: tel})}
	b.read()
	b.serve()
	b.do("GET", "/v1/things/7", "")
	b.do("GET", "/v1/things/fail", "")
	b.do("GET", "/v1/things/8", "", "Authorization", "")
	b.do("BREW", "/v1/things/8", "", "User-Agent", strings.Repeat("x", 60<<10))
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	require.NoError(t, tel.Shutdown(ctx))
	require.Len(t, exporter.spans, 4)
	for i, want := range []string{"Unset ", "Error internal_error: disk is full", "Unset "} {
		span := exporter.spans[i]
		require.Equal(t, "GET /v1/things/{id}", span.Name())
		require.Equal(t, trace.SpanKindServer, span.SpanKind())
		require.Equal(t, want, span.Status().Code.String()+" "+span.Status().Description)
	}
	require.Contains(t, exporter.spans[3].Name(), "HTTP ")
	invented := attributes(exporter.spans[3])
	require.Equal(t, "_OTHER", invented["http.request.method"])
	require.Len(t, invented["user_agent.original"], 256, "anybody can send long ones, and thousands may wait for the collector")

	ok, failed := attributes(exporter.spans[0]), attributes(exporter.spans[1])
	require.Equal(t, "200", ok["http.response.status_code"])
	require.Equal(t, "/v1/things/{id}", ok["http.route"])
	require.Equal(t, "/v1/things/{id}", ok["url.path"], "the path itself may have a token in it")
	require.Equal(t, "http", ok["url.scheme"])
	require.Equal(t, "1.1", ok["network.protocol.version"])
	require.NotContains(t, ok, "error.type")
	require.Equal(t, "500", failed["error.type"])
}

func TestLinesHaveNotMuchOfACallersText(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.read()
	b.serve()
	b.do(strings.Repeat("X", 100), "/v1/things/8", "")
	lines := b.logged()
	require.Len(t, lines, 1)
	require.Len(t, lines[0]["method"], 32)
}

func attributes(span sdktrace.ReadOnlySpan) map[string]string {
	all := map[string]string{}
	for _, a := range span.Attributes() {
		all[string(a.Key)] = a.Value.String()
	}
	return all
}

func TestScopesAreInTheDescription(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.fails("/v1/things", nil)
	spec, err := b.api.Spec()
	require.NoError(t, err)
	require.Contains(t, string(spec), "Needs the scope `"+string(auth.ScopeEndpointsWrite)+"`.")
}
