package httpapi

import (
	"context"
	"errors"
	"net/http"

	"github.com/google/uuid"

	"github.com/beaconpost/beaconpost/pkg/auth"
	"github.com/beaconpost/beaconpost/pkg/backoff"
	"github.com/beaconpost/beaconpost/pkg/fault"
	"github.com/beaconpost/beaconpost/pkg/httpapi"
)

type putPolicyInput struct{ Body retryView }

type putProjectPolicyInput struct {
	ID   uuid.UUID `path:"id" format:"uuid"`
	Body retryView
}

type policyOutput struct{ Body retryView }

func (h *Handlers) registerPolicies(api *httpapi.API) {
	const doc = "What an endpoint's retry leaves open its project's policy says, then its tenant's, then the installation's. A change counts from the next result of each delivery on; retries that are planned stay."
	route := func(method, path, id, summary string, scope auth.Scope, status int) httpapi.Route {
		return httpapi.Route{Method: method, Path: path, ID: id, Summary: summary, Tag: "retry policies", Scope: scope, Status: status, Doc: doc}
	}
	httpapi.Register(api, route(get, "/v1/retry-policy", "get-retry-policy", "Read the tenant's retry policy", auth.ScopeEndpointsRead, 0), func(ctx context.Context, _ *struct{}) (*policyOutput, error) {
		return h.getPolicy(ctx, nil)
	})
	httpapi.Register(api, route(put, "/v1/retry-policy", "put-retry-policy", "Replace the tenant's retry policy", auth.ScopeEndpointsWrite, 0), func(ctx context.Context, in *putPolicyInput) (*policyOutput, error) {
		return h.putPolicy(ctx, nil, &in.Body)
	})
	httpapi.Register(api, route(remove, "/v1/retry-policy", "delete-retry-policy", "Remove the tenant's retry policy", auth.ScopeEndpointsWrite, http.StatusNoContent), func(ctx context.Context, _ *struct{}) (*struct{}, error) {
		_, err := h.putPolicy(ctx, nil, nil)
		return nil, err
	})
	httpapi.Register(api, route(get, "/v1/projects/{id}/retry-policy", "get-project-retry-policy", "Read a project's retry policy", auth.ScopeEndpointsRead, 0), func(ctx context.Context, in *idPath) (*policyOutput, error) {
		return h.getPolicy(ctx, &in.ID)
	})
	httpapi.Register(api, route(put, "/v1/projects/{id}/retry-policy", "put-project-retry-policy", "Replace a project's retry policy", auth.ScopeEndpointsWrite, 0), func(ctx context.Context, in *putProjectPolicyInput) (*policyOutput, error) {
		return h.putPolicy(ctx, &in.ID, &in.Body)
	})
	httpapi.Register(api, route(remove, "/v1/projects/{id}/retry-policy", "delete-project-retry-policy", "Remove a project's retry policy", auth.ScopeEndpointsWrite, http.StatusNoContent), func(ctx context.Context, in *idPath) (*struct{}, error) {
		_, err := h.putPolicy(ctx, &in.ID, nil)
		return nil, err
	})
}

func (h *Handlers) getPolicy(ctx context.Context, project *uuid.UUID) (*policyOutput, error) {
	p, err := h.Accounts.RetryPolicy(ctx, httpapi.Tenant(ctx), project)
	if err != nil {
		return nil, err
	}
	out := &policyOutput{}
	if v := viewRetry(p); v != nil {
		out.Body = *v
	}
	return out, nil
}

// putPolicy replaces a policy; nil removes it.
func (h *Handlers) putPolicy(ctx context.Context, project *uuid.UUID, r *retryView) (*policyOutput, error) {
	p, err := r.policy("invalid_retry_policy", "")
	if err != nil {
		return nil, err
	}
	if r != nil && p.IsZero() {
		return nil, fault.Invalid("invalid_retry_policy", "", "Expected at least one of preset, schedule, base, cap, max_attempts and max_age. DELETE removes a policy.")
	}
	if err := p.Validate(); err != nil {
		return nil, policyFault(err)
	}
	if err := h.Accounts.SetRetryPolicy(ctx, httpapi.Tenant(ctx), project, p); err != nil {
		return nil, err
	}
	out := &policyOutput{}
	if v := viewRetry(p); v != nil {
		out.Body = *v
	}
	return out, nil
}

// policyFault names the field that a policy's rule is about.
func policyFault(err error) error {
	field := ""
	if broken, ok := errors.AsType[*backoff.FieldError](err); ok {
		field = broken.Field
	}
	return fault.Invalid("invalid_retry_policy", field, "The policy breaks a rule: "+err.Error()+".")
}
