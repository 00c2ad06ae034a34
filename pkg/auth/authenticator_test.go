package auth_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/auth"
	"github.com/beaconpost/beaconpost/pkg/fault"
)

// echo accepts everything and names itself and the token.
type echo string

func (e echo) Verify(_ context.Context, token string) (auth.Principal, error) {
	return auth.Principal{Subject: string(e) + " " + token}, nil
}

func TestAuthenticate(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		headers []string
		subject string
		code    fault.Code
	}{
		{"API key", []string{"Bearer bp_x"}, "key bp_x", ""},
		{"JWT", []string{"Bearer eyJ"}, "jwt eyJ", ""},
		{"scheme in lower case", []string{"bearer eyJ"}, "jwt eyJ", ""},
		{"scheme in upper case", []string{"BEARER eyJ"}, "jwt eyJ", ""},
		{"more spaces", []string{"Bearer   eyJ "}, "jwt eyJ", ""},
		{"no header", nil, "", auth.CodeMissingCredentials},
		{"empty header", []string{""}, "", auth.CodeInvalidCredentials},
		{"no token", []string{"Bearer"}, "", auth.CodeInvalidCredentials},
		{"empty token", []string{"Bearer  "}, "", auth.CodeInvalidCredentials},
		{"token without a scheme", []string{"bp_x"}, "", auth.CodeInvalidCredentials},
		{"basic", []string{"Basic eyJ"}, "", auth.CodeInvalidCredentials},
		{"two headers", []string{"Bearer eyJ", "Bearer bp_x"}, "", auth.CodeInvalidCredentials},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequest(http.MethodGet, "/?access_token=bp_y", http.NoBody)
			if tt.headers != nil {
				r.Header["Authorization"] = tt.headers
			}
			p, err := auth.NewAuthenticator(echo("key"), echo("jwt")).Authenticate(r)
			if tt.code != "" {
				requireFault(t, err, fault.KindUnauthenticated, tt.code)
				return
			}
			require.NoError(t, err)
			require.Equal(t, tt.subject, p.Subject)
		})
	}
}

func TestAuthenticatorWithoutAVerifier(t *testing.T) {
	t.Parallel()
	for _, token := range []string{"bp_x", "eyJ"} {
		_, err := auth.NewAuthenticator(nil, nil).Verify(t.Context(), token)
		requireFault(t, err, fault.KindUnauthenticated, auth.CodeInvalidCredentials)
	}
}

func TestRequire(t *testing.T) {
	t.Parallel()
	inTenant := auth.Principal{Tenant: parseTenant(t), Scopes: auth.Scopes{auth.ScopeEventsRead}}
	operator := auth.Principal{Scopes: auth.Scopes{auth.ScopeOperator}}
	everything := auth.Principal{Scopes: auth.AllTenantScopes()}
	tests := []struct {
		name           string
		principal      auth.Principal
		scope          auth.Scope
		require        fault.Code
		requiresTenant fault.Code
	}{
		{"nobody", auth.Principal{}, auth.ScopeEventsRead, auth.CodeInsufficientScope, auth.CodeInsufficientScope},
		{"has it", inTenant, auth.ScopeEventsRead, "", ""},
		{"read is not write", inTenant, auth.ScopeEventsWrite, auth.CodeInsufficientScope, auth.CodeInsufficientScope},
		{"operator is no tenant scope", operator, auth.ScopeEventsRead, auth.CodeInsufficientScope, auth.CodeInsufficientScope},
		{"operator", operator, auth.ScopeOperator, "", auth.CodeTenantRequired},
		{"all tenant scopes are not operator", everything, auth.ScopeOperator, auth.CodeInsufficientScope, auth.CodeInsufficientScope},
		{"no tenant", everything, auth.ScopeEventsRead, "", auth.CodeTenantRequired},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := tt.principal.Require(tt.scope)
			require.Equal(t, tt.require, fault.CodeOf(err))
			require.Equal(t, err == nil, tt.principal.Has(tt.scope))
			require.Equal(t, tt.requiresTenant, fault.CodeOf(tt.principal.RequireTenant(tt.scope)))
			if tt.require == auth.CodeInsufficientScope {
				require.Contains(t, fault.From(err).Message, string(tt.scope))
				require.Equal(t, fault.KindForbidden, fault.KindOf(err))
			}
		})
	}
}

func TestScopes(t *testing.T) {
	t.Parallel()
	all := auth.Scopes(auth.AllTenantScopes())
	require.False(t, all.Has(auth.ScopeOperator))
	require.Len(t, all, 14)

	parsed, err := auth.ParseScopes(append(all.Strings(), "operator", "operator"))
	require.NoError(t, err)
	require.Equal(t, append(all, auth.ScopeOperator), parsed)
	_, err = auth.ParseScopes([]string{"events:read", "events:delete"})
	requireFault(t, err, fault.KindInvalid, auth.CodeUnknownScope)
	require.Equal(t, "scopes.1", fault.From(err).Field)

	require.Equal(t, auth.Scopes{"events:read"}, auth.KnownScopes([]string{"openid", "events:read", "", "events:read"}))
	require.Equal(t, auth.ScopeOperator, all.Missing(auth.Scopes{"events:read", "operator"}))
	require.Empty(t, all.Missing(all))
}

func ExamplePrincipal_RequireTenant() {
	p := auth.Principal{Scopes: auth.Scopes{auth.ScopeEventsRead}}
	f := fault.From(p.RequireTenant(auth.ScopeEventsWrite))
	fmt.Println(f.Kind.Status(), f.Code, f.Message)
	// Output: 403 insufficient_scope This needs the scope "events:write", which the credential does not have.
}
