package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/beaconpost/beaconpost/pkg/auth"
	"github.com/beaconpost/beaconpost/pkg/fault"
	"github.com/beaconpost/beaconpost/pkg/httpapi"
	"github.com/beaconpost/beaconpost/services/ingest/internal/account"
)

// KeyView is an API key without the key. It is exported so that the framework describes what embeds it.
type KeyView struct {
	ID        uuid.UUID  `json:"id"`
	Name      string     `json:"name"`
	Prefix    string     `json:"prefix" doc:"The key's first characters."`
	Scopes    []string   `json:"scopes" nullable:"false"`
	CreatedAt time.Time  `json:"created_at"`
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
	RevokedAt *time.Time `json:"revoked_at,omitempty"`
}

type createdKeyView struct {
	KeyView
	Key string `json:"key" doc:"The API key. It is not stored and cannot be shown again."`
}

func viewKey(k account.APIKey) KeyView {
	return KeyView{k.ID, k.Name, k.Prefix, k.Scopes, k.CreatedAt.UTC(), k.ExpiresAt, k.RevokedAt}
}

type createKeyInput struct {
	Body struct {
		Name      string     `json:"name" maxLength:"200"`
		Scopes    []string   `json:"scopes,omitempty" maxItems:"50" doc:"Absent: all scopes that the caller has."`
		ExpiresAt *time.Time `json:"expires_at,omitempty" doc:"RFC 3339; absent: never."`
	}
}

func (h *Handlers) registerKeys(api *httpapi.API) {
	httpapi.Register(api, httpapi.Route{
		Method: post, Path: "/v1/api-keys", ID: "create-api-key", Summary: "Create an API key", Tag: "api keys", Scope: auth.ScopeAPIKeysWrite, Status: http.StatusCreated,
		Doc: "A key can have no scope that its maker lacks.",
	}, h.createKey)
	httpapi.Register(api, httpapi.Route{Method: get, Path: "/v1/api-keys", ID: "list-api-keys", Summary: "List API keys, newest first", Tag: "api keys", Scope: auth.ScopeAPIKeysRead}, h.listKeys)
	httpapi.Register(api, httpapi.Route{
		Method: remove, Path: "/v1/api-keys/{id}", ID: "revoke-api-key", Summary: "Revoke an API key", Tag: "api keys", Scope: auth.ScopeAPIKeysWrite, Status: http.StatusNoContent,
		Doc: "The process that answers refuses the key at once, others after at most 5 seconds.",
	}, h.revokeKey)
}

func (h *Handlers) createKey(ctx context.Context, in *createKeyInput) (*struct{ Body createdKeyView }, error) {
	principal := httpapi.Principal(ctx)
	if in.Body.ExpiresAt != nil && !in.Body.ExpiresAt.After(time.Now()) {
		return nil, fault.Invalid("invalid_expiry", "expires_at", "Expected a time in the future.")
	}
	scopes, err := grantable(principal, in.Body.Scopes)
	if err != nil {
		return nil, err
	}
	k, key, hash, err := newKey(in.Body.Name, scopes, in.Body.ExpiresAt)
	if err != nil {
		return nil, err
	}
	if err := h.Accounts.CreateKey(ctx, principal.Tenant, &k, hash); err != nil {
		return nil, err
	}
	return &struct{ Body createdKeyView }{createdKeyView{viewKey(k), key}}, nil
}

// grantable checks that every scope exists, is a tenant's and is the caller's to give.
func grantable(p auth.Principal, asked []string) ([]string, error) {
	var scopes []string
	for _, s := range auth.AllTenantScopes() {
		if len(asked) == 0 && p.Has(s) {
			scopes = append(scopes, string(s))
		}
	}
	for i, name := range asked {
		field := fmt.Sprintf("scopes.%d", i)
		if !slices.Contains(auth.AllTenantScopes(), auth.Scope(name)) {
			return nil, fault.Invalid("unknown_scope", field, fmt.Sprintf("There is no scope %q.", name))
		}
		if !p.Has(auth.Scope(name)) {
			err := fault.Forbidden("insufficient_scope", fmt.Sprintf("The credential lacks %q and cannot pass it on.", name))
			err.Field = field
			return nil, err
		}
		if !slices.Contains(scopes, name) {
			scopes = append(scopes, name)
		}
	}
	return scopes, nil
}

// newKey makes a key: its record, the key itself, and the hash that is stored.
func newKey(name string, scopes []string, expires *time.Time) (k account.APIKey, key string, hash []byte, err error) {
	if err := account.CheckName(name); err != nil {
		return k, "", nil, err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return k, "", nil, fmt.Errorf("make key id: %w", err)
	}
	key, hash, prefix := auth.NewAPIKey()
	return account.APIKey{ID: id, Name: name, Prefix: prefix, Scopes: scopes, ExpiresAt: expires}, key, hash, nil
}

func (h *Handlers) listKeys(ctx context.Context, in *httpapi.Page) (*struct{ Body httpapi.List[KeyView] }, error) {
	t := httpapi.Tenant(ctx)
	cursor, err := in.After()
	if err != nil {
		return nil, err
	}
	keys, err := h.Accounts.Keys(ctx, t, cursor, in.Limit)
	if err != nil {
		return nil, err
	}
	return listOf(*in, keys, viewKey, func(v KeyView) uuid.UUID { return v.ID }), nil
}

func (h *Handlers) revokeKey(ctx context.Context, in *idPath) (*struct{}, error) {
	t := httpapi.Tenant(ctx)
	revoked, err := h.Accounts.RevokeKey(ctx, t, in.ID)
	if err != nil {
		return nil, err
	}
	if revoked { // repeating it must not keep all replicas busy
		h.ForgetKey(in.ID.String())
	}
	return nil, nil //nolint:nilnil // 204: there is nothing to say
}
