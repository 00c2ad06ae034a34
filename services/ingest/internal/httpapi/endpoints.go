package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/beaconpost/beaconpost/pkg/auth"
	"github.com/beaconpost/beaconpost/pkg/backoff"
	"github.com/beaconpost/beaconpost/pkg/fault"
	"github.com/beaconpost/beaconpost/pkg/httpapi"
	"github.com/beaconpost/beaconpost/pkg/signature"
	"github.com/beaconpost/beaconpost/services/ingest/internal/endpoint"
)

type retryView struct {
	Preset      string             `json:"preset,omitempty" enum:"exponential,standard-webhooks" doc:"A policy by name: exponential (1s doubling to 1h, 15 attempts) or standard-webhooks (5s, 5m, 30m, 2h, 5h, 10h, 14h, 20h, 24h). Excludes the others but max_age."`
	Schedule    []httpapi.Duration `json:"schedule,omitempty" maxItems:"99" doc:"Waits between attempts, in order; there is one attempt more than waits. Excludes the other fields."`
	Base        httpapi.Duration   `json:"base,omitempty" doc:"The wait after n failures is 2^n times this."`
	Cap         httpapi.Duration   `json:"cap,omitempty" doc:"The longest wait."`
	MaxAttempts int                `json:"max_attempts,omitempty" minimum:"1" maximum:"100" doc:"Attempts in total."`
	MaxAge      httpapi.Duration   `json:"max_age,omitempty" doc:"No retry is planned that would start later than this after the event was accepted."`
}

// policy reads what was sent; field is where it was, with a dot behind, or "".
func (r *retryView) policy(code, field string) (backoff.Policy, error) {
	if r == nil {
		return backoff.Policy{}, nil
	}
	p := backoff.Policy{Base: time.Duration(r.Base), Cap: time.Duration(r.Cap), MaxAttempts: r.MaxAttempts}
	for _, d := range r.Schedule {
		p.Schedule = append(p.Schedule, time.Duration(d))
	}
	if r.Preset != "" {
		preset, ok := backoff.Preset(r.Preset)
		if !ok {
			return p, fault.Invalid(fault.Code(code), field+"preset", "Expected one of "+strings.Join(backoff.Presets(), ", ")+".")
		}
		// What a client reads it may send back.
		if p.PresetOf() != r.Preset && (len(p.Schedule) > 0 || p.Base != 0 || p.Cap != 0 || p.MaxAttempts != 0) {
			return p, fault.Invalid(fault.Code(code), field+"preset", "Expected a preset without schedule, base, cap and max_attempts, or those without a preset.")
		}
		p = preset
	}
	p.MaxAge = time.Duration(r.MaxAge)
	return p, nil
}

func viewRetry(p backoff.Policy) *retryView {
	if len(p.Schedule) == 0 && p.Base == 0 && p.Cap == 0 && p.MaxAttempts == 0 && p.MaxAge == 0 {
		return nil
	}
	v := &retryView{Preset: p.PresetOf(), MaxAge: httpapi.Duration(p.MaxAge), Base: httpapi.Duration(p.Base), Cap: httpapi.Duration(p.Cap), MaxAttempts: p.MaxAttempts}
	for _, d := range p.Schedule {
		v.Schedule = append(v.Schedule, httpapi.Duration(d))
	}
	return v
}

// EndpointView is an endpoint without its secret. It is exported so that the framework describes what embeds it.
type EndpointView struct {
	ID          uuid.UUID        `json:"id"`
	URL         string           `json:"url"`
	Description string           `json:"description"`
	EventTypes  []string         `json:"event_types" nullable:"false" doc:"Empty: all."`
	ProjectID   *uuid.UUID       `json:"project_id,omitempty"`
	Status      endpoint.Status  `json:"status" enum:"enabled,disabled"`
	Timeout     httpapi.Duration `json:"timeout,omitempty" doc:"Absent: the installation's."`
	Retry       *retryView       `json:"retry,omitempty" doc:"Absent: the installation's."`
	CreatedAt   time.Time        `json:"created_at"`
	UpdatedAt   time.Time        `json:"updated_at"`
}

type createdEndpointView struct {
	EndpointView
	Secret string `json:"secret" doc:"The signing secret (whsec_…). Later it is shown only by the secret route."`
}

func viewEndpoint(e endpoint.Endpoint) EndpointView {
	types := []string(e.Filter)
	if types == nil {
		types = []string{}
	}
	return EndpointView{
		e.ID, e.URL, e.Description, types, e.ProjectID, e.Status, httpapi.Duration(e.Timeout), viewRetry(e.Retry), e.CreatedAt.UTC(), e.UpdatedAt.UTC(),
	}
}

type createEndpointInput struct {
	Body struct {
		URL         string           `json:"url" maxLength:"2048" doc:"An absolute http or https URL." example:"https://example.com/webhooks"`
		Description string           `json:"description,omitempty" maxLength:"1000"`
		EventTypes  []string         `json:"event_types,omitempty" maxItems:"100" doc:"Event types or prefixes such as order.*. Absent or empty: all."`
		ProjectID   *uuid.UUID       `json:"project_id,omitempty" format:"uuid" doc:"Receive only events of this project."`
		Status      endpoint.Status  `json:"status,omitempty" enum:"enabled,disabled" default:"enabled"`
		Timeout     httpapi.Duration `json:"timeout,omitempty" doc:"Bound on one attempt, including the answer's body."`
		Retry       *retryView       `json:"retry,omitempty"`
	}
}

type updateEndpointInput struct {
	ID   uuid.UUID `path:"id" format:"uuid"`
	Body struct {
		URL         httpapi.Optional[string]           `json:"url,omitempty"`
		Description httpapi.Optional[string]           `json:"description,omitempty"`
		EventTypes  httpapi.Optional[[]string]         `json:"event_types,omitempty" doc:"null or []: all."`
		ProjectID   httpapi.Optional[*uuid.UUID]       `json:"project_id,omitempty"`
		Status      httpapi.Optional[string]           `json:"status,omitempty" doc:"enabled or disabled. Disabling keeps pending deliveries without attempting them; enabling makes them due."`
		Timeout     httpapi.Optional[httpapi.Duration] `json:"timeout,omitempty" doc:"null: the installation's."`
		Retry       httpapi.Optional[retryView]        `json:"retry,omitempty" doc:"Replaces the whole policy; null: the installation's."`
	}
}

func (h *Handlers) registerEndpoints(api *httpapi.API) {
	route := func(method, path, id, summary string, scope auth.Scope, status int, doc string) httpapi.Route {
		return httpapi.Route{Method: method, Path: path, ID: id, Summary: summary, Tag: "endpoints", Scope: scope, Status: status, Doc: doc}
	}
	httpapi.Register(api, route(post, "/v1/endpoints", "create-endpoint", "Create an endpoint", auth.ScopeEndpointsWrite, http.StatusCreated,
		"Returns the signing secret."), h.createEndpoint)
	httpapi.Register(api, route(get, "/v1/endpoints", "list-endpoints", "List endpoints, newest first", auth.ScopeEndpointsRead, 0, ""), h.listEndpoints)
	httpapi.Register(api, route(get, "/v1/endpoints/{id}", "get-endpoint", "Read an endpoint", auth.ScopeEndpointsRead, 0, ""), h.getEndpoint)
	httpapi.Register(api, route(patch, "/v1/endpoints/{id}", "update-endpoint", "Change an endpoint", auth.ScopeEndpointsWrite, 0,
		"A merge patch: fields that are absent stay. Pending deliveries use the new values from their next attempt on."), h.updateEndpoint)
	httpapi.Register(api, route(remove, "/v1/endpoints/{id}", "delete-endpoint", "Delete an endpoint", auth.ScopeEndpointsWrite, 0,
		"Cancels its pending deliveries (cancel_reason endpoint_deleted) and says how many they were. Deliveries and attempts can still be read."), h.deleteEndpoint)
}

func (h *Handlers) createEndpoint(ctx context.Context, in *createEndpointInput) (*struct{ Body createdEndpointView }, error) {
	t := httpapi.Tenant(ctx)
	b := in.Body
	id, err := uuid.NewV7()
	if err != nil {
		return nil, fmt.Errorf("make endpoint id: %w", err)
	}
	retry, err := b.Retry.policy("invalid_endpoint", "retry.")
	if err != nil {
		return nil, err
	}
	e := endpoint.Endpoint{
		ID: id, ProjectID: b.ProjectID, URL: b.URL, Description: b.Description, Filter: b.EventTypes, Status: b.Status,
		Timeout: time.Duration(b.Timeout), Retry: retry,
	}
	if err := e.Check(h.Limits); err != nil {
		return nil, err
	}
	secret, err := newSecret()
	if err != nil {
		return nil, err
	}
	if err := h.Endpoints.Create(ctx, t, &e, secret); err != nil {
		return nil, err
	}
	return &struct{ Body createdEndpointView }{createdEndpointView{viewEndpoint(e), secret.Value.Reveal()}}, nil
}

func newSecret() (endpoint.Secret, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return endpoint.Secret{}, fmt.Errorf("make secret id: %w", err)
	}
	return endpoint.Secret{ID: id, Value: signature.NewSecret()}, nil
}

type listEndpointsInput struct {
	httpapi.Page
	ProjectID string `query:"project_id" format:"uuid"`
}

func (h *Handlers) listEndpoints(ctx context.Context, in *listEndpointsInput) (*struct {
	Body httpapi.List[EndpointView]
}, error) {
	t := httpapi.Tenant(ctx)
	cursor, err := in.After()
	if err != nil {
		return nil, err
	}
	project, err := httpapi.OptionalID("project_id", in.ProjectID)
	if err != nil {
		return nil, err
	}
	list, err := h.Endpoints.List(ctx, t, project, cursor, in.Limit)
	if err != nil {
		return nil, err
	}
	return listOf(in.Page, list, viewEndpoint, func(v EndpointView) uuid.UUID { return v.ID }), nil
}

func (h *Handlers) getEndpoint(ctx context.Context, in *idPath) (*struct{ Body EndpointView }, error) {
	t := httpapi.Tenant(ctx)
	e, err := h.Endpoints.Endpoint(ctx, t, in.ID)
	if err != nil {
		return nil, err
	}
	return &struct{ Body EndpointView }{viewEndpoint(e)}, nil
}

func (h *Handlers) updateEndpoint(ctx context.Context, in *updateEndpointInput) (*struct{ Body EndpointView }, error) {
	t := httpapi.Tenant(ctx)
	e, err := h.Endpoints.Update(ctx, t, in.ID, func(e *endpoint.Endpoint) error {
		if err := in.apply(e); err != nil {
			return err
		}
		return e.Check(h.Limits)
	})
	if err != nil {
		return nil, err
	}
	return &struct{ Body EndpointView }{viewEndpoint(e)}, nil
}

func (in *updateEndpointInput) apply(e *endpoint.Endpoint) (err error) {
	b := &in.Body
	b.URL.Apply(&e.URL)
	b.Description.Apply(&e.Description)
	b.EventTypes.Apply((*[]string)(&e.Filter))
	b.ProjectID.Apply(&e.ProjectID)
	b.Status.Apply((*string)(&e.Status))
	timeout := httpapi.Duration(e.Timeout)
	b.Timeout.Apply(&timeout)
	e.Timeout = time.Duration(timeout)
	if b.Retry.Set {
		e.Retry, err = b.Retry.Value.policy("invalid_endpoint", "retry.")
	}
	return err
}

type deletedEndpoint struct {
	ID                  uuid.UUID `json:"id"`
	DeliveriesCancelled int64     `json:"deliveries_cancelled" doc:"Pending deliveries that will not be attempted any more."`
}

func (h *Handlers) deleteEndpoint(ctx context.Context, in *idPath) (*struct{ Body deletedEndpoint }, error) {
	t := httpapi.Tenant(ctx)
	cancelled, err := h.Endpoints.Delete(ctx, t, in.ID)
	if err != nil {
		return nil, err
	}
	return &struct{ Body deletedEndpoint }{deletedEndpoint{in.ID, cancelled}}, nil
}
