package httpapi_test

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/auth"
	"github.com/beaconpost/beaconpost/pkg/httpapi"
)

type operation struct {
	OperationID string `json:"operationId"`
	Summary     string
	Description string
	Tags        []string
	Security    []map[string][]string
	RequestBody *struct {
		Required bool
		Content  map[string]struct{ Schema map[string]any }
	} `json:"requestBody"`
	Responses map[string]struct {
		Content map[string]struct{ Schema map[string]any }
	}
}

type document struct {
	OpenAPI    string `json:"openapi"`
	Info       struct{ Title, Version string }
	Paths      map[string]map[string]operation
	Components struct {
		Schemas         map[string]map[string]any
		SecuritySchemes map[string]map[string]any `json:"securitySchemes"`
	}
}

// documented serves three routes and gives the document that describes them.
func documented(t *testing.T) (*bundle, document) {
	t.Helper()
	b := setup(t)
	httpapi.Register(b.api, route("PUT", "/v1/things/{id}"), func(context.Context, *thingInput) (*thingOutput, error) {
		return nil, nil //nolint:nilnil // not called
	})
	httpapi.Register(b.api, httpapi.Route{Method: "DELETE", Path: "/v1/things/{id}", ID: "delete-thing", Tag: "things", Scope: auth.ScopeEndpointsWrite, Status: 204, Summary: `Delete <script>alert("x")</script>`, Doc: "Gone & <b>forgotten</b>."},
		func(context.Context, *idInput) (*struct{}, error) {
			return nil, nil //nolint:nilnil // not called
		})
	httpapi.RegisterRaw[thingInput, thingOutput](b.api, httpapi.Route{Method: "POST", Path: "/v1/raw", ID: "create-raw", Tag: "another", Scope: auth.ScopeEventsWrite, Status: 202, Summary: "Raw"},
		func(http.ResponseWriter, *http.Request) {})
	b.serve()
	a := b.do("GET", "/openapi/shop.json", "", "Authorization", "")
	require.Equal(t, 200, a.StatusCode, "no credential is needed")
	require.Equal(t, "application/openapi+json", a.Header.Get("Content-Type"))
	var d document
	require.NoError(t, json.Unmarshal([]byte(a.body), &d))
	return b, d
}

func TestOpenAPIDocument(t *testing.T) {
	t.Parallel()
	b, d := documented(t)
	require.Regexp(t, `^3\.1\.\d+$`, d.OpenAPI)
	require.Equal(t, "Beaconpost shop", d.Info.Title)
	require.Equal(t, "1.2.3", d.Info.Version)
	require.Equal(t, []string{"/v1/raw", "/v1/things/{id}"}, slices.Sorted(maps.Keys(d.Paths)))
	require.Equal(t, []string{"delete", "put"}, slices.Sorted(maps.Keys(d.Paths["/v1/things/{id}"])))
	require.Equal(t, "http", d.Components.SecuritySchemes["bearer"]["type"])
	for path, status := range map[string]string{"/v1/raw post": "202", "/v1/things/{id} put": "200", "/v1/things/{id} delete": "204"} {
		path, method, _ := strings.Cut(path, " ")
		op := d.Paths[path][method]
		require.NotEmpty(t, op.OperationID)
		require.Len(t, op.Tags, 1)
		require.Equal(t, []map[string][]string{{"bearer": {}}}, op.Security)
		require.Contains(t, op.Description, "Needs the scope `")
		require.Contains(t, op.Responses, status)
		problem := op.Responses["default"].Content["application/problem+json"].Schema
		require.Equal(t, "#/components/schemas/Problem", problem["$ref"])
	}
	raw := d.Paths["/v1/raw"]["post"]
	require.True(t, raw.RequestBody.Required)
	require.NotEmpty(t, raw.RequestBody.Content["application/json"].Schema)
	require.NotEmpty(t, raw.Responses["202"].Content["application/json"].Schema)

	problem := d.Components.Schemas["Problem"]
	require.ElementsMatch(t, []any{"type", "title", "status", "code"}, problem["required"])
	require.ElementsMatch(t, []string{"type", "title", "status", "code", "detail", "field", "errors"}, slices.Collect(maps.Keys(problem["properties"].(map[string]any))))

	again, err := b.api.Spec()
	require.NoError(t, err)
	var same document
	require.NoError(t, json.Unmarshal(again, &same))
	require.Equal(t, d, same, "Spec is what is served")
}

// Every $ref leads somewhere, or generators of clients give up.
func TestReferencesOfTheDocumentResolve(t *testing.T) {
	t.Parallel()
	b, d := documented(t)
	text, err := b.api.Spec()
	require.NoError(t, err)
	var tree any
	require.NoError(t, json.Unmarshal(text, &tree))
	found := 0
	var walk func(any)
	walk = func(node any) {
		switch n := node.(type) {
		case map[string]any:
			if ref, ok := n["$ref"].(string); ok {
				found++
				require.Contains(t, d.Components.Schemas, strings.TrimPrefix(ref, "#/components/schemas/"))
			}
			for _, child := range n {
				walk(child)
			}
		case []any:
			for _, child := range n {
				walk(child)
			}
		}
	}
	walk(tree)
	require.NotZero(t, found)
}

func TestDocsPage(t *testing.T) {
	t.Parallel()
	b, _ := documented(t)
	a := b.do("GET", "/docs/shop", "", "Authorization", "")
	require.Equal(t, 200, a.StatusCode)
	require.Equal(t, "text/html; charset=utf-8", a.Header.Get("Content-Type"))
	require.Contains(t, a.body, `<title>Beaconpost shop</title>`)
	require.Contains(t, a.body, `<b>PUT</b> <code>/v1/things/{id}</code>`)
	require.Contains(t, a.body, `Delete &lt;script&gt;alert(&#34;x&#34;)&lt;/script&gt;`)
	require.Contains(t, a.body, `Gone &amp; &lt;b&gt;forgotten&lt;/b&gt;.`)
	require.NotContains(t, a.body, "<script")
	require.NotContains(t, a.body, "://", "the page asks no other host for anything")
	require.Less(t, strings.Index(a.body, "<h2>another"), strings.Index(a.body, "<h2>things"), "tags in order")
	require.Less(t, strings.Index(a.body, "<b>DELETE</b>"), strings.Index(a.body, "<b>PUT</b>"), "operations in order")
}

// The link does not depend on how the title is worded.
func TestDocsPageLinksToItsDocument(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.api = httpapi.New(httpapi.Config{Service: "warehouse", Title: "The Warehouse", Version: "1", Authenticator: credentials{}, Telemetry: b.telemetry("info")})
	b.serve()
	page := b.do("GET", "/docs/warehouse", "").body
	_, rest, found := strings.Cut(page, `<a href="`)
	require.True(t, found, page)
	link, _, _ := strings.Cut(rest, `"`)
	require.Equal(t, 200, b.do("GET", link, "").StatusCode, link)
}

func TestBodiesCarryNothingOfTheFramework(t *testing.T) {
	t.Parallel()
	b, _ := things(t)
	for _, body := range []string{`{"url":"x"}`, `{}`} {
		a := b.do("PUT", thingPath, body)
		require.NotContains(t, a.body, "$schema")
		require.Empty(t, a.Header.Get("Link"))
	}
}
