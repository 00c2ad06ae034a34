package httpapi

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/beaconpost/beaconpost/pkg/auth"
	"github.com/beaconpost/beaconpost/pkg/backoff"
	"github.com/beaconpost/beaconpost/pkg/fault"
	"github.com/beaconpost/beaconpost/pkg/httpapi"
	"github.com/beaconpost/beaconpost/services/ingest/internal/account"
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
	ID               uuid.UUID                 `json:"id"`
	URL              string                    `json:"url"`
	Description      string                    `json:"description"`
	EventTypes       []string                  `json:"event_types" nullable:"false" doc:"Empty: all."`
	ProjectID        *uuid.UUID                `json:"project_id,omitempty"`
	Status           endpoint.Status           `json:"status" enum:"enabled,disabled"`
	DisabledAt       *time.Time                `json:"disabled_at,omitempty"`
	DisabledReason   string                    `json:"disabled_reason,omitempty" enum:"requested,gone,failing" doc:"gone: it answered 410. failing: no attempt succeeded for too long."`
	Health           HealthView                `json:"health"`
	Timeout          httpapi.Duration          `json:"timeout,omitempty" doc:"Absent: the installation's."`
	Retry            *retryView                `json:"retry,omitempty" doc:"Absent: the installation's."`
	Headers          map[string]string         `json:"headers,omitempty" doc:"Sent with every attempt."`
	SignatureHeaders endpoint.SignatureHeaders `json:"signature_headers" enum:"standard,svix,both" doc:"Names of the signature's fields: webhook-*, svix-* or both."`
	RateLimit        *rateView                 `json:"rate_limit,omitempty" doc:"Absent: none."`
	CreatedAt        time.Time                 `json:"created_at"`
	UpdatedAt        time.Time                 `json:"updated_at"`
}

type createdEndpointView struct {
	EndpointView
	Secret    string `json:"secret,omitempty" doc:"The signing secret (whsec_…). Later it is shown only by the secret route. Absent for ed25519."`
	PublicKey string `json:"public_key,omitempty" doc:"whpk_…, for ed25519; also at /v1/public-keys/{id}."`
}

func viewEndpoint(e endpoint.Endpoint) EndpointView {
	types := []string(e.Filter)
	if types == nil {
		types = []string{}
	}
	return EndpointView{
		e.ID, e.URL, e.Description, types, e.ProjectID, e.Status, optionalTime(e.Disabled.At), e.Disabled.Reason, viewHealth(e.Health), httpapi.Duration(e.Timeout), viewRetry(e.Retry), e.Headers, e.Signature, viewRate(e.Rate), e.CreatedAt.UTC(), e.UpdatedAt.UTC(),
	}
}

type rateView struct {
	PerSecond float64 `json:"per_second" minimum:"0.01" maximum:"100000" doc:"Attempts per second, over all replicas."`
	Burst     int     `json:"burst,omitempty" minimum:"1" maximum:"100000" doc:"Attempts that may be made at once after a pause; per_second, rounded up, unless given."`
}

func (v *rateView) rate() endpoint.Rate {
	if v == nil || *v == (rateView{}) {
		return endpoint.Rate{}
	}
	r := endpoint.Rate{PerSecond: v.PerSecond, Burst: v.Burst}
	if r.Burst == 0 {
		r.Burst = int(math.Ceil(v.PerSecond))
	}
	return r
}

func viewRate(r endpoint.Rate) *rateView {
	if r == (endpoint.Rate{}) {
		return nil
	}
	return &rateView{r.PerSecond, r.Burst}
}

// HealthView is what attempts at an endpoint showed and what is done about it.
type HealthView struct {
	Breaker          string     `json:"breaker" enum:"closed,open,draining" doc:"closed: deliveries are attempted. open: they are parked, one at a time is tried. draining: parked ones are let go, oldest first."`
	Reason           string     `json:"reason,omitempty" enum:"failures,retry_after,gone,disabled,backlog,enabled,recover,adopted" doc:"Why it is not closed."`
	Since            *time.Time `json:"since,omitempty" doc:"When the breaker changed last."`
	Failures         int        `json:"failures" doc:"Attempts that failed since the last success."`
	FailingSince     *time.Time `json:"failing_since,omitempty" doc:"When the first of those began."`
	LastFailedAt     *time.Time `json:"last_failed_at,omitempty"`
	LastStatusCode   int        `json:"last_status_code,omitempty" doc:"HTTP status of the last failure; absent if there was no answer."`
	LastErrorClass   string     `json:"last_error_class,omitempty"`
	Probes           int        `json:"probes,omitempty" doc:"Deliveries that were tried since the breaker opened."`
	NextProbeAt      *time.Time `json:"next_probe_at,omitempty"`
	DrainRate        int        `json:"drain_rate,omitempty" doc:"Deliveries per second."`
	Recovering       bool       `json:"recovering,omitempty" doc:"Exhausted deliveries are being taken up again."`
	Recovered        int64      `json:"recovered,omitempty" doc:"How many were, so far."`
	ParkedDeliveries int        `json:"parked_deliveries,omitempty" doc:"Counted up to 10000, and only where one endpoint is read."`
}

func viewHealth(h endpoint.Health) HealthView {
	if h.Breaker == "" {
		h.Breaker = "closed"
	}
	return HealthView{
		Breaker: h.Breaker, Reason: h.Reason, Since: optionalTime(h.Since), Failures: h.Failures, FailingSince: optionalTime(h.FailingSince),
		LastFailedAt: optionalTime(h.LastFailedAt), LastStatusCode: h.LastStatus, LastErrorClass: h.LastClass, Probes: h.Probes, NextProbeAt: optionalTime(h.NextProbeAt),
		DrainRate: h.DrainRate, Recovering: h.Recovering, Recovered: h.Recovered, ParkedDeliveries: h.Parked,
	}
}

func optionalTime(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

type createEndpointInput struct {
	Body struct {
		URL              string                    `json:"url" maxLength:"2048" doc:"An absolute http or https URL." example:"https://example.com/webhooks"`
		Description      string                    `json:"description,omitempty" maxLength:"1000"`
		EventTypes       []string                  `json:"event_types,omitempty" maxItems:"100" doc:"Event types or prefixes such as order.*. Absent or empty: all."`
		ProjectID        *uuid.UUID                `json:"project_id,omitempty" format:"uuid" doc:"Receive only events of this project."`
		Status           endpoint.Status           `json:"status,omitempty" enum:"enabled,disabled" default:"enabled"`
		Timeout          httpapi.Duration          `json:"timeout,omitempty" doc:"Bound on one attempt, including the answer's body."`
		Retry            *retryView                `json:"retry,omitempty"`
		Headers          map[string]string         `json:"headers,omitempty" doc:"Fields that are sent with every attempt, at most 32. Those that say how the request travels, or that are ours, are refused."`
		SignatureHeaders endpoint.SignatureHeaders `json:"signature_headers,omitempty" enum:"standard,svix,both" default:"standard"`
		RateLimit        *rateView                 `json:"rate_limit,omitempty"`
		SecretChoice
	}
}

type updateEndpointInput struct {
	ID   uuid.UUID `path:"id" format:"uuid"`
	Body struct {
		URL              httpapi.Optional[string]            `json:"url,omitempty"`
		Description      httpapi.Optional[string]            `json:"description,omitempty"`
		EventTypes       httpapi.Optional[[]string]          `json:"event_types,omitempty" doc:"null or []: all."`
		ProjectID        httpapi.Optional[*uuid.UUID]        `json:"project_id,omitempty"`
		Status           httpapi.Optional[string]            `json:"status,omitempty" doc:"enabled or disabled. Deliveries of a disabled endpoint are kept without being attempted; enabling it lets them go, oldest first."`
		Timeout          httpapi.Optional[httpapi.Duration]  `json:"timeout,omitempty" doc:"null: the installation's."`
		Retry            httpapi.Optional[retryView]         `json:"retry,omitempty" doc:"Replaces the whole policy; null: the installation's."`
		Headers          httpapi.Optional[map[string]string] `json:"headers,omitempty" doc:"Replaces all of them; null: none."`
		SignatureHeaders httpapi.Optional[string]            `json:"signature_headers,omitempty" doc:"standard, svix or both."`
		RateLimit        httpapi.Optional[rateView]          `json:"rate_limit,omitempty" doc:"null: none."`
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
	httpapi.Register(api, route(get, "/v1/endpoints/{id}/stats", "endpoint-stats", "What became of an endpoint's attempts, by hour", auth.ScopeDeliveriesRead, 0,
		"Counted by each replica and stored every ten seconds; what one that is killed had not stored is missing here."), h.endpointStats)
	httpapi.Register(api, route(post, "/v1/endpoints/{id}/test", "test-endpoint", "Send a test now", auth.ScopeEndpointsWrite, 0,
		"One signed attempt over a connection of its own, whatever the endpoint's state; the answer says what came of it and how long each phase took. Nothing is stored, and it counts for nothing."), h.testEndpoint)
	httpapi.Register(api, route(post, "/v1/endpoints/{id}/recover", "recover-endpoint", "Attempt exhausted deliveries again", auth.ScopeEndpointsWrite, http.StatusAccepted,
		"Exhausted deliveries of events since a time get one more attempt each, oldest first, at the rate of a drain; of a disabled endpoint when it is enabled. The endpoint's health says how far it is."), h.recoverEndpoint)
	httpapi.Register(api, route(remove, "/v1/endpoints/{id}", "delete-endpoint", "Delete an endpoint", auth.ScopeEndpointsWrite, 0,
		"Cancels its pending deliveries (cancel_reason endpoint_deleted) and says how many they were. Deliveries and attempts can still be read."), h.deleteEndpoint)
}

type recoverInput struct {
	ID   uuid.UUID `path:"id" format:"uuid"`
	Body struct {
		Since time.Time `json:"since" doc:"Events accepted at this time or later." example:"2026-11-20T00:00:00Z"`
	}
}

type recoveryView struct {
	Endpoint   EndpointView `json:"endpoint"`
	Since      time.Time    `json:"since"`
	Until      time.Time    `json:"until" doc:"Events accepted later are not included."`
	Deliveries int          `json:"deliveries" doc:"Exhausted deliveries of these events, counted up to 10000; those whose payload was scrubbed stay as they are."`
}

func (h *Handlers) recoverEndpoint(ctx context.Context, in *recoverInput) (*struct{ Body recoveryView }, error) {
	until := time.Now().UTC().Truncate(time.Millisecond)
	since := in.Body.Since.UTC()
	if !account.Sayable(since) || since.After(time.Now()) {
		return nil, fault.Invalid("invalid_recovery", "since", "Expected a time that has passed, not before 1970.")
	}
	found, e, err := h.Endpoints.Recover(ctx, httpapi.Tenant(ctx), in.ID, since, until)
	if err != nil {
		return nil, err
	}
	return &struct{ Body recoveryView }{recoveryView{viewEndpoint(e), since, until, found}}, nil
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
		Timeout: time.Duration(b.Timeout), Retry: retry, Headers: b.Headers, Signature: b.SignatureHeaders, Rate: b.RateLimit.rate(),
	}
	if err := e.Check(h.Limits); err != nil {
		return nil, err
	}
	secret, err := b.choose("invalid_endpoint")
	if err != nil {
		return nil, err
	}
	if err := h.Endpoints.Create(ctx, t, &e, secret); err != nil {
		return nil, err
	}
	shared, public := revealed(secret.Value)
	return &struct{ Body createdEndpointView }{createdEndpointView{viewEndpoint(e), shared, public}}, nil
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
		limits := h.Limits
		if !in.Body.URL.Set {
			limits.CheckURL = nil // what became forbidden after it was stored can still be described, and disabled
		}
		return e.Check(limits)
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
	b.Headers.Apply(&e.Headers)
	b.SignatureHeaders.Apply((*string)(&e.Signature))
	if b.RateLimit.Set {
		e.Rate = b.RateLimit.Value.rate()
	}
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
