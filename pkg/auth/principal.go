// Package auth turns a credential into a principal: who is calling, for which tenant, with which scopes.
//
// It owns the credentials' forms (API keys, JWTs), their verification, scopes, and the principal.
// It does not own storing API keys (services/ingest), HTTP answers (pkg/httpapi) or the isolation of tenants, which Postgres
// enforces. Tenant and scopes come from the credential and from nothing else.
//
// Verifiers return faults: missing_credentials, invalid_credentials, expired_credentials (401), insufficient_scope,
// tenant_required (403), and unavailable (503) when a credential cannot be checked at the moment.
package auth

import (
	"context"
	"fmt"
	"time"

	"github.com/beaconpost/beaconpost/pkg/fault"
	"github.com/beaconpost/beaconpost/pkg/tenant"
)

// Kind says what sort of credential was presented.
type Kind string

// The kinds of credentials.
const (
	KindAPIKey Kind = "api_key"
	KindJWT    Kind = "jwt"
)

// Principal is a verified caller. It is a value; Scopes must not be changed.
type Principal struct {
	Tenant       tenant.ID // zero for an operator who acts for no tenant
	Scopes       Scopes
	Subject      string // who or what the credential was given to; may be empty
	CredentialID string // id of the API key, or the token's jti, which may be empty
	Kind         Kind
	ExpiresAt    time.Time // zero if the credential does not expire
}

// Has reports whether the principal has scope. ScopeOperator gives no other scope.
func (p Principal) Has(scope Scope) bool { return p.Scopes.Has(scope) }

// Require is the fault insufficient_scope if the principal does not have scope.
func (p Principal) Require(scope Scope) error {
	if !p.Has(scope) {
		return fault.Forbidden(CodeInsufficientScope, fmt.Sprintf("This needs the scope %q, which the credential does not have.", scope))
	}
	return nil
}

// RequireTenant is Require for what is done inside a tenant: a principal without one gets the fault tenant_required.
func (p Principal) RequireTenant(scope Scope) error {
	if err := p.Require(scope); err != nil {
		return err
	}
	if p.Tenant.IsZero() {
		return fault.Forbidden(CodeTenantRequired, "This is done inside a tenant, and the credential belongs to none.")
	}
	return nil
}

// Verifier checks a credential's text. Its errors are faults. It is safe for concurrent use.
type Verifier interface {
	Verify(ctx context.Context, token string) (Principal, error)
}
