package auth

import (
	"errors"
	"strings"

	"github.com/lestrrat-go/jwx/v2/jwt"

	"github.com/beaconpost/beaconpost/pkg/tenant"
)

// principal judges the claims of a token whose signature is good.
func (v *JWT) principal(claims jwt.Token) (Principal, error) {
	if err := v.validate(claims); err != nil {
		return Principal{}, err
	}
	id, err := v.tenant(claims)
	if err != nil {
		return Principal{}, err
	}
	return Principal{
		Tenant: id, Scopes: v.scopes(claims), Subject: claims.Subject(),
		CredentialID: claims.JwtID(), Kind: KindJWT, ExpiresAt: claims.Expiration(),
	}, nil
}

// validate checks exp (required), nbf, iat, iss and aud. The library takes an exp of 0 for none, hence the first check.
func (v *JWT) validate(claims jwt.Token) error {
	if claims.Expiration().Unix() <= 0 {
		return invalid("The token has no exp claim.", nil)
	}
	err := jwt.Validate(claims,
		jwt.WithAcceptableSkew(v.cfg.Leeway), jwt.WithIssuer(v.cfg.Issuer), jwt.WithAudience(v.cfg.Audience))
	switch {
	case err == nil:
		return nil
	case errors.Is(err, jwt.ErrTokenExpired()):
		return expired("The token has expired.")
	case errors.Is(err, jwt.ErrTokenNotYetValid()):
		return invalid("The token is not valid yet.", err)
	case errors.Is(err, jwt.ErrInvalidIssuer()):
		return invalid("The token's issuer is not accepted.", err)
	case errors.Is(err, jwt.ErrInvalidAudience()):
		return invalid("The token's audience is not accepted.", err)
	}
	return invalid("The token's claims are not accepted.", err)
}

// tenant gives the zero ID if the token names no tenant; RequireTenant refuses that where it matters.
func (v *JWT) tenant(claims jwt.Token) (tenant.ID, error) {
	claim, ok := claims.Get(v.cfg.TenantClaim)
	if !ok {
		return tenant.Nil, nil
	}
	text, ok := claim.(string)
	if !ok {
		return tenant.Nil, invalid("The token's tenant claim is not a string.", nil)
	}
	id, err := tenant.Parse(text)
	if err != nil || id.IsZero() {
		return tenant.Nil, invalid("The token's tenant claim is not a tenant id.", err)
	}
	return id, nil
}

// scopes reads an array, or words separated by spaces. Anything else gives no scope.
func (v *JWT) scopes(claims jwt.Token) Scopes {
	claim, _ := claims.Get(v.cfg.ScopesClaim)
	switch claim := claim.(type) {
	case string:
		return KnownScopes(strings.Fields(claim))
	case []any:
		words := make([]string, 0, len(claim))
		for _, c := range claim {
			if word, ok := c.(string); ok {
				words = append(words, word)
			}
		}
		return KnownScopes(words)
	}
	return Scopes{}
}
