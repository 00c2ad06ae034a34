// Package httpapi is monitor's REST surface: monitors and what was found of them, incidents, maintenance, alerts, and the URLs that heartbeats call.
//
// It owns the JSON shapes and which input is refused. What a spec may hold package check says, how times are summed up package ledger.
package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/beaconpost/beaconpost/pkg/auth"
	"github.com/beaconpost/beaconpost/pkg/fault"
	"github.com/beaconpost/beaconpost/pkg/httpapi"
	"github.com/beaconpost/beaconpost/pkg/tenant"
	"github.com/beaconpost/beaconpost/services/monitor/internal/alert"
	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
	"github.com/beaconpost/beaconpost/services/monitor/internal/ledger"
	"github.com/beaconpost/beaconpost/services/monitor/internal/monitor"
)

// Monitors keeps the monitors of a tenant. Lists hold one item more than the limit when there are more; so do those of the other stores.
type Monitors interface {
	Create(ctx context.Context, m *monitor.Monitor) error
	Monitor(ctx context.Context, t tenant.ID, id uuid.UUID) (ledger.Watched, error)
	List(ctx context.Context, t tenant.ID, f ledger.Filter) ([]ledger.Watched, error)
	Update(ctx context.Context, t tenant.ID, id uuid.UUID, change func(*monitor.Monitor) error) (ledger.Watched, error)
	Delete(ctx context.Context, t tenant.ID, id uuid.UUID) error
	// CheckProject says whether a project of t exists; nil does.
	CheckProject(ctx context.Context, t tenant.ID, id *uuid.UUID) error
}

// Results reads what was found of a monitor, be it deleted or not.
type Results interface {
	Checks(ctx context.Context, t tenant.ID, id uuid.UUID, f ledger.CheckFilter) ([]ledger.Check, error)
	Check(ctx context.Context, t tenant.ID, id, checkID uuid.UUID) (ledger.Check, error)
	Intervals(ctx context.Context, t tenant.ID, id uuid.UUID, f ledger.IntervalFilter) ([]ledger.Interval, error)
	// Times sums up ranges, none of which ends after now, and gives the monitor's target; 0: none.
	Times(ctx context.Context, t tenant.ID, id uuid.UUID, ranges []ledger.Range) ([]ledger.Times, float64, error)
	// Rollups gives the rows of spans, in order of time.
	Rollups(ctx context.Context, t tenant.ID, id uuid.UUID, region string, spans []ledger.Span) ([]ledger.Rollup, error)
}

// Incidents keeps incidents.
type Incidents interface {
	Incidents(ctx context.Context, t tenant.ID, f ledger.IncidentFilter) ([]ledger.Incident, error)
	Incident(ctx context.Context, t tenant.ID, id uuid.UUID) (ledger.Incident, []ledger.Note, []ledger.Notification, error)
	Open(ctx context.Context, t tenant.ID, i *ledger.Incident) error
	// Acknowledge may be called again: who was first stays.
	Acknowledge(ctx context.Context, t tenant.ID, id uuid.UUID, by string) (ledger.Incident, error)
	Resolve(ctx context.Context, t tenant.ID, id uuid.UUID) (ledger.Incident, error)
	AddNote(ctx context.Context, t tenant.ID, id uuid.UUID, n ledger.Note) error
}

// Alerts keeps alert channels and policies.
type Alerts interface {
	CreateChannel(ctx context.Context, t tenant.ID, c alert.Channel) error
	ReplaceChannel(ctx context.Context, t tenant.ID, c alert.Channel) error
	Channels(ctx context.Context, t tenant.ID, cursor *uuid.UUID, limit int) ([]alert.Channel, error)
	Channel(ctx context.Context, t tenant.ID, id uuid.UUID) (alert.Channel, error)
	DeleteChannel(ctx context.Context, t tenant.ID, id uuid.UUID) error
	CreatePolicy(ctx context.Context, t tenant.ID, p alert.Policy) error
	ReplacePolicy(ctx context.Context, t tenant.ID, p alert.Policy) error
	Policies(ctx context.Context, t tenant.ID, cursor *uuid.UUID, limit int) ([]alert.Policy, error)
	Policy(ctx context.Context, t tenant.ID, id uuid.UUID) (alert.Policy, error)
	DeletePolicy(ctx context.Context, t tenant.ID, id uuid.UUID) error
}

// Store is all of them.
type Store interface {
	Monitors
	Results
	Samples
	Incidents
	Alerts
	Windows
}

// Runner makes a check at once. Its result is not stored and counts for nothing.
type Runner interface {
	CheckNow(ctx context.Context, t tenant.ID, m *monitor.Monitor) check.Result
}

// ChannelTester sends a test to a channel and waits until it is sent. Its error is a fault, safe for the caller.
type ChannelTester interface {
	TestChannel(ctx context.Context, t tenant.ID, c alert.Channel) error
}

// Handlers holds what the routes work with. Every field must be set but Kept.
type Handlers struct {
	Store  Store
	Runner Runner
	Tester ChannelTester
	Beats  Beats
	// CheckAssertion judges a CEL expression (package probe does). Its error is safe for the caller.
	CheckAssertion func(expr string) error
	Kept           ledger.Kept
}

// Register adds all routes.
func (h *Handlers) Register(api *httpapi.API) {
	h.registerMonitors(api)
	h.registerResults(api)
	h.registerScrape(api)
	h.registerIncidents(api)
	h.registerWindows(api)
	h.registerChannels(api)
	h.registerPolicies(api)
	h.registerHeartbeats(api)
}

const (
	post   = http.MethodPost
	get    = http.MethodGet
	put    = http.MethodPut
	patch  = http.MethodPatch
	remove = http.MethodDelete
)

// IDPath names what a request is about. It is exported so that the framework sees it where it is embedded; so is RangeQuery.
type IDPath struct {
	ID uuid.UUID `path:"id" format:"uuid"`
}

// routes makes the routes of one tag.
func routes(tag string) func(method, path, id, summary string, scope auth.Scope, status int, doc string) httpapi.Route {
	return func(method, path, id, summary string, scope auth.Scope, status int, doc string) httpapi.Route {
		return httpapi.Route{Method: method, Path: path, ID: id, Summary: summary, Tag: tag, Scope: scope, Status: status, Doc: doc}
	}
}

func views[T, V any](items []T, view func(T) V) []V {
	list := make([]V, len(items))
	for i, item := range items {
		list[i] = view(item)
	}
	return list
}

func optional(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func strip(d time.Duration) httpapi.Duration { return httpapi.Duration(d.Round(time.Microsecond)) }

// RangeQuery is the time that a request is about.
type RangeQuery struct {
	From time.Time `query:"from" doc:"RFC 3339, inclusive."`
	To   time.Time `query:"to" doc:"RFC 3339, exclusive; now unless given, and at most now."`
}

const longest = 5 * 366 * 24 * time.Hour

// times gives the range, which by default is of a length and ends now.
func (q RangeQuery) times(length time.Duration, now time.Time) (ledger.Range, error) {
	r := ledger.Range{From: q.From.UTC(), To: q.To.UTC()}
	if q.To.IsZero() || r.To.After(now) {
		r.To = now.UTC()
	}
	if q.From.IsZero() {
		r.From = r.To.Add(-length)
	}
	if !r.From.Before(r.To) {
		return r, fault.Invalid("invalid_range", "from", "Expected a time that has passed, before to.")
	}
	if r.To.Sub(r.From) > longest {
		return r, fault.Invalid("invalid_range", "from", "Expected a range of at most five years.")
	}
	return r, nil
}
