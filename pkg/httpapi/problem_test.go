package httpapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/fault"
	"github.com/beaconpost/beaconpost/pkg/httpapi"
)

func TestFaultsAreProblems(t *testing.T) {
	t.Parallel()
	cause := errors.New("dial tcp 10.0.0.7:5432: password of admin")
	for name, tt := range map[string]struct {
		err        error
		status     int
		code       string
		field      string
		detail     string
		retryAfter string
	}{
		"invalid":       {fault.Invalid("invalid_url", "url", "Expected https."), 422, "invalid_url", "url", "Expected https.", ""},
		"malformed":     {fault.Malformed("invalid_json", "", "Not JSON.", cause), 400, "invalid_json", "", "Not JSON.", ""},
		"not found":     {fault.NotFound("thing_not_found", "There is no such thing."), 404, "thing_not_found", "", "There is no such thing.", ""},
		"conflict":      {fault.Conflict("thing_exists", "It exists."), 409, "thing_exists", "", "It exists.", ""},
		"too large":     {fault.TooLarge("too_large", "payload", "At most 1 KiB."), 413, "too_large", "payload", "At most 1 KiB.", ""},
		"wrapped":       {fmt.Errorf("create thing: %w", fault.Forbidden("not_yours", "Not yours.")), 403, "not_yours", "", "Not yours.", ""},
		"rate":          {fault.TooManyRequests("rate_limited", 1500*time.Millisecond, "Slower."), 429, "rate_limited", "", "Slower.", "2"},
		"unavailable":   {fault.Unavailable(cause, 7*time.Second, "Not now."), 503, "unavailable", "", "Not now.", "7"},
		"a moment":      {fault.Unavailable(cause, time.Millisecond, "Not now."), 503, "unavailable", "", "Not now.", "1"},
		"without hint":  {fault.Unavailable(cause, 0, "Not now."), 503, "unavailable", "", "Not now.", "1"},
		"internal":      {fault.Internal(cause), 500, "internal_error", "", "", "1"},
		"unknown error": {cause, 500, "internal_error", "", "", "1"},
		"wrapped cause": {fmt.Errorf("store thing: %w", cause), 500, "internal_error", "", "", "1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.fails("/v1/generated", tt.err)
			httpapi.RegisterRaw[struct{}, struct{}](b.api, route(http.MethodGet, "/v1/raw"), func(w http.ResponseWriter, r *http.Request) {
				httpapi.WriteError(w, r, tt.err)
			})
			b.serve()
			var bodies []string
			for _, path := range []string{"/v1/generated", "/v1/raw"} {
				a := b.do(http.MethodGet, path, "")
				require.Equal(t, tt.status, a.StatusCode)
				p := b.problem429(a)
				require.Equal(t, tt.code, p.Code)
				require.Equal(t, tt.field, p.Field)
				if tt.detail != "" {
					require.Equal(t, tt.detail, p.Detail)
				}
				require.Equal(t, tt.retryAfter, a.Header.Get("Retry-After"))
				require.NotContains(t, a.body, "10.0.0.7", "the cause is for the operator")
				bodies = append(bodies, a.body)
			}
			require.JSONEq(t, bodies[0], bodies[1], "both kinds of routes say the same")
			for _, line := range b.logged() {
				require.Equal(t, tt.err.Error(), line["error"], "the operator sees everything")
			}
		})
	}
}

// problem429 is problem for an answer that may carry Retry-After although the fault is the caller's.
func (b *bundle) problem429(a answer) httpapi.Problem {
	if a.StatusCode == http.StatusTooManyRequests {
		var p httpapi.Problem
		require.NoError(b.t, json.Unmarshal([]byte(a.body), &p))
		return p
	}
	return b.problem(a)
}

func TestAllProblemsOfAnInputAreListed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.fails("/v1/things", fault.Invalid("invalid_thing", "url", "Expected https.",
		fault.Detail{Field: "url", Message: "Expected https."}, fault.Detail{Field: "retry.base", Message: "Too long."}))
	b.serve()
	p := b.problem(b.do(http.MethodGet, "/v1/things", ""))
	require.Equal(t, []httpapi.FieldError{{Field: "url", Detail: "Expected https."}, {Field: "retry.base", Detail: "Too long."}}, p.Errors)
}

// The fields' names are part of the API.
func TestShapeOfAProblem(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	httpapi.WriteError(w, httptest.NewRequest(http.MethodGet, "/", http.NoBody),
		fault.Invalid("invalid_thing", "url", "Expected https.", fault.Detail{Field: "url", Message: "Expected https."}))
	require.Equal(t, "application/problem+json", w.Header().Get("Content-Type"))
	require.JSONEq(t, `{
		"type": "about:blank", "title": "Unprocessable Entity", "status": 422, "code": "invalid_thing",
		"detail": "Expected https.", "field": "url", "errors": [{"field": "url", "detail": "Expected https."}]
	}`, w.Body.String())
	w = httptest.NewRecorder()
	httpapi.WriteError(w, httptest.NewRequest(http.MethodGet, "/", http.NoBody), fault.NotFound("thing_not_found", "No."))
	require.JSONEq(t, `{"type": "about:blank", "title": "Not Found", "status": 404, "code": "thing_not_found", "detail": "No."}`, w.Body.String())
}

func TestWithoutACredential(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.fails("/v1/things", nil)
	b.serve()
	a := b.do(http.MethodGet, "/v1/things", "", "Authorization", "")
	require.Equal(t, 401, a.StatusCode)
	b.problem(a)
	require.Equal(t, `Bearer realm="beaconpost"`, a.Header.Get("WWW-Authenticate"))
}

func TestNothingThereAndWrongMethod(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, method := range []string{http.MethodGet, http.MethodPatch} {
		httpapi.Register(b.api, route(method, "/v1/things/{id}"), func(context.Context, *struct {
			ID string `path:"id"`
		},
		) (*struct{}, error) {
			return nil, nil //nolint:nilnil // nothing to say
		})
	}
	b.serve()
	for _, path := range []string{"/", "/v1/nothing", "/v1/things", "/v1/things/7/"} {
		a := b.do(http.MethodGet, path, "", "Authorization", "")
		require.Equal(t, 404, a.StatusCode, path)
		require.Equal(t, "route_not_found", b.problem(a).Code)
	}
	for _, method := range []string{"POST", "DELETE", "HEAD", "BREW"} {
		a := b.do(method, "/v1/things/7", "", "Authorization", "")
		require.Equal(t, 405, a.StatusCode, method)
		require.Equal(t, "GET, PATCH", a.Header.Get("Allow"))
		if method != "HEAD" {
			require.Equal(t, "method_not_allowed", b.problem(a).Code)
		}
	}
}
