// Package httpapi is delivery's REST surface: deliveries and their attempts, retries and cancellation by hand.
package httpapi

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/beaconpost/beaconpost/pkg/auth"
	"github.com/beaconpost/beaconpost/pkg/httpapi"
	"github.com/beaconpost/beaconpost/pkg/tenant"
	"github.com/beaconpost/beaconpost/pkg/uuid7"
	"github.com/beaconpost/beaconpost/services/delivery/internal/delivery"
)

// Store keeps deliveries of a tenant. Lists hold one item more than the limit when there are more.
type Store interface {
	List(ctx context.Context, t tenant.ID, query delivery.Query) ([]delivery.Delivery, error)
	Delivery(ctx context.Context, t tenant.ID, id uuid.UUID) (delivery.Delivery, []delivery.Attempt, error)
	Retry(ctx context.Context, t tenant.ID, id uuid.UUID) (d delivery.Delivery, attempt *delivery.Request, err error)
	Cancel(ctx context.Context, t tenant.ID, id uuid.UUID) (delivery.Delivery, error)
}

// Broker is told about changes by hand. What it loses does no harm: the reconciler finds what is due, and what is out of date starts nothing.
type Broker interface {
	Forget(ctx context.Context, ref delivery.Ref) // drops a planned retry
}

// Engine makes attempts.
type Engine interface {
	Submit(ctx context.Context, tickets []delivery.Ticket)
}

// Handlers holds what the routes work with.
type Handlers struct {
	Store  Store
	Broker Broker
	Engine Engine
}

// DeliveryView is a delivery without its attempts. It is exported so that the framework describes what embeds it.
type DeliveryView struct {
	ID             uuid.UUID       `json:"id"`
	EventID        uuid.UUID       `json:"event_id"`
	EndpointID     uuid.UUID       `json:"endpoint_id"`
	EventType      string          `json:"event_type,omitempty"`
	Status         delivery.Status `json:"status" enum:"pending,delivered,exhausted,cancelled"`
	Attempts       int             `json:"attempts" doc:"Attempts made."`
	CreatedAt      time.Time       `json:"created_at"`
	NextAttemptAt  *time.Time      `json:"next_attempt_at" doc:"null: none is planned, because the delivery ended, or waits for its endpoint to be enabled or to recover."`
	CompletedAt    *time.Time      `json:"completed_at" doc:"null while pending."`
	LastStatusCode int             `json:"last_status_code,omitempty" doc:"HTTP status of the last attempt; absent if there was no answer."`
	LastErrorClass string          `json:"last_error_class,omitempty" doc:"In which way the last attempt failed without an answer that counts."`
	CancelReason   string          `json:"cancel_reason,omitempty" doc:"requested, endpoint_deleted, payload_scrubbed or expired (parked for longer than the installation keeps such deliveries)."`
}

type attemptView struct {
	ID                uuid.UUID        `json:"id"`
	Number            int              `json:"number"`
	StartedAt         time.Time        `json:"started_at"`
	Duration          httpapi.Duration `json:"duration"`
	StatusCode        int              `json:"status_code,omitempty" doc:"Absent: no answer."`
	ErrorClass        string           `json:"error_class,omitempty" enum:"dns,connect,timeout_connect,tls,timeout_tls,timeout_send,timeout_header,timeout_body,reset,protocol,oversize,blocked_address,invalid_url"`
	ErrorDetail       string           `json:"error_detail,omitempty"`
	ResponseExcerpt   string           `json:"response_excerpt,omitempty" doc:"The start of the answer's body; bytes that are not UTF-8 are replaced."`
	ResponseTruncated bool             `json:"response_truncated,omitempty" doc:"The answer's body was longer than the excerpt."`
	TraceID           string           `json:"trace_id,omitempty"`
}

type deliveryWithAttempts struct {
	DeliveryView
	AttemptLog []attemptView `json:"attempt_log" nullable:"false" doc:"All attempts, the first one first."`
}

func viewDelivery(d delivery.Delivery) DeliveryView {
	return DeliveryView{
		ID: d.ID, EventID: d.EventID, EndpointID: d.EndpointID, EventType: d.EventType, Status: d.Status, Attempts: d.Attempts,
		CreatedAt: uuid7.Time(d.ID), NextAttemptAt: optional(d.NextAttemptAt), CompletedAt: optional(d.CompletedAt),
		LastStatusCode: d.LastStatus, LastErrorClass: d.LastError, CancelReason: d.CancelReason,
	}
}

func viewAttempt(a delivery.Attempt) attemptView {
	return attemptView{
		ID: a.ID, Number: a.Number, StartedAt: a.StartedAt, Duration: httpapi.Duration(a.Duration), StatusCode: a.StatusCode,
		ErrorClass: string(a.Class), ErrorDetail: a.Detail, ResponseExcerpt: strings.ToValidUTF8(string(a.Excerpt), "\uFFFD"),
		ResponseTruncated: a.Truncated, TraceID: a.TraceID,
	}
}

func optional(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

type (
	idPath struct {
		ID uuid.UUID `path:"id" format:"uuid"`
	}
	listInput struct {
		httpapi.Page
		Status        string    `query:"status" enum:"pending,delivered,exhausted,cancelled"`
		EndpointID    string    `query:"endpoint_id" format:"uuid"`
		EventID       string    `query:"event_id" format:"uuid"`
		CreatedAfter  time.Time `query:"created_after" doc:"RFC 3339, inclusive."`
		CreatedBefore time.Time `query:"created_before" doc:"RFC 3339, exclusive."`
	}
	listOutput struct {
		Body httpapi.List[DeliveryView]
	}
	deliveryOutput struct{ Body DeliveryView }
	detailOutput   struct{ Body deliveryWithAttempts }
)

// Register adds all routes.
func (h *Handlers) Register(api *httpapi.API) {
	route := func(method, path, id, summary string, scope auth.Scope, status int, doc string) httpapi.Route {
		return httpapi.Route{Method: method, Path: path, ID: id, Summary: summary, Tag: "deliveries", Scope: scope, Status: status, Doc: doc}
	}
	httpapi.Register(api, route(http.MethodGet, "/v1/deliveries", "list-deliveries", "List deliveries, newest first", auth.ScopeDeliveriesRead, 0, ""), h.list)
	httpapi.Register(api, route(http.MethodGet, "/v1/deliveries/{id}", "get-delivery", "Read a delivery and its attempts", auth.ScopeDeliveriesRead, 0, ""), h.get)
	httpapi.Register(api, route(http.MethodPost, "/v1/deliveries/{id}/retry", "retry-delivery", "Make a delivery due now", auth.ScopeDeliveriesWrite, http.StatusAccepted,
		"A pending delivery does not wait for its planned time. One that is exhausted or cancelled gets one more attempt; if its policy is spent and the attempt fails, it is exhausted again."), h.retry)
	httpapi.Register(api, route(http.MethodPost, "/v1/deliveries/{id}/cancel", "cancel-delivery", "Cancel a pending delivery", auth.ScopeDeliveriesWrite, 0,
		"An attempt that runs at this moment is not interrupted; it is recorded, and the delivery stays cancelled."), h.cancel)
}

func (h *Handlers) list(ctx context.Context, in *listInput) (*listOutput, error) {
	t := httpapi.Tenant(ctx)
	query := delivery.Query{Status: delivery.Status(in.Status), After: in.CreatedAfter, Before: in.CreatedBefore, Limit: in.Limit}
	var err error
	if query.Cursor, err = in.After(); err != nil {
		return nil, err
	}
	if query.Endpoint, err = httpapi.OptionalID("endpoint_id", in.EndpointID); err != nil {
		return nil, err
	}
	if query.Event, err = httpapi.OptionalID("event_id", in.EventID); err != nil {
		return nil, err
	}
	list, err := h.Store.List(ctx, t, query)
	if err != nil {
		return nil, err
	}
	views := make([]DeliveryView, len(list))
	for i, d := range list {
		views[i] = viewDelivery(d)
	}
	return &listOutput{httpapi.NewList(in.Page, views, func(v DeliveryView) uuid.UUID { return v.ID })}, nil
}

func (h *Handlers) get(ctx context.Context, in *idPath) (*detailOutput, error) {
	t := httpapi.Tenant(ctx)
	d, attempts, err := h.Store.Delivery(ctx, t, in.ID)
	if err != nil {
		return nil, err
	}
	view := deliveryWithAttempts{DeliveryView: viewDelivery(d), AttemptLog: make([]attemptView, len(attempts))}
	for i, a := range attempts {
		view.AttemptLog[i] = viewAttempt(a)
	}
	return &detailOutput{view}, nil
}

func (h *Handlers) retry(ctx context.Context, in *idPath) (*deliveryOutput, error) {
	t := httpapi.Tenant(ctx)
	d, attempt, err := h.Store.Retry(ctx, t, in.ID)
	if err != nil {
		return nil, err
	}
	if attempt != nil {
		h.Broker.Forget(ctx, attempt.Ref)
		h.Engine.Submit(ctx, []delivery.Ticket{delivery.Held(*attempt, nil)})
	}
	return &deliveryOutput{viewDelivery(d)}, nil
}

func (h *Handlers) cancel(ctx context.Context, in *idPath) (*deliveryOutput, error) {
	t := httpapi.Tenant(ctx)
	d, err := h.Store.Cancel(ctx, t, in.ID)
	if err != nil {
		return nil, err
	}
	h.Broker.Forget(ctx, delivery.Ref{Tenant: t, ID: in.ID})
	return &deliveryOutput{viewDelivery(d)}, nil
}
