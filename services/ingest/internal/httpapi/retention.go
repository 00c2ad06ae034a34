package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/beaconpost/beaconpost/pkg/auth"
	"github.com/beaconpost/beaconpost/pkg/fault"
	"github.com/beaconpost/beaconpost/pkg/httpapi"
)

const maxPayloadRetention = 366 * 24 * time.Hour

type retentionView struct {
	After *httpapi.Duration `json:"after" doc:"Since an event was accepted; null: payloads are kept for as long as their events."`
}

type putRetentionInput struct {
	Body struct {
		After httpapi.Duration `json:"after" doc:"Since an event was accepted, 0s to 8784h."`
	}
}

type retentionOutput struct{ Body retentionView }

func (h *Handlers) registerRetention(api *httpapi.API) {
	const doc = "After that time an event's payload is emptied if none of its deliveries is pending; if one is, within a day of its end. The event, its deliveries and attempts stay; it cannot be delivered again."
	route := func(method, id, summary string, scope auth.Scope, status int) httpapi.Route {
		return httpapi.Route{Method: method, Path: "/v1/payload-retention", ID: id, Summary: summary, Tag: "events", Scope: scope, Status: status, Doc: doc}
	}
	httpapi.Register(api, route(get, "get-payload-retention", "Read for how long payloads are kept", auth.ScopeEndpointsRead, 0), h.getRetention)
	httpapi.Register(api, route(put, "put-payload-retention", "Set for how long payloads are kept", auth.ScopeEndpointsWrite, 0), h.putRetention)
	httpapi.Register(api, route(remove, "delete-payload-retention", "Keep payloads for as long as their events", auth.ScopeEndpointsWrite, http.StatusNoContent), func(ctx context.Context, _ *struct{}) (*struct{}, error) {
		return nil, h.Accounts.SetPayloadRetention(ctx, httpapi.Tenant(ctx), nil)
	})
}

func (h *Handlers) getRetention(ctx context.Context, _ *struct{}) (*retentionOutput, error) {
	after, set, err := h.Accounts.PayloadRetention(ctx, httpapi.Tenant(ctx))
	if err != nil {
		return nil, err
	}
	out := &retentionOutput{}
	if set {
		d := httpapi.Duration(after)
		out.Body.After = &d
	}
	return out, nil
}

func (h *Handlers) putRetention(ctx context.Context, in *putRetentionInput) (*retentionOutput, error) {
	after := time.Duration(in.Body.After)
	if after < 0 || after > maxPayloadRetention {
		return nil, fault.Invalid("invalid_payload_retention", "after", "Expected 0s to "+maxPayloadRetention.String()+".")
	}
	if err := h.Accounts.SetPayloadRetention(ctx, httpapi.Tenant(ctx), &after); err != nil {
		return nil, err
	}
	return &retentionOutput{retentionView{&in.Body.After}}, nil
}
