package auth

import (
	"context"
	"net/http"
	"strings"
)

// Authenticator finds the credential of a request and the verifier for it.
type Authenticator struct {
	apiKeys Verifier
	jwt     Verifier
}

var _ Verifier = (*Authenticator)(nil)

// NewAuthenticator sends credentials that start like an API key to apiKeys and all others to jwt. Either may be a nil
// interface, and then refuses its kind.
func NewAuthenticator(apiKeys, jwt Verifier) *Authenticator {
	return &Authenticator{apiKeys: apiKeys, jwt: jwt}
}

// Authenticate verifies the bearer token of r's only Authorization header. Nothing else of r is looked at.
func (a *Authenticator) Authenticate(r *http.Request) (Principal, error) {
	headers := r.Header.Values("Authorization")
	switch {
	case len(headers) == 0:
		return Principal{}, missing()
	case len(headers) > 1:
		return Principal{}, invalid("There must be only one Authorization header.", nil)
	}
	scheme, token, _ := strings.Cut(headers[0], " ")
	token = strings.Trim(token, " ")
	if !strings.EqualFold(scheme, "Bearer") || token == "" {
		return Principal{}, invalid("The Authorization header must be 'Bearer' and a credential.", nil)
	}
	return a.Verify(r.Context(), token)
}

// Verify checks token with the verifier of its kind.
func (a *Authenticator) Verify(ctx context.Context, token string) (Principal, error) {
	verifier := a.jwt
	if LooksLikeAPIKey(token) {
		verifier = a.apiKeys
	}
	if verifier == nil {
		return Principal{}, invalid("This kind of credential is not accepted here.", nil)
	}
	return verifier.Verify(ctx, token)
}
