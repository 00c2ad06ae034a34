package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/beaconpost/beaconpost/pkg/auth"
	"github.com/beaconpost/beaconpost/pkg/httpapi"
	"github.com/beaconpost/beaconpost/pkg/uuid7"
	"github.com/beaconpost/beaconpost/services/monitor/internal/alert"
)

// PolicySettings are what a caller says of a policy. It is exported so that the framework describes what embeds it.
type PolicySettings struct {
	Name      string            `json:"name" doc:"1 to 200 characters." example:"Shop is down"`
	Match     *MatchSettings    `json:"match,omitempty" doc:"Which monitors it is for; absent or empty: all."`
	Trigger   *TriggerSettings  `json:"trigger,omitempty" doc:"When an incident is worth telling; absent: at once. With both fields, whichever comes first."`
	Steps     []StepSettings    `json:"steps" nullable:"false" doc:"1 to 10, one after the other, as long as nobody acknowledges."`
	Reminder  httpapi.Duration  `json:"reminder,omitempty" doc:"Since a channel was told last, as long as the incident is open and not acknowledged; at least 1m. Absent: never."`
	GroupFor  *httpapi.Duration `json:"group_for,omitempty" doc:"Messages wait so long for others of the same kind, which go together; 0s to 10m, 30s unless given."`
	OnResolve *bool             `json:"on_resolve,omitempty" doc:"Who was told is told the end too; true unless given."`
}

// MatchSettings choose monitors.
type MatchSettings struct {
	Monitors []uuid.UUID `json:"monitors,omitempty" doc:"At most 1000."`
	Tags     []string    `json:"tags,omitempty" doc:"Monitors with one of these too, at most 50."`
}

// TriggerSettings say when an incident is worth telling.
type TriggerSettings struct {
	Failures int              `json:"failures,omitempty" doc:"Checks that failed in a row beyond those that opened the incident."`
	After    httpapi.Duration `json:"after,omitempty" doc:"For so long the incident is open."`
}

// StepSettings say who is told, and when.
type StepSettings struct {
	Delay    httpapi.Duration `json:"delay,omitempty" doc:"Since the trigger; longer than that of the step before."`
	Channels []uuid.UUID      `json:"channels" nullable:"false" doc:"1 to 20."`
}

type policyView struct {
	ID uuid.UUID `json:"id" doc:"Of the policy."`
	PolicySettings
	CreatedAt time.Time `json:"created_at" doc:"When it was made."`
}

func viewPolicy(p alert.Policy) policyView {
	group := httpapi.Duration(p.GroupFor)
	s := PolicySettings{Name: p.Name, Reminder: httpapi.Duration(p.Reminder), GroupFor: &group, OnResolve: &p.OnResolve}
	if len(p.Match.Monitors)+len(p.Match.Tags) > 0 {
		s.Match = &MatchSettings{p.Match.Monitors, p.Match.Tags}
	}
	if p.Trigger != (alert.Trigger{}) {
		s.Trigger = &TriggerSettings{p.Trigger.Failures, httpapi.Duration(p.Trigger.After)}
	}
	s.Steps = views(p.Steps, func(step alert.Step) StepSettings { return StepSettings{httpapi.Duration(step.Delay), step.Channels} })
	return policyView{p.ID, s, uuid7.Time(p.ID)}
}

// policy reads settings, or says what is wrong with them.
func (s *PolicySettings) policy(id uuid.UUID) (alert.Policy, error) {
	p := alert.Defaults()
	p.ID, p.Name, p.Reminder = id, s.Name, time.Duration(s.Reminder)
	if s.Match != nil {
		p.Match = alert.Match{Monitors: s.Match.Monitors, Tags: s.Match.Tags}
	}
	if s.Trigger != nil {
		p.Trigger = alert.Trigger{Failures: s.Trigger.Failures, After: time.Duration(s.Trigger.After)}
	}
	p.Steps = views(s.Steps, func(step StepSettings) alert.Step {
		return alert.Step{Delay: time.Duration(step.Delay), Channels: step.Channels}
	})
	if s.GroupFor != nil {
		p.GroupFor = time.Duration(*s.GroupFor)
	}
	if s.OnResolve != nil {
		p.OnResolve = *s.OnResolve
	}
	return p, p.Check()
}

type (
	policyOutput      struct{ Body policyView }
	createPolicyInput struct{ Body PolicySettings }
	putPolicyInput    struct {
		IDPath
		Body PolicySettings
	}
	listPoliciesOutput struct{ Body httpapi.List[policyView] }
)

func (h *Handlers) registerPolicies(api *httpapi.API) {
	route := routes("alerts")
	httpapi.Register(api, route(post, "/v1/alert-policies", "create-alert-policy", "Create an alert policy", auth.ScopeMonitorsWrite, http.StatusCreated,
		"Says who is told of incidents that open from now on, when and how often."), h.createPolicy)
	httpapi.Register(api, route(get, "/v1/alert-policies", "list-alert-policies", "List alert policies, newest first", auth.ScopeMonitorsRead, 0, ""), h.listPolicies)
	httpapi.Register(api, route(get, "/v1/alert-policies/{id}", "get-alert-policy", "Read an alert policy", auth.ScopeMonitorsRead, 0, ""), h.getPolicy)
	httpapi.Register(api, route(put, "/v1/alert-policies/{id}", "replace-alert-policy", "Replace an alert policy", auth.ScopeMonitorsWrite, 0,
		"Open incidents go on by it. Nobody is told twice."), h.replacePolicy)
	httpapi.Register(api, route(remove, "/v1/alert-policies/{id}", "delete-alert-policy", "Delete an alert policy", auth.ScopeMonitorsWrite, http.StatusNoContent,
		"Who was told of an incident that is open is still told its end."), h.deletePolicy)
}

func (h *Handlers) createPolicy(ctx context.Context, in *createPolicyInput) (*policyOutput, error) {
	p, err := created(ctx, in.Body.policy, h.Store.CreatePolicy)
	if err != nil {
		return nil, err
	}
	return &policyOutput{viewPolicy(p)}, nil
}

func (h *Handlers) replacePolicy(ctx context.Context, in *putPolicyInput) (*policyOutput, error) {
	p, err := stored(ctx, in.ID, in.Body.policy, h.Store.ReplacePolicy)
	if err != nil {
		return nil, err
	}
	return &policyOutput{viewPolicy(p)}, nil
}

func (h *Handlers) listPolicies(ctx context.Context, in *pageInput) (*listPoliciesOutput, error) {
	list, err := listed(ctx, in.Page, h.Store.Policies, viewPolicy, func(v policyView) uuid.UUID { return v.ID })
	if err != nil {
		return nil, err
	}
	return &listPoliciesOutput{list}, nil
}

func (h *Handlers) getPolicy(ctx context.Context, in *IDPath) (*policyOutput, error) {
	p, err := h.Store.Policy(ctx, httpapi.Tenant(ctx), in.ID)
	if err != nil {
		return nil, err
	}
	return &policyOutput{viewPolicy(p)}, nil
}

func (h *Handlers) deletePolicy(ctx context.Context, in *IDPath) (*struct{}, error) {
	return nil, h.Store.DeletePolicy(ctx, httpapi.Tenant(ctx), in.ID)
}
