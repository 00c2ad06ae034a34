package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/beaconpost/beaconpost/pkg/auth"
	"github.com/beaconpost/beaconpost/pkg/httpapi"
	"github.com/beaconpost/beaconpost/pkg/tenant"
	"github.com/beaconpost/beaconpost/services/ingest/internal/account"
)

// NamedView shows a tenant or a project. It is exported so that the framework describes what embeds it.
type NamedView struct {
	ID        uuid.UUID `json:"id"`
	Name      string    `json:"name"`
	CreatedAt time.Time `json:"created_at"`
}

func (v NamedView) id() uuid.UUID { return v.ID }

type namedInput struct {
	Body struct {
		Name string `json:"name" maxLength:"200"`
	}
}

func viewTenant(t account.Tenant) NamedView { return NamedView{t.ID.UUID(), t.Name, t.CreatedAt.UTC()} }

func viewProject(p account.Project) NamedView { return NamedView{p.ID, p.Name, p.CreatedAt.UTC()} }

type createdTenantView struct {
	NamedView
	APIKey string `json:"api_key" doc:"A first API key with all of the tenant's scopes. It cannot be shown again."`
}

func (h *Handlers) registerTenants(api *httpapi.API) {
	httpapi.Register(api, httpapi.Route{
		Method: post, Path: "/v1/tenants", ID: "create-tenant", Summary: "Create a tenant", Tag: "tenants", Scope: auth.ScopeOperator, Status: http.StatusCreated,
		Doc: "Returns a first API key of the new tenant.",
	}, h.createTenant)
	httpapi.Register(api, httpapi.Route{Method: get, Path: "/v1/tenants", ID: "list-tenants", Summary: "List tenants, newest first", Tag: "tenants", Scope: auth.ScopeOperator}, h.listTenants)
	httpapi.Register(api, httpapi.Route{Method: get, Path: "/v1/tenants/{id}", ID: "get-tenant", Summary: "Read a tenant", Tag: "tenants", Scope: auth.ScopeOperator}, h.getTenant)
}

func (h *Handlers) createTenant(ctx context.Context, in *namedInput) (*struct{ Body createdTenantView }, error) {
	if err := account.CheckName(in.Body.Name); err != nil {
		return nil, err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return nil, fmt.Errorf("make tenant id: %w", err)
	}
	t := account.Tenant{ID: tenant.ID(id), Name: in.Body.Name}
	scopes := auth.Scopes(auth.AllTenantScopes()).Strings()
	first, key, hash, err := newKey("first key", scopes, nil)
	if err != nil {
		return nil, err
	}
	if err := h.Accounts.CreateTenant(ctx, &t, &first, hash); err != nil {
		return nil, err
	}
	return &struct{ Body createdTenantView }{createdTenantView{viewTenant(t), key}}, nil
}

func (h *Handlers) listTenants(ctx context.Context, in *httpapi.Page) (*struct{ Body httpapi.List[NamedView] }, error) {
	cursor, err := in.After()
	if err != nil {
		return nil, err
	}
	list, err := h.Accounts.Tenants(ctx, cursor, in.Limit)
	if err != nil {
		return nil, err
	}
	return listOf(*in, list, viewTenant, NamedView.id), nil
}

func (h *Handlers) getTenant(ctx context.Context, in *idPath) (*struct{ Body NamedView }, error) {
	t, err := h.Accounts.Tenant(ctx, tenant.ID(in.ID))
	if err != nil {
		return nil, err
	}
	return &struct{ Body NamedView }{viewTenant(t)}, nil
}

func (h *Handlers) registerProjects(api *httpapi.API) {
	httpapi.Register(api, httpapi.Route{Method: post, Path: "/v1/projects", ID: "create-project", Summary: "Create a project", Tag: "projects", Scope: auth.ScopeProjectsWrite, Status: http.StatusCreated}, h.createProject)
	httpapi.Register(api, httpapi.Route{Method: get, Path: "/v1/projects", ID: "list-projects", Summary: "List projects, newest first", Tag: "projects", Scope: auth.ScopeProjectsRead}, h.listProjects)
}

func (h *Handlers) createProject(ctx context.Context, in *namedInput) (*struct{ Body NamedView }, error) {
	t := httpapi.Tenant(ctx)
	if err := account.CheckName(in.Body.Name); err != nil {
		return nil, err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return nil, fmt.Errorf("make project id: %w", err)
	}
	p := account.Project{ID: id, Name: in.Body.Name}
	if err := h.Accounts.CreateProject(ctx, t, &p); err != nil {
		return nil, err
	}
	return &struct{ Body NamedView }{viewProject(p)}, nil
}

func (h *Handlers) listProjects(ctx context.Context, in *httpapi.Page) (*struct{ Body httpapi.List[NamedView] }, error) {
	t := httpapi.Tenant(ctx)
	cursor, err := in.After()
	if err != nil {
		return nil, err
	}
	list, err := h.Accounts.Projects(ctx, t, cursor, in.Limit)
	if err != nil {
		return nil, err
	}
	return listOf(*in, list, viewProject, NamedView.id), nil
}
