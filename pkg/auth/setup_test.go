package auth_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jwk"
	"github.com/lestrrat-go/jwx/v2/jws"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/beaconpost/beaconpost/pkg/auth"
	"github.com/beaconpost/beaconpost/pkg/fault"
	"github.com/beaconpost/beaconpost/pkg/tenant"
)

const (
	issuer   = "https://id.example.com"
	audience = "beaconpost"
	tenantID = "0190f0a4-0000-7000-8000-00000000000a"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// signer is a key pair of an identity provider.
type signer struct {
	private any
	alg     jwa.SignatureAlgorithm
	kid     string
}

func newRSA(t testing.TB, kid string, bits int) signer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	require.NoError(t, err)
	return signer{key, jwa.RS256, kid}
}

func newEC(t testing.TB, kid string, curve elliptic.Curve, alg jwa.SignatureAlgorithm) signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	require.NoError(t, err)
	return signer{key, alg, kid}
}

func newEd(t testing.TB, kid string) signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	return signer{key, jwa.EdDSA, kid}
}

// public gives the signer's entry in a JWKS, without an alg.
func (s signer) public(t testing.TB) jwk.Key {
	t.Helper()
	key, err := jwk.PublicKeyOf(s.private)
	require.NoError(t, err)
	require.NoError(t, key.Set(jwk.KeyIDKey, s.kid))
	return key
}

func jwks(t testing.TB, keys ...any) string {
	t.Helper()
	text, err := json.Marshal(map[string]any{"keys": keys})
	require.NoError(t, err)
	return string(text)
}

func jwksOf(t testing.TB, signers ...signer) string {
	t.Helper()
	keys := make([]any, len(signers))
	for i, s := range signers {
		keys[i] = s.public(t)
	}
	return jwks(t, keys...)
}

func jwksFile(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "jwks.json")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// goodClaims can be changed by with.
func goodClaims() map[string]any {
	now := time.Now().Unix()
	return map[string]any{
		"iss": issuer, "aud": audience, "sub": "shop", "jti": "token-1", "iat": now, "exp": now + 60,
		"tenant_id": tenantID, "scope": "openid events:write events:read",
	}
}

// with gives good claims with some replaced; nil removes.
func with(pairs ...any) map[string]any {
	claims := goodClaims()
	for i := 0; i < len(pairs); i += 2 {
		claims[pairs[i].(string)] = pairs[i+1]
		if pairs[i+1] == nil {
			delete(claims, pairs[i].(string))
		}
	}
	return claims
}

// sign makes a token; pairs are further header fields.
func (s signer) sign(t testing.TB, claims any, pairs ...any) string {
	t.Helper()
	payload, err := json.Marshal(claims)
	require.NoError(t, err)
	header := jws.NewHeaders()
	if s.kid != "" {
		require.NoError(t, header.Set("kid", s.kid))
	}
	for i := 0; i < len(pairs); i += 2 {
		require.NoError(t, header.Set(pairs[i].(string), pairs[i+1]))
	}
	token, err := jws.Sign(payload, jws.WithKey(s.alg, s.private, jws.WithProtectedHeaders(header)))
	require.NoError(t, err)
	return string(token)
}

func verifier(t testing.TB, cfg auth.JWTConfig) *auth.JWT {
	t.Helper()
	cfg.Issuer, cfg.Audience = issuer, audience
	v, err := auth.NewJWTVerifier(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(v.Close)
	return v
}

// provider answers for an identity provider, without a network, so that time can be fake.
type provider struct {
	text  atomic.Pointer[string] // nil: unreachable
	calls atomic.Int32
}

func (p *provider) publish(text string) { p.text.Store(&text) }

func (p *provider) config() auth.JWTConfig {
	return auth.JWTConfig{JWKS: "https://id.example.com/jwks", Client: &http.Client{Transport: p}}
}

func (p *provider) RoundTrip(*http.Request) (*http.Response, error) {
	p.calls.Add(1)
	text := p.text.Load()
	if text == nil {
		return nil, io.ErrUnexpectedEOF
	}
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(*text))}, nil
}

func requireFault(t testing.TB, err error, kind fault.Kind, code fault.Code) {
	t.Helper()
	require.Error(t, err)
	require.Equal(t, code, fault.CodeOf(err), "%v", err)
	require.Equal(t, kind, fault.KindOf(err), "%v", err)
}

func parseTenant(t testing.TB) tenant.ID {
	t.Helper()
	id, err := tenant.Parse(tenantID)
	require.NoError(t, err)
	return id
}
