package httpapi

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/beaconpost/beaconpost/pkg/auth"
	"github.com/beaconpost/beaconpost/pkg/fault"
	"github.com/beaconpost/beaconpost/pkg/httpapi"
	"github.com/beaconpost/beaconpost/pkg/telemetry"
	"github.com/beaconpost/beaconpost/pkg/tenant"
	"github.com/beaconpost/beaconpost/pkg/uuid7"
	"github.com/beaconpost/beaconpost/services/ingest/internal/event"
)

// envelope is what a body may hold beside its payload.
const envelope = 16 << 10

type eventAccepted struct {
	ID     uuid.UUID `json:"id" doc:"The event's id: webhook-id of every delivery."`
	Status string    `json:"status" enum:"queued"`
}

type eventView struct {
	ID         uuid.UUID       `json:"id"`
	EventType  string          `json:"event_type"`
	ProjectID  *uuid.UUID      `json:"project_id,omitempty"`
	EndpointID *uuid.UUID      `json:"endpoint_id,omitempty"`
	CreatedAt  time.Time       `json:"created_at"`
	Payload    json.RawMessage `json:"payload" doc:"The payload as JSON; null if it was scrubbed. /payload gives its exact bytes."`
	Scrubbed   bool            `json:"payload_scrubbed,omitempty" doc:"The tenant does not keep payloads for so long."`
}

// eventSummary is an event in a list: a page of payloads could be hundreds of megabytes.
type eventSummary struct {
	ID           uuid.UUID  `json:"id"`
	EventType    string     `json:"event_type"`
	ProjectID    *uuid.UUID `json:"project_id,omitempty"`
	EndpointID   *uuid.UUID `json:"endpoint_id,omitempty"`
	CreatedAt    time.Time  `json:"created_at"`
	PayloadBytes int        `json:"payload_bytes" doc:"Size of the payload, which the event's own route returns."`
}

func summarizeEvent(e event.Summary) eventSummary {
	return eventSummary{e.ID, e.Type, e.ProjectID, e.EndpointID, uuid7.Time(e.ID), e.PayloadBytes}
}

func viewEvent(e event.Event) eventView {
	v := eventView{e.ID, e.Type, e.ProjectID, e.EndpointID, e.CreatedAt(), e.Payload, false}
	if len(e.Payload) == 0 {
		v.Payload, v.Scrubbed = json.RawMessage("null"), true
	}
	return v
}

func (h *Handlers) registerEvents(api *httpapi.API) {
	httpapi.RegisterRaw[EventRequest, eventAccepted](api, httpapi.Route{
		Method: post, Path: "/v1/events", ID: "create-event", Summary: "Accept an event", Tag: "events", Scope: auth.ScopeEventsWrite, Status: http.StatusAccepted,
		Doc: "The 202 is sent after the event and its deliveries were committed. With an `Idempotency-Key` header (1 to 255 visible ASCII characters, kept for 24 hours) a repeated request gets the first event's id; another body under the same key is a 409.",
	}, h.createEvent)
	httpapi.Register(api, httpapi.Route{Method: get, Path: "/v1/events/{id}", ID: "get-event", Summary: "Read an event", Tag: "events", Scope: auth.ScopeEventsRead}, h.getEvent)
	httpapi.Register(api, httpapi.Route{
		Method: get, Path: "/v1/events/{id}/explain", ID: "explain-event", Summary: "Why an event goes where it goes, and what it waits for", Tag: "events", Scope: auth.ScopeEventsRead,
		Doc: "One entry for each endpoint of the tenant, newest first. Needs `endpoints:read` and `deliveries:read` too.",
	}, h.explainEvent)
	httpapi.Register(api, httpapi.Route{Method: get, Path: "/v1/events/{id}/payload", ID: "get-event-payload", Summary: "Read the exact bytes of an event's payload", Tag: "events", Scope: auth.ScopeEventsRead}, h.getPayload)
	httpapi.Register(api, httpapi.Route{Method: get, Path: "/v1/events", ID: "list-events", Summary: "List events, newest first, without payloads", Tag: "events", Scope: auth.ScopeEventsRead}, h.listEvents)
}

func (h *Handlers) createEvent(w http.ResponseWriter, r *http.Request) {
	receipt, err := h.accept(r.Context(), w, r)
	if err != nil {
		httpapi.WriteError(w, r, err)
		return
	}
	id := receipt.ID.String()
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Location", "/v1/events/"+id)
	if receipt.Replayed {
		w.Header().Set("Idempotent-Replayed", "true")
	}
	w.WriteHeader(http.StatusAccepted)
	_, _ = io.WriteString(w, `{"id":"`+id+`","status":"queued"}`+"\n") // the caller is gone: nobody to tell
}

func (h *Handlers) accept(ctx context.Context, w http.ResponseWriter, r *http.Request) (event.Receipt, error) {
	principal := httpapi.Principal(ctx)
	body, err := h.readBody(w, r)
	if err != nil {
		return event.Receipt{}, err
	}
	req, err := decodeEvent(body, h.MaxPayload)
	if err != nil {
		return event.Receipt{}, err
	}
	if req.TenantID != nil && tenant.ID(*req.TenantID) != principal.Tenant {
		forbidden := fault.Forbidden("tenant_mismatch", "The credential is not for this tenant. Leave tenant_id out, or use the tenant's own credential.")
		forbidden.Field = "tenant_id"
		return event.Receipt{}, forbidden
	}
	keys := r.Header.Values("Idempotency-Key")
	if len(keys) > 1 || len(keys) == 1 && keys[0] == "" {
		return event.Receipt{}, fault.Invalid("invalid_idempotency_key", "Idempotency-Key", "Expected one header of 1 to 255 visible ASCII characters.")
	}
	s := event.Submission{
		Tenant:      principal.Tenant,
		Event:       event.Event{Type: req.EventType, Payload: req.Payload, EndpointID: req.EndpointID, ProjectID: req.ProjectID},
		Traceparent: telemetry.Traceparent(ctx),
	}
	if len(keys) == 1 {
		s.IdempotencyKey, s.BodyHash = keys[0], sha256.Sum256(body)
	}
	return h.Acceptor.Accept(ctx, s)
}

func (h *Handlers) readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if err := checkMediaType(r); err != nil {
		return nil, err
	}
	limit := int64(h.MaxPayload) + envelope
	if r.ContentLength > limit {
		return nil, payloadTooLarge(h.MaxPayload)
	}
	if r.ContentLength >= 0 && r.ContentLength <= envelope {
		body := make([]byte, r.ContentLength)
		if _, err := io.ReadFull(r.Body, body); err != nil {
			return nil, incompleteBody(err)
		}
		return body, nil
	}
	// Grown as bytes arrive: what a header promises costs nothing.
	body := bytes.NewBuffer(make([]byte, 0, envelope))
	_, err := body.ReadFrom(http.MaxBytesReader(w, r.Body, limit))
	if err == nil {
		return body.Bytes(), nil
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, payloadTooLarge(h.MaxPayload)
	}
	return nil, incompleteBody(err)
}

func incompleteBody(err error) error {
	return fault.Malformed("incomplete_body", "", "The body ended or stalled before it was complete.", err)
}

func checkMediaType(r *http.Request) error {
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return fault.UnsupportedMedia("unsupported_content_encoding", "Expected a body without Content-Encoding.")
	}
	header := r.Header.Get("Content-Type")
	if header == "" {
		return nil
	}
	media, _, err := mime.ParseMediaType(header)
	if err != nil || media != "application/json" && !strings.HasSuffix(media, "+json") {
		return fault.UnsupportedMedia("unsupported_media_type", "Expected Content-Type: application/json.")
	}
	return nil
}

func (h *Handlers) getEvent(ctx context.Context, in *idPath) (*struct{ Body eventView }, error) {
	t := httpapi.Tenant(ctx)
	e, err := h.Events.Event(ctx, t, in.ID)
	if err != nil {
		return nil, err
	}
	return &struct{ Body eventView }{viewEvent(e)}, nil
}

type payloadOutput struct {
	ContentType string `header:"Content-Type"`
	Body        []byte
}

func (h *Handlers) getPayload(ctx context.Context, in *idPath) (*payloadOutput, error) {
	t := httpapi.Tenant(ctx)
	e, err := h.Events.Event(ctx, t, in.ID)
	if err != nil {
		return nil, err
	}
	if len(e.Payload) == 0 {
		return nil, fault.NotFound("payload_scrubbed", "The tenant does not keep payloads for so long; the event is still there.")
	}
	return &payloadOutput{"application/json", e.Payload}, nil
}

type listEventsInput struct {
	httpapi.Page
	EventType     string    `query:"event_type" maxLength:"200" pattern:"^[A-Za-z0-9_.*-]*$" patternDescription:"an event type, or a prefix such as order.*" doc:"An event type, or a prefix such as order.*"`
	CreatedAfter  time.Time `query:"created_after" doc:"RFC 3339, inclusive."`
	CreatedBefore time.Time `query:"created_before" doc:"RFC 3339, exclusive."`
}

func (h *Handlers) listEvents(ctx context.Context, in *listEventsInput) (*struct{ Body httpapi.List[eventSummary] }, error) {
	t := httpapi.Tenant(ctx)
	cursor, err := in.After()
	if err != nil {
		return nil, err
	}
	events, err := h.Events.List(ctx, t, event.Query{
		Type: in.EventType, After: in.CreatedAfter, Before: in.CreatedBefore, Cursor: cursor, Limit: in.Limit,
	})
	if err != nil {
		return nil, err
	}
	return listOf(in.Page, events, summarizeEvent, func(v eventSummary) uuid.UUID { return v.ID }), nil
}

// listOf turns domain objects into a page of views.
func listOf[D, V any](page httpapi.Page, items []D, view func(D) V, id func(V) uuid.UUID) *struct{ Body httpapi.List[V] } {
	views := make([]V, len(items))
	for i, item := range items {
		views[i] = view(item)
	}
	return &struct{ Body httpapi.List[V] }{httpapi.NewList(page, views, id)}
}
