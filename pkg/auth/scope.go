package auth

import (
	"fmt"
	"slices"

	"github.com/beaconpost/beaconpost/pkg/fault"
)

// Scope is a permission, written "noun:verb". "write" does not include "read".
type Scope string

// The scopes. All but ScopeOperator act inside the principal's tenant.
const (
	ScopeEventsRead      Scope = "events:read"
	ScopeEventsWrite     Scope = "events:write"
	ScopeEndpointsRead   Scope = "endpoints:read"
	ScopeEndpointsWrite  Scope = "endpoints:write"
	ScopeSecretsRead     Scope = "secrets:read"
	ScopeAPIKeysRead     Scope = "api_keys:read"
	ScopeAPIKeysWrite    Scope = "api_keys:write"
	ScopeProjectsRead    Scope = "projects:read"
	ScopeProjectsWrite   Scope = "projects:write"
	ScopeDeliveriesRead  Scope = "deliveries:read"
	ScopeDeliveriesWrite Scope = "deliveries:write"
	ScopeMonitorsRead    Scope = "monitors:read"
	ScopeMonitorsWrite   Scope = "monitors:write"
	ScopeUsageRead       Scope = "usage:read"
	ScopeOperator        Scope = "operator" // manages tenants; does not reach into one
)

// CodeUnknownScope says that a scope does not exist.
const CodeUnknownScope fault.Code = "unknown_scope"

// AllTenantScopes lists every scope but ScopeOperator.
func AllTenantScopes() []Scope {
	return []Scope{
		ScopeEventsRead, ScopeEventsWrite, ScopeEndpointsRead, ScopeEndpointsWrite, ScopeSecretsRead,
		ScopeAPIKeysRead, ScopeAPIKeysWrite, ScopeProjectsRead, ScopeProjectsWrite,
		ScopeDeliveriesRead, ScopeDeliveriesWrite, ScopeMonitorsRead, ScopeMonitorsWrite, ScopeUsageRead,
	}
}

// Valid reports whether the scope exists.
func (s Scope) Valid() bool {
	return s == ScopeOperator || slices.Contains(AllTenantScopes(), s)
}

// Scopes is what a credential may do.
type Scopes []Scope

// Has reports whether scope is among s.
func (s Scopes) Has(scope Scope) bool { return slices.Contains(s, scope) }

// Missing gives the first of wanted that is not among s, "" if none. A credential may create another one only if it
// misses none of that one's scopes.
func (s Scopes) Missing(wanted Scopes) Scope {
	for _, w := range wanted {
		if !s.Has(w) {
			return w
		}
	}
	return ""
}

// Strings gives s for storage. It is never nil.
func (s Scopes) Strings() []string {
	words := make([]string, len(s))
	for i, scope := range s {
		words[i] = string(scope)
	}
	return words
}

// ParseScopes reads scopes given by a caller in the field "scopes". An unknown one is a fault of kind Invalid; repeated
// ones count once.
func ParseScopes(words []string) (Scopes, error) {
	scopes := make(Scopes, 0, len(words))
	for i, w := range words {
		scope := Scope(w)
		if !scope.Valid() {
			return nil, fault.Invalid(CodeUnknownScope, fmt.Sprintf("scopes.%d", i), fmt.Sprintf("There is no scope %q.", w))
		}
		if !scopes.Has(scope) {
			scopes = append(scopes, scope)
		}
	}
	return scopes, nil
}

// KnownScopes gives the existing scopes among words, and drops the others: identity providers add scopes of their own.
func KnownScopes(words []string) Scopes {
	scopes := make(Scopes, 0, len(words))
	for _, w := range words {
		if scope := Scope(w); scope.Valid() && !scopes.Has(scope) {
			scopes = append(scopes, scope)
		}
	}
	return scopes
}
