package httpapi

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/beaconpost/beaconpost/pkg/auth"
	"github.com/beaconpost/beaconpost/pkg/httpapi"
	"github.com/beaconpost/beaconpost/services/ingest/internal/event"
)

type explainInput struct {
	httpapi.Page
	ID uuid.UUID `path:"id" format:"uuid"`
}

type sentView struct {
	ID            uuid.UUID  `json:"id"`
	Status        string     `json:"status" enum:"pending,delivered,exhausted,cancelled"`
	Attempts      int        `json:"attempts"`
	NextAttemptAt *time.Time `json:"next_attempt_at" doc:"null: none is planned."`
	CancelReason  string     `json:"cancel_reason,omitempty"`
}

type explanationView struct {
	EndpointID uuid.UUID     `json:"endpoint_id"`
	URL        string        `json:"url"`
	Status     string        `json:"status" enum:"enabled,disabled,deleted"`
	Breaker    string        `json:"breaker" enum:"closed,open,draining"`
	Matched    bool          `json:"matched" doc:"The event goes to it."`
	Why        event.Why     `json:"why" enum:"named,event_type_wanted,wanted_then,operational,another_endpoint_named,endpoint_created_later,other_project,event_type_not_wanted,not_wanted_then" doc:"wanted_then and not_wanted_then: its filter or project has changed since."`
	Delivery   *sentView     `json:"delivery,omitempty"`
	Waiting    event.Waiting `json:"waiting_for,omitempty" enum:"endpoint_disabled,breaker_open,draining,attempt_due,attempt_in_progress,retry_planned" doc:"What the pending delivery waits for."`
	Until      *time.Time    `json:"waiting_until,omitempty" doc:"When that may be over: of breaker_open the next probe, which may be of another delivery."`
}

func (h *Handlers) explainEvent(ctx context.Context, in *explainInput) (*struct {
	Body httpapi.List[explanationView]
}, error) {
	// It tells of endpoints and deliveries.
	for _, scope := range []auth.Scope{auth.ScopeEndpointsRead, auth.ScopeDeliveriesRead} {
		if err := httpapi.Principal(ctx).Require(scope); err != nil {
			return nil, err
		}
	}
	cursor, err := in.After()
	if err != nil {
		return nil, err
	}
	e, list, err := h.Events.Candidates(ctx, httpapi.Tenant(ctx), in.ID, cursor, in.Limit)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	view := func(c event.Candidate) explanationView { return explain(e, c, now) }
	return listOf(in.Page, list, view, func(v explanationView) uuid.UUID { return v.EndpointID }), nil
}

func explain(e event.Event, c event.Candidate, now time.Time) explanationView {
	x := e.Explain(c, now)
	v := explanationView{
		EndpointID: c.ID, URL: c.URL, Status: string(c.Status), Breaker: c.Health.Breaker, Matched: x.Matched, Why: x.Why, Waiting: x.Waiting, Until: optionalTime(x.Until),
	}
	if c.Deleted {
		v.Status = "deleted"
	}
	if d := c.Sent; d != nil {
		v.Delivery = &sentView{d.ID, d.Status, d.Attempts, optionalTime(d.NextAttemptAt), d.CancelReason}
	}
	return v
}
