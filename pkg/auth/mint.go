package auth

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jwt"

	"github.com/beaconpost/beaconpost/pkg/tenant"
)

// Claims is what a minted token says.
type Claims struct {
	Tenant   tenant.ID // zero for an operator's token
	Scopes   Scopes
	Subject  string
	TTL      time.Duration // from now; must be positive
	Issuer   string
	Audience string
}

// Mint signs a token that a verifier with the default claim names accepts. Its jti is random.
func Mint(key *LocalKey, claims Claims) (string, error) {
	if claims.TTL <= 0 || claims.Issuer == "" || claims.Audience == "" {
		return "", errors.New("mint token: TTL, Issuer and Audience are required")
	}
	now := time.Now()
	b := jwt.NewBuilder().
		JwtID(uuid.NewString()).Issuer(claims.Issuer).Audience([]string{claims.Audience}).Subject(claims.Subject).
		IssuedAt(now).Expiration(now.Add(claims.TTL)).
		Claim("scope", strings.Join(claims.Scopes.Strings(), " "))
	if !claims.Tenant.IsZero() {
		b = b.Claim("tenant_id", claims.Tenant.String())
	}
	token, err := b.Build()
	if err != nil {
		return "", fmt.Errorf("mint token: %w", err)
	}
	signed, err := jwt.Sign(token, jwt.WithKey(jwa.EdDSA, key.private))
	if err != nil {
		return "", fmt.Errorf("mint token: %w", err)
	}
	return string(signed), nil
}
