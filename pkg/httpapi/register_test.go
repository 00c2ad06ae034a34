package httpapi_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/auth"
	"github.com/beaconpost/beaconpost/pkg/httpapi"
)

type thingInput struct {
	ID   uuid.UUID `path:"id" format:"uuid"`
	Body struct {
		URL     string           `json:"url" maxLength:"20"`
		Timeout httpapi.Duration `json:"timeout,omitempty"`
		Retry   *struct {
			MaxAttempts int                `json:"max_attempts,omitempty" minimum:"1" maximum:"100"`
			Schedule    []httpapi.Duration `json:"schedule,omitempty"`
			Policy      *struct {
				Name string `json:"name"`
			} `json:"policy,omitempty"`
		} `json:"retry,omitempty"`
		Note httpapi.Optional[string] `json:"note,omitempty"`
	}
}

type thingOutput struct {
	Body struct {
		Timeout httpapi.Duration `json:"timeout"`
		Tenant  string           `json:"tenant"`
		Note    string           `json:"note"`
	}
}

// things serves PUT /v1/things/{id} and GET /v1/things, and counts what reaches the handlers.
func things(t *testing.T) (*bundle, *atomic.Int32) {
	t.Helper()
	b := setup(t)
	var handled atomic.Int32
	httpapi.Register(b.api, route(http.MethodPut, "/v1/things/{id}"), func(ctx context.Context, in *thingInput) (*thingOutput, error) {
		handled.Add(1)
		out := &thingOutput{}
		out.Body.Timeout, out.Body.Tenant = in.Body.Timeout, httpapi.Tenant(ctx).String()
		in.Body.Note.Apply(&out.Body.Note)
		return out, nil
	})
	httpapi.Register(b.api, route(http.MethodGet, "/v1/things"), func(context.Context, *httpapi.Page) (*struct{}, error) {
		handled.Add(1)
		return nil, nil //nolint:nilnil // nothing to say
	})
	b.serve()
	return b, &handled
}

const thingPath = "/v1/things/0190f0a4-0000-7000-8000-000000000001"

func TestGoodInputReachesTheHandler(t *testing.T) {
	t.Parallel()
	b, handled := things(t)
	for _, contentType := range []string{"application/json", "application/json; charset=utf-8", "application/merge-patch+json", ""} {
		a := b.do("PUT", thingPath, `{"url":"x","timeout":"90s","retry":{"max_attempts":3,"schedule":["5s"]},"note":"hello"}`, "Content-Type", contentType)
		require.Equal(t, 200, a.StatusCode, a.body)
		require.JSONEq(t, `{"timeout":"1m30s","tenant":"`+acme.String()+`","note":"hello"}`, a.body)
		require.Equal(t, "application/json", a.Header.Get("Content-Type"))
	}
	require.EqualValues(t, 4, handled.Load())
}

func TestBadInputNamesTheField(t *testing.T) {
	t.Parallel()
	b, handled := things(t)
	long := strings.Repeat("x", 2<<20)
	for _, tt := range []struct {
		name, method, path, body string
		status                   int
		code, field              string
		headers                  []string
	}{
		{"missing property", "PUT", thingPath, `{}`, 422, "invalid_request", "url", nil},
		{"nested missing property", "PUT", thingPath, `{"url":"x","retry":{"policy":{}}}`, 422, "invalid_request", "retry.policy.name", nil},
		{"unknown property", "PUT", thingPath, `{"url":"x","colour":"red"}`, 422, "invalid_request", "colour", nil},
		{"wrong type", "PUT", thingPath, `{"url":7}`, 422, "invalid_request", "url", nil},
		{"too long", "PUT", thingPath, `{"url":"012345678901234567890"}`, 422, "invalid_request", "url", nil},
		{"nested out of range", "PUT", thingPath, `{"url":"x","retry":{"max_attempts":1000}}`, 422, "invalid_request", "retry.max_attempts", nil},
		{"element of a list", "PUT", thingPath, `{"url":"x","retry":{"schedule":["5s","soon"]}}`, 422, "invalid_request", "retry.schedule.1", nil},
		{"not a duration", "PUT", thingPath, `{"url":"x","timeout":"30"}`, 422, "invalid_request", "timeout", nil},
		{"number for a duration", "PUT", thingPath, `{"url":"x","timeout":30}`, 422, "invalid_request", "timeout", nil},
		{"duration that no machine holds", "PUT", thingPath, `{"url":"x","timeout":"9999999999h"}`, 422, "invalid_request", "", nil},
		{"optional of a wrong type", "PUT", thingPath, `{"url":"x","note":7}`, 422, "invalid_request", "note", nil},
		{"not an object", "PUT", thingPath, `[]`, 422, "invalid_request", "", nil},
		{"null", "PUT", thingPath, `null`, 422, "invalid_request", "", nil},
		{"path", "PUT", "/v1/things/abc", `{"url":"x"}`, 422, "invalid_request", "id", nil},
		{"malformed", "PUT", thingPath, `{"url":`, 400, "malformed_request", "", nil},
		{"two values", "PUT", thingPath, `{"url":"x"} {}`, 400, "malformed_request", "", nil},
		{"no body", "PUT", thingPath, ``, 400, "malformed_request", "", nil},
		{"content type", "PUT", thingPath, `{"url":"x"}`, 415, "unsupported_media_type", "", []string{"Content-Type", "text/plain"}},
		{"body too large", "PUT", thingPath, `{"url":"` + long + `"}`, 413, "body_too_large", "", nil},
		{"unknown query parameter", "GET", "/v1/things?limti=7", ``, 422, "invalid_request", "limti", nil},
		{"query parameter with a body", "PUT", thingPath + "?x=1", `{"url":"x"}`, 422, "invalid_request", "x", nil},
		{"parameter in another case", "GET", "/v1/things?Limit=7", ``, 422, "invalid_request", "Limit", nil},
		{"limit too small", "GET", "/v1/things?limit=0", ``, 422, "invalid_request", "limit", nil},
		{"limit too large", "GET", "/v1/things?limit=1001", ``, 422, "invalid_request", "limit", nil},
		{"limit no number", "GET", "/v1/things?limit=ten", ``, 422, "invalid_request", "limit", nil},
		{"cursor too long", "GET", "/v1/things?cursor=" + strings.Repeat("x", 65), ``, 422, "invalid_request", "cursor", nil},
	} {
		a := b.do(tt.method, tt.path, tt.body, tt.headers...)
		require.Equal(t, tt.status, a.StatusCode, "%s: %s", tt.name, a.body)
		p := b.problem(a)
		require.Equal(t, tt.code, p.Code, tt.name)
		require.Equal(t, tt.field, p.Field, tt.name)
		require.NotContains(t, p.Detail, "9999999999h", tt.name)
		if tt.field != "" {
			require.Contains(t, p.Errors, httpapi.FieldError{Field: tt.field, Detail: p.Detail}, tt.name)
		}
	}
	require.Zero(t, handled.Load())
}

func TestSeveralProblemsOfTheSchemaComeTogether(t *testing.T) {
	t.Parallel()
	b, _ := things(t)
	p := b.problem(b.do("PUT", thingPath, `{"url":7,"retry":{"max_attempts":0}}`))
	fields := map[string]string{}
	for _, e := range p.Errors {
		fields[e.Field] = e.Detail
	}
	require.Len(t, fields, 2)
	require.Contains(t, fields, "url")
	require.Contains(t, fields, "retry.max_attempts")
	require.Equal(t, fields[p.Field], p.Detail)
}

// A body of unknown length is bounded too.
func TestChunkedBodyTooLarge(t *testing.T) {
	t.Parallel()
	b, handled := things(t)
	body := io.MultiReader(strings.NewReader(`{"url":"`), bytes.NewReader(bytes.Repeat([]byte("x"), 2<<20)), strings.NewReader(`"}`))
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, b.url+thingPath, body)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+writer)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, 413, resp.StatusCode)
	require.Zero(t, handled.Load())
}

func TestWhoMayCall(t *testing.T) {
	t.Parallel()
	b := setup(t)
	seen := make(chan string, 10) // who reached a handler
	operate := httpapi.Route{Method: "POST", Path: "/v1/tenants", ID: "create-tenant", Tag: "tenants", Scope: auth.ScopeOperator, Status: 201}
	httpapi.Register(b.api, operate, func(ctx context.Context, _ *thingInput) (*struct{}, error) {
		seen <- httpapi.Tenant(ctx).String()
		return nil, nil //nolint:nilnil // nothing to say
	})
	httpapi.Register(b.api, route("PUT", "/v1/things/{id}"), func(ctx context.Context, _ *thingInput) (*struct{}, error) {
		seen <- httpapi.Tenant(ctx).String() + " " + httpapi.Principal(ctx).CredentialID
		return nil, nil //nolint:nilnil // nothing to say
	})
	httpapi.RegisterRaw[struct{}, struct{}](b.api, route("POST", "/v1/raw"), func(w http.ResponseWriter, r *http.Request) {
		seen <- httpapi.Tenant(r.Context()).String() + " " + httpapi.Principal(r.Context()).CredentialID
		w.WriteHeader(http.StatusNoContent)
	})
	b.serve()

	for _, path := range []string{"PUT /v1/things/not-a-uuid?unknown=1", "POST /v1/raw"} {
		method, path, _ := strings.Cut(path, " ")
		for _, tt := range []struct {
			token  string
			status int
			code   string
		}{
			{"", 401, "invalid_credentials"},
			{"Bearer nonsense", 401, "invalid_credentials"},
			{"Bearer " + reader, 403, "insufficient_scope"},
			{"Bearer " + operator, 403, "insufficient_scope"},
			{"Bearer " + rootless, 403, "tenant_required"},
			{"Bearer " + uncheck, 503, "unavailable"},
		} {
			// Everything about the request is wrong: who may not call learns nothing about that.
			a := b.do(method, path, `{"colour":`, "Authorization", tt.token)
			require.Equal(t, tt.status, a.StatusCode, "%s as %q: %s", path, tt.token, a.body)
			p := b.problem(a)
			require.Equal(t, tt.code, p.Code)
			require.NotContains(t, a.body, "token-")
		}
	}
	require.Equal(t, 403, b.do("POST", "/v1/tenants", `{}`).StatusCode, "a tenant's credential is no operator's")
	require.Empty(t, seen)

	require.Equal(t, 204, b.do("POST", "/v1/raw", `{}`).StatusCode)
	require.Equal(t, 200, b.do("PUT", thingPath, `{"url":"x"}`).StatusCode)
	require.Equal(t, acme.String()+" key-1", <-seen)
	require.Equal(t, acme.String()+" key-1", <-seen)
}

func TestOperatorsRouteNeedsNoTenant(t *testing.T) {
	t.Parallel()
	b := setup(t)
	httpapi.Register(b.api, httpapi.Route{Method: "POST", Path: "/v1/tenants", ID: "create-tenant", Tag: "tenants", Scope: auth.ScopeOperator, Status: 201},
		func(ctx context.Context, _ *struct{}) (*struct{ Body string }, error) {
			return &struct{ Body string }{httpapi.Tenant(ctx).String()}, nil
		})
	b.serve()
	a := b.do("POST", "/v1/tenants", "", "Authorization", "Bearer "+operator)
	require.Equal(t, 201, a.StatusCode)
	require.Equal(t, `"00000000-0000-0000-0000-000000000000"`, strings.TrimSpace(a.body))
}

func TestARawRouteGetsItsBodyUntouched(t *testing.T) {
	t.Parallel()
	b := setup(t)
	httpapi.RegisterRaw[thingInput, thingOutput](b.api, route("POST", "/v1/raw"), func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.WriteHeader(http.StatusAccepted)
		_, _ = w.Write(body)
	})
	b.serve()
	const body = "{ \"a\":1.0,\n\"a\": \"\\u00e9\" } and more \xff"
	a := b.do("POST", "/v1/raw?whatever=1", body, "Content-Type", "text/plain")
	require.Equal(t, 202, a.StatusCode)
	require.Equal(t, body, a.body)
}

func TestAHandlerSeesItsCallerLeave(t *testing.T) {
	t.Parallel()
	b := setup(t)
	begun, left := make(chan struct{}), make(chan error, 1)
	httpapi.Register(b.api, route("GET", "/v1/slow"), func(ctx context.Context, _ *struct{}) (*struct{}, error) {
		close(begun)
		<-ctx.Done()
		left <- ctx.Err()
		return nil, ctx.Err()
	})
	b.serve()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.url+"/v1/slow", http.NoBody)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+writer)
	go func() {
		<-begun
		cancel()
	}()
	_, err = http.DefaultClient.Do(req)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, <-left, context.Canceled)
}
