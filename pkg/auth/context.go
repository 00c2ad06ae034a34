package auth

import (
	"context"
	"fmt"

	"github.com/beaconpost/beaconpost/pkg/fault"
)

type principalKey struct{}

// WithPrincipal gives a context that carries p.
func WithPrincipal(ctx context.Context, p Principal) context.Context {
	return context.WithValue(ctx, principalKey{}, p)
}

// FromContext gives the principal that ctx carries, if any.
func FromContext(ctx context.Context) (Principal, bool) {
	p, ok := ctx.Value(principalKey{}).(Principal)
	return p, ok
}

// Require gives ctx's principal if it has scope. Its errors are the faults missing_credentials and insufficient_scope.
func Require(ctx context.Context, scope Scope) (Principal, error) {
	p, ok := FromContext(ctx)
	if !ok {
		return Principal{}, missing()
	}
	if !p.Has(scope) {
		return Principal{}, fault.Forbidden(CodeInsufficientScope, fmt.Sprintf("This needs the scope %q, which the credential does not have.", scope))
	}
	return p, nil
}

// RequireTenant is Require for what is done inside a tenant: a principal without one gets the fault tenant_required.
func RequireTenant(ctx context.Context, scope Scope) (Principal, error) {
	p, err := Require(ctx, scope)
	if err != nil {
		return Principal{}, err
	}
	if p.Tenant.IsZero() {
		return Principal{}, fault.Forbidden(CodeTenantRequired, "This is done inside a tenant, and the credential belongs to none.")
	}
	return p, nil
}
