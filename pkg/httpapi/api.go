package httpapi

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"
	"github.com/go-chi/chi/v5"

	"github.com/beaconpost/beaconpost/pkg/auth"
	"github.com/beaconpost/beaconpost/pkg/fault"
	"github.com/beaconpost/beaconpost/pkg/telemetry"
	"github.com/beaconpost/beaconpost/pkg/tenant"
)

// Authenticator finds out who sends a request. Errors are faults.
type Authenticator interface {
	Authenticate(r *http.Request) (auth.Principal, error)
}

// Config describes a service's API.
type Config struct {
	Service       string // names its OpenAPI document: /openapi/<service>.json
	Title         string
	Version       string
	Authenticator Authenticator
	Telemetry     *telemetry.Telemetry
}

// API collects the routes of one service. Register all of them before Handler.
type API struct {
	cfg    Config
	router chi.Router
	huma   huma.API
}

// New makes an API. Every route under /v1 demands a credential; unknown routes and methods are problems too.
func New(cfg Config) *API {
	strictCasing() // or a field in other letters would be checked by nobody and decoded all the same
	router := chi.NewRouter()
	router.Use(observe(newMetrics(cfg.Telemetry.Metrics), cfg.Telemetry))
	router.NotFound(func(w http.ResponseWriter, r *http.Request) {
		WriteError(w, r, fault.NotFound("route_not_found", "There is nothing at this path. See /docs."))
	})
	router.MethodNotAllowed(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Allow", allowed(router, cmp.Or(r.URL.RawPath, r.URL.Path)))
		WriteError(w, r, &fault.Error{Kind: fault.KindMethodNotAllowed, Code: "method_not_allowed", Message: "This path does not take " + r.Method + "."})
	})
	hc := huma.DefaultConfig(cfg.Title, cfg.Version)
	hc.OpenAPIPath, hc.DocsPath, hc.SchemasPath = "", "", ""
	hc.CreateHooks = nil // no $schema fields in bodies
	hc.RejectUnknownQueryParameters = true
	hc.Transformers = []huma.Transformer{plainProblem}
	hc.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"bearer": {Type: "http", Scheme: "bearer", Description: "An API key (bp_…) or a JWT."},
	}
	return &API{cfg: cfg, router: router, huma: humachi.New(router, hc)}
}

// allowed lists the methods that path takes (RFC 9110, section 15.5.6, wants them in every 405).
func allowed(router chi.Router, path string) string {
	var methods []string
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		if router.Match(chi.NewRouteContext(), method, path) {
			methods = append(methods, method)
		}
	}
	return strings.Join(methods, ", ")
}

// Route names an operation and who may call it.
type Route struct {
	Method  string
	Path    string
	ID      string // operationId
	Summary string
	Tag     string
	Scope   auth.Scope
	Public  bool // no credential is asked for
	Status  int  // of success; 0: 200
	Doc     string
}

//nolint:gochecknoglobals // the framework's own setting is one
var strictCasing = sync.OnceFunc(func() { huma.ValidateStrictCasing = true })

// Register adds a route whose input and output are described by I and O (huma's struct tags). The handler returns faults.
func Register[I, O any](a *API, route Route, handler func(context.Context, *I) (*O, error)) {
	op := a.operation(route)
	op.Middlewares = huma.Middlewares{a.authorize(route)}
	huma.Register(a.huma, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := handler(ctx, in)
		if err != nil {
			noteError(ctx, err)
			return nil, newProblem(err)
		}
		return out, nil
	})
}

// RegisterRaw adds a route that reads its request itself, for bodies that must not be decoded generically. I and O describe it in
// the OpenAPI document only.
func RegisterRaw[I, O any](a *API, route Route, handler http.HandlerFunc) {
	op := a.operation(route)
	registry := a.huma.OpenAPI().Components.Schemas
	op.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
		"application/json": {Schema: registry.Schema(reflect.TypeFor[I](), true, "")},
	}}
	op.Responses[fmt.Sprint(op.DefaultStatus)] = &huma.Response{Description: http.StatusText(op.DefaultStatus), Content: map[string]*huma.MediaType{
		"application/json": {Schema: registry.Schema(reflect.TypeFor[O](), true, "")},
	}}
	a.huma.OpenAPI().AddOperation(&op)
	a.router.Method(route.Method, route.Path, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := a.admit(r, route); err != nil {
			WriteError(w, r, err)
			return
		}
		handler(w, r)
	}))
}

func (a *API) operation(route Route) huma.Operation {
	status := route.Status
	if status == 0 {
		status = http.StatusOK
	}
	problem := a.huma.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[Problem](), true, "")
	description := route.Doc
	if route.Scope != "" {
		description = strings.TrimSpace(description + "\n\nNeeds the scope `" + string(route.Scope) + "`.")
	}
	security := []map[string][]string{{"bearer": {}}}
	if route.Public {
		security = []map[string][]string{}
	}
	return huma.Operation{
		OperationID: route.ID, Method: route.Method, Path: route.Path, Summary: route.Summary, Description: description,
		Tags: []string{route.Tag}, DefaultStatus: status,
		Security: security,
		Responses: map[string]*huma.Response{"default": {
			Description: "Any error.",
			Content:     map[string]*huma.MediaType{"application/problem+json": {Schema: problem}},
		}},
	}
}

// admit authenticates and checks the scope; from then on the request's context knows the principal.
func (a *API) admit(r *http.Request, route Route) error {
	if route.Public {
		return checkQuery(r.URL.RawQuery)
	}
	principal, err := a.cfg.Authenticator.Authenticate(r)
	if err != nil {
		return err
	}
	if err := checkQuery(r.URL.RawQuery); err != nil {
		return err
	}
	notePrincipal(r.Context(), principal)
	if route.Scope == auth.ScopeOperator {
		return principal.Require(route.Scope)
	}
	return principal.RequireTenant(route.Scope)
}

// checkQuery refuses what would otherwise be dropped without a word: parameters that cannot be read and those given twice.
func checkQuery(raw string) error {
	if raw == "" {
		return nil
	}
	query, err := url.ParseQuery(raw)
	if err != nil {
		return fault.Malformed("malformed_query", "", "The query string cannot be read: "+err.Error()+".", nil)
	}
	for name, values := range query {
		if len(values) > 1 {
			return fault.Invalid("duplicate_parameter", name, "The query parameter is given more than once.")
		}
	}
	return nil
}

// Principal gives the caller in a handler. It has the route's scope and, unless that is the operator's, a tenant.
func Principal(ctx context.Context) auth.Principal {
	if n := noteOf(ctx); n != nil {
		return n.principal
	}
	return auth.Principal{}
}

// Tenant gives the caller's tenant in a handler.
func Tenant(ctx context.Context) tenant.ID { return Principal(ctx).Tenant }

func (a *API) authorize(route Route) func(huma.Context, func(huma.Context)) {
	return func(hctx huma.Context, next func(huma.Context)) {
		r, w := humachi.Unwrap(hctx)
		if err := a.admit(r, route); err != nil {
			WriteError(w, r, err)
			return
		}
		next(hctx)
	}
}

// Handler gives the finished API with its OpenAPI document at /openapi/<service>.json and a readable page at /docs/<service>.
func (a *API) Handler() (http.Handler, error) {
	spec, err := a.Spec()
	if err != nil {
		return nil, err
	}
	specPath := "/openapi/" + a.cfg.Service + ".json"
	page, err := docsPage(a.huma.OpenAPI(), specPath)
	if err != nil {
		return nil, err
	}
	a.router.Get(specPath, serveBytes("application/openapi+json", spec))
	a.router.Get("/docs/"+a.cfg.Service, serveBytes("text/html; charset=utf-8", page))
	return apart(a.router), nil
}

// apart hides a router that the API is mounted in: its pattern would be put in front of the route in labels and logs.
func apart(router http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if chi.RouteContext(r.Context()) != nil {
			r = r.WithContext(context.WithValue(r.Context(), chi.RouteCtxKey, nil))
		}
		router.ServeHTTP(w, r)
	})
}

// Spec gives the OpenAPI 3.1 document as JSON.
func (a *API) Spec() ([]byte, error) {
	spec, err := json.MarshalIndent(a.huma.OpenAPI(), "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode OpenAPI document: %w", err)
	}
	return spec, nil
}

func serveBytes(contentType string, body []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		_, _ = w.Write(body) // the caller is gone: nobody to tell
	}
}

// plainProblem replaces the framework's own error bodies (input that does not fit the schema) by Problems.
func plainProblem(_ huma.Context, _ string, body any) (any, error) {
	m, ok := body.(*huma.ErrorModel)
	if !ok {
		return body, nil
	}
	p := &Problem{Type: "about:blank", Title: http.StatusText(m.Status), Status: m.Status, Code: schemaCode(m.Status), Detail: m.Detail}
	for _, e := range m.Errors {
		p.Errors = append(p.Errors, FieldError{Field: fieldOf(e.Location, e.Message), Detail: e.Message})
	}
	if len(p.Errors) > 0 {
		p.Field = p.Errors[0].Field
		p.Detail = p.Errors[0].Detail
	}
	return p, nil
}

func schemaCode(status int) string {
	switch status {
	case http.StatusBadRequest:
		return "malformed_request"
	case http.StatusUnprocessableEntity:
		return "invalid_request"
	case http.StatusRequestEntityTooLarge:
		return "body_too_large"
	case http.StatusUnsupportedMediaType:
		return "unsupported_media_type"
	case http.StatusNotAcceptable:
		return "not_acceptable"
	case http.StatusRequestTimeout:
		return "body_timeout"
	default:
		return "request_failed"
	}
}

// fieldOf turns the framework's location (body.retry.schedule[1], query.limit) into the field a caller knows (retry.schedule.1, limit).
// For a field that is missing the framework names its parent only.
func fieldOf(location, message string) string {
	location = strings.NewReplacer("[", ".", "]", "").Replace(location)
	field := location
	for _, prefix := range []string{"body", "query", "path", "header"} {
		if rest, ok := strings.CutPrefix(location, prefix); ok && (rest == "" || rest[0] == '.') {
			field = strings.TrimPrefix(rest, ".")
		}
	}
	if name, ok := strings.CutPrefix(message, "expected required property "); ok {
		name, _, _ = strings.Cut(name, " ")
		field = strings.TrimPrefix(field+"."+name, ".")
	}
	return field
}
