// Package httpapi is ingest's REST surface: it turns requests into calls of the domain and faults into problems.
//
// It owns the JSON shapes of the API and nothing that lasts.
package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/beaconpost/beaconpost/pkg/backoff"
	"github.com/beaconpost/beaconpost/pkg/httpapi"
	"github.com/beaconpost/beaconpost/pkg/tenant"
	"github.com/beaconpost/beaconpost/services/ingest/internal/account"
	"github.com/beaconpost/beaconpost/services/ingest/internal/endpoint"
	"github.com/beaconpost/beaconpost/services/ingest/internal/event"
)

// Acceptor takes events in.
type Acceptor interface {
	Accept(ctx context.Context, s event.Submission) (event.Receipt, error)
}

// EventReader reads events of a tenant.
type EventReader interface {
	Event(ctx context.Context, t tenant.ID, id uuid.UUID) (event.Event, error)
	Candidates(ctx context.Context, t tenant.ID, id uuid.UUID, cursor *uuid.UUID, limit int) (event.Event, []event.Candidate, error)
	List(ctx context.Context, t tenant.ID, query event.Query) ([]event.Summary, error)
}

// EndpointStore keeps endpoints of a tenant. Lists hold one item more than limit when there are more.
type EndpointStore interface {
	Create(ctx context.Context, t tenant.ID, e *endpoint.Endpoint, secret endpoint.Secret) error
	Endpoint(ctx context.Context, t tenant.ID, id uuid.UUID) (endpoint.Endpoint, error)
	List(ctx context.Context, t tenant.ID, project, cursor *uuid.UUID, limit int) ([]endpoint.Endpoint, error)
	Update(ctx context.Context, t tenant.ID, id uuid.UUID, change func(*endpoint.Endpoint) error) (endpoint.Endpoint, error)
	Delete(ctx context.Context, t tenant.ID, id uuid.UUID) (cancelled int64, err error)
	PublicKeys(ctx context.Context, id uuid.UUID) ([]endpoint.PublicKey, error)
	Stats(ctx context.Context, t tenant.ID, id uuid.UUID, from, until time.Time) ([]endpoint.Hour, error)
	Recover(ctx context.Context, t tenant.ID, id uuid.UUID, since, until time.Time) (found int, e endpoint.Endpoint, err error)
	Secrets(ctx context.Context, t tenant.ID, id uuid.UUID) ([]endpoint.Secret, error)
	Rotate(ctx context.Context, t tenant.ID, id uuid.UUID, secret endpoint.Secret, overlap time.Duration) error
}

// AccountStore keeps tenants, projects and API keys.
type AccountStore interface {
	CreateTenant(ctx context.Context, t *account.Tenant, first *account.APIKey, hash []byte) error
	Tenant(ctx context.Context, id tenant.ID) (account.Tenant, error)
	Tenants(ctx context.Context, cursor *uuid.UUID, limit int) ([]account.Tenant, error)
	CreateProject(ctx context.Context, t tenant.ID, p *account.Project) error
	Projects(ctx context.Context, t tenant.ID, cursor *uuid.UUID, limit int) ([]account.Project, error)
	CreateKey(ctx context.Context, t tenant.ID, k *account.APIKey, hash []byte) error
	Keys(ctx context.Context, t tenant.ID, cursor *uuid.UUID, limit int) ([]account.APIKey, error)
	RevokeKey(ctx context.Context, t tenant.ID, id uuid.UUID) (revoked bool, err error)
	RetryPolicy(ctx context.Context, t tenant.ID, project *uuid.UUID) (backoff.Policy, error)
	SetRetryPolicy(ctx context.Context, t tenant.ID, project *uuid.UUID, p backoff.Policy) error
	PayloadRetention(ctx context.Context, t tenant.ID) (after time.Duration, set bool, err error)
	SetPayloadRetention(ctx context.Context, t tenant.ID, after *time.Duration) error
	Usage(ctx context.Context, t tenant.ID, p account.Period) (account.Counted, []account.UsageBucket, error)
	TopUsage(ctx context.Context, p account.Period, sort account.UsageSort, limit int) (account.Counted, []account.TenantUsage, error)
}

// Handlers holds what the routes work with.
type Handlers struct {
	Acceptor  Acceptor
	Events    EventReader
	Endpoints EndpointStore
	Accounts  AccountStore
	Tester    Tester
	Limits    endpoint.Limits

	MaxPayload int             // bytes
	ForgetKey  func(id string) // makes all processes forget a credential
}

// Register adds all routes.
func (h *Handlers) Register(api *httpapi.API) {
	h.registerEvents(api)
	h.registerRetention(api)
	h.registerEndpoints(api)
	h.registerSecrets(api)
	h.registerKeys(api)
	h.registerProjects(api)
	h.registerTenants(api)
	h.registerUsage(api)
	h.registerPolicies(api)
}

type idPath struct {
	ID uuid.UUID `path:"id" format:"uuid"`
}

const (
	post   = http.MethodPost
	get    = http.MethodGet
	put    = http.MethodPut
	patch  = http.MethodPatch
	remove = http.MethodDelete
)
