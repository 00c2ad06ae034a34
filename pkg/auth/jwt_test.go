package auth_test

import (
	"crypto/elliptic"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jwk"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/auth"
	"github.com/beaconpost/beaconpost/pkg/fault"
	"github.com/beaconpost/beaconpost/pkg/tenant"
)

func TestJWTAccepted(t *testing.T) {
	t.Parallel()
	rsaKey, ecKey, edKey := newRSA(t, "rsa", 2048), newEC(t, "ec", elliptic.P256(), jwa.ES256), newEd(t, "ed")
	v := verifier(t, auth.JWTConfig{JWKS: jwksFile(t, jwksOf(t, rsaKey, ecKey, edKey))})
	anonymous := edKey
	anonymous.kid = ""
	both := auth.Scopes{auth.ScopeEventsWrite, auth.ScopeEventsRead}

	tests := []struct {
		name   string
		token  string
		scopes auth.Scopes
		tenant bool
	}{
		{"RS256", rsaKey.sign(t, goodClaims()), both, true},
		{"ES256", ecKey.sign(t, goodClaims()), both, true},
		{"EdDSA", edKey.sign(t, goodClaims()), both, true},
		{"no kid, but one key fits", anonymous.sign(t, goodClaims()), both, true},
		{"scopes as an array", edKey.sign(t, with("scope", []any{"events:write", "events:read", "events:read", 7})), both, true},
		{"no scopes", edKey.sign(t, with("scope", nil)), auth.Scopes{}, true},
		{"scopes of another type", edKey.sign(t, with("scope", map[string]any{"operator": true})), auth.Scopes{}, true},
		{"one of several audiences", edKey.sign(t, with("aud", []string{"other", audience})), both, true},
		{"expired within the leeway", edKey.sign(t, with("exp", time.Now().Unix()-20)), both, true},
		{"not before within the leeway", edKey.sign(t, with("nbf", time.Now().Unix()+20)), both, true},
		{"operator without a tenant", edKey.sign(t, with("tenant_id", nil, "scope", "operator")), auth.Scopes{auth.ScopeOperator}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p, err := v.Verify(t.Context(), tt.token)
			require.NoError(t, err)
			require.Equal(t, tt.scopes, p.Scopes)
			require.Equal(t, "shop", p.Subject)
			require.Equal(t, "token-1", p.CredentialID)
			require.Equal(t, auth.KindJWT, p.Kind)
			require.WithinDuration(t, time.Now(), p.ExpiresAt, 2*time.Minute)
			want := tenant.Nil
			if tt.tenant {
				want = parseTenant(t)
			}
			require.Equal(t, want, p.Tenant)
		})
	}
}

func TestJWTRefused(t *testing.T) {
	t.Parallel()
	rsaKey, ecKey, edKey := newRSA(t, "rsa", 2048), newEC(t, "ec", elliptic.P256(), jwa.ES256), newEd(t, "ed")
	ed2 := newEd(t, "ed2")
	stranger := newEd(t, "ed") // another key under a known id
	unknown := newEd(t, "stranger")
	noKid := ed2
	noKid.kid = ""
	rs512, ps256, es384 := rsaKey, rsaKey, newEC(t, "ec384", elliptic.P384(), jwa.ES384)
	rs512.alg, ps256.alg = jwa.RS512, jwa.PS256
	edAsRSA := edKey
	edAsRSA.kid = "rsa"
	v := verifier(t, auth.JWTConfig{JWKS: jwksFile(t, jwksOf(t, rsaKey, ecKey, edKey, ed2, es384))})

	der, err := x509.MarshalPKIXPublicKey(public(t, rsaKey))
	require.NoError(t, err)
	rsaJWK, err := json.Marshal(rsaKey.public(t))
	require.NoError(t, err)
	hmac := func(secret []byte) string { return signer{secret, jwa.HS256, "rsa"}.sign(t, goodClaims()) }
	good := edKey.sign(t, goodClaims())
	parts := strings.Split(good, ".")
	unsigned := func(header string) string {
		return base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + parts[1] + "."
	}
	now := time.Now().Unix()

	tests := []struct {
		name    string
		token   string
		code    fault.Code
		message string
	}{
		{"alg none", unsigned(`{"alg":"none","kid":"ed"}`), auth.CodeInvalidCredentials, ""},
		{"alg None", unsigned(`{"alg":"None","kid":"ed"}`), auth.CodeInvalidCredentials, ""},
		{"no alg", unsigned(`{"kid":"ed"}`), auth.CodeInvalidCredentials, ""},
		{"alg EdDSA without a signature", unsigned(`{"alg":"EdDSA","kid":"ed"}`), auth.CodeInvalidCredentials, ""},
		{"HS256 with the public key (DER) as secret", hmac(der), auth.CodeInvalidCredentials, "algorithm"},
		{"HS256 with the public key (JWK) as secret", hmac(rsaJWK), auth.CodeInvalidCredentials, "algorithm"},
		{"RS512 is not in the list", rs512.sign(t, goodClaims()), auth.CodeInvalidCredentials, "algorithm"},
		{"PS256 is not in the list", ps256.sign(t, goodClaims()), auth.CodeInvalidCredentials, "algorithm"},
		{"ES384 is not in the list", es384.sign(t, goodClaims()), auth.CodeInvalidCredentials, "algorithm"},
		{"EdDSA with the id of an RSA key", edAsRSA.sign(t, goodClaims()), auth.CodeInvalidCredentials, "unknown key"},
		{"signed by a stranger", stranger.sign(t, goodClaims()), auth.CodeInvalidCredentials, "signature"},
		{"unknown kid", unknown.sign(t, goodClaims()), auth.CodeInvalidCredentials, "unknown key"},
		{"no kid and two keys fit", noKid.sign(t, goodClaims()), auth.CodeInvalidCredentials, "unknown key"},
		{"its own key in the header", unknown.sign(t, goodClaims(), "jwk", unknown.public(t)), auth.CodeInvalidCredentials, "unknown key"},
		{"critical header", edKey.sign(t, goodClaims(), "crit", []string{"x"}, "x", 1), auth.CodeInvalidCredentials, "critical"},
		{"changed claims", parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"scope":"operator"}`)) + "." + parts[2], auth.CodeInvalidCredentials, "signature"},
		{"expired", edKey.sign(t, with("exp", now-31)), auth.CodeExpiredCredentials, "expired"},
		{"no exp", edKey.sign(t, with("exp", nil)), auth.CodeInvalidCredentials, "exp"},
		{"exp of 0", edKey.sign(t, with("exp", 0)), auth.CodeInvalidCredentials, "exp"},
		{"negative exp", edKey.sign(t, with("exp", -1)), auth.CodeInvalidCredentials, ""},
		{"nbf in the future", edKey.sign(t, with("nbf", now+40)), auth.CodeInvalidCredentials, "not valid yet"},
		{"iat in the future", edKey.sign(t, with("iat", now+40)), auth.CodeInvalidCredentials, "claims"},
		{"other issuer", edKey.sign(t, with("iss", "https://evil.example")), auth.CodeInvalidCredentials, "issuer"},
		{"no issuer", edKey.sign(t, with("iss", nil)), auth.CodeInvalidCredentials, "issuer"},
		{"other audience", edKey.sign(t, with("aud", "billing")), auth.CodeInvalidCredentials, "audience"},
		{"no audience", edKey.sign(t, with("aud", nil)), auth.CodeInvalidCredentials, "audience"},
		{"tenant is no id", edKey.sign(t, with("tenant_id", "acme")), auth.CodeInvalidCredentials, "tenant"},
		{"tenant is empty", edKey.sign(t, with("tenant_id", "")), auth.CodeInvalidCredentials, "tenant"},
		{"tenant is the zero id", edKey.sign(t, with("tenant_id", tenant.Nil.String())), auth.CodeInvalidCredentials, "tenant"},
		{"tenant is a number", edKey.sign(t, with("tenant_id", 7)), auth.CodeInvalidCredentials, "tenant"},
		{"claims are an array", edKey.sign(t, []int{1}), auth.CodeInvalidCredentials, "claims"},
		{"empty", "", auth.CodeInvalidCredentials, ""},
		{"not a token", "hello", auth.CodeInvalidCredentials, ""},
		{"JSON serialisation", `{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`, auth.CodeInvalidCredentials, ""},
		{"too long", good + strings.Repeat("A", 16<<10), auth.CodeInvalidCredentials, "too long"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p, err := v.Verify(t.Context(), tt.token)
			requireFault(t, err, fault.KindUnauthenticated, tt.code)
			require.Contains(t, fault.From(err).Message, tt.message)
			require.Zero(t, p)
		})
	}
}

func public(t *testing.T, s signer) any {
	t.Helper()
	var raw any
	require.NoError(t, s.public(t).Raw(&raw))
	return raw
}

func TestKeysThatAreNotUsed(t *testing.T) {
	t.Parallel()
	weak, other, encryption, pinned, fine := newRSA(t, "weak", 1024), newEd(t, "oct"), newEd(t, "enc"), newRSA(t, "pinned", 2048), newEd(t, "fine")
	encryptionKey, pinnedKey := encryption.public(t), pinned.public(t)
	require.NoError(t, encryptionKey.Set(jwk.KeyUsageKey, jwk.ForEncryption))
	require.NoError(t, pinnedKey.Set(jwk.AlgorithmKey, jwa.PS256))
	text := jwks(t, weak.public(t), encryptionKey, pinnedKey, fine.public(t),
		map[string]any{"kty": "oct", "kid": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA"}, map[string]any{"kty": "new", "kid": "later"})
	v := verifier(t, auth.JWTConfig{JWKS: jwksFile(t, text), Algorithms: []string{"RS256", "PS256", "EdDSA"}})

	_, err := v.Verify(t.Context(), fine.sign(t, goodClaims()))
	require.NoError(t, err)
	for _, s := range []signer{weak, other, encryption, pinned} {
		_, err := v.Verify(t.Context(), s.sign(t, goodClaims()))
		requireFault(t, err, fault.KindUnauthenticated, auth.CodeInvalidCredentials)
	}
	pinned.alg = jwa.PS256
	_, err = v.Verify(t.Context(), pinned.sign(t, goodClaims()))
	require.NoError(t, err, "the algorithm that the JWKS names")
}

func TestPrivateKeysInAJWKSVerifyOnly(t *testing.T) {
	t.Parallel()
	s := newEd(t, "ed")
	private, err := jwk.FromRaw(s.private)
	require.NoError(t, err)
	require.NoError(t, private.Set(jwk.KeyIDKey, "ed"))
	v := verifier(t, auth.JWTConfig{JWKS: jwksFile(t, jwks(t, private))})
	_, err = v.Verify(t.Context(), s.sign(t, goodClaims()))
	require.NoError(t, err)
}

func TestOtherClaimNames(t *testing.T) {
	t.Parallel()
	s := newEd(t, "ed")
	v := verifier(t, auth.JWTConfig{JWKS: jwksFile(t, jwksOf(t, s)), TenantClaim: "https://example.com/org", ScopesClaim: "permissions"})
	p, err := v.Verify(t.Context(), s.sign(t, with("https://example.com/org", tenantID, "permissions", []string{"events:read"}, "tenant_id", "ignored")))
	require.NoError(t, err)
	require.Equal(t, parseTenant(t), p.Tenant)
	require.Equal(t, auth.Scopes{auth.ScopeEventsRead}, p.Scopes)
}

func TestJWTConfigProblems(t *testing.T) {
	t.Parallel()
	file := jwksFile(t, jwksOf(t, newEd(t, "ed")))
	tests := []struct {
		name string
		cfg  auth.JWTConfig
		want string
	}{
		{"nothing set", auth.JWTConfig{}, "required"},
		{"no audience", auth.JWTConfig{JWKS: file, Issuer: issuer}, "required"},
		{"none", auth.JWTConfig{JWKS: file, Issuer: issuer, Audience: audience, Algorithms: []string{"none"}}, `"none"`},
		{"HMAC", auth.JWTConfig{JWKS: file, Issuer: issuer, Audience: audience, Algorithms: []string{"RS256", "HS256"}}, `"HS256"`},
		{"negative leeway", auth.JWTConfig{JWKS: file, Issuer: issuer, Audience: audience, Leeway: -1}, "negative"},
		{"ftp", auth.JWTConfig{JWKS: "ftp://u:hunter2@host/jwks", Issuer: issuer, Audience: audience}, "neither"},
		{"no such file", auth.JWTConfig{JWKS: file + "x", Issuer: issuer, Audience: audience}, "no such file"},
		{"no JSON", auth.JWTConfig{JWKS: jwksFile(t, "x"), Issuer: issuer, Audience: audience}, "parse jwks"},
		{"no usable key", auth.JWTConfig{JWKS: jwksFile(t, `{"keys":[]}`), Issuer: issuer, Audience: audience}, "no usable"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := auth.NewJWTVerifier(t.Context(), tt.cfg)
			require.ErrorContains(t, err, tt.want)
			require.NotContains(t, err.Error(), "hunter2")
		})
	}
}

// Whatever the bytes: nothing panics, and a token is refused with a 401 unless it says what the one that was signed says.
func FuzzJWT(f *testing.F) {
	s := newEd(f, "ed")
	good := s.sign(f, with("exp", time.Now().Unix()+3600))
	v := verifier(f, auth.JWTConfig{JWKS: jwksFile(f, jwksOf(f, s))})
	signed, err := v.Verify(f.Context(), good)
	require.NoError(f, err)
	parts := strings.Split(good, ".")
	f.Add(good)
	f.Add(good[:len(good)-2])
	f.Add(parts[0] + ".e30." + parts[2])
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Add("..")
	f.Fuzz(func(t *testing.T, token string) {
		p, err := v.Verify(t.Context(), token)
		if err == nil {
			require.Equal(t, signed, p)
			return
		}
		require.Equal(t, fault.KindUnauthenticated, fault.KindOf(err))
	})
}

// BenchmarkJWT compares the first sight of a token with later ones.
func BenchmarkJWT(b *testing.B) {
	for _, s := range []signer{newRSA(b, "rsa", 2048), newEC(b, "ec", elliptic.P256(), jwa.ES256), newEd(b, "ed")} {
		b.Run(s.alg.String(), func(b *testing.B) {
			v := verifier(b, auth.JWTConfig{JWKS: jwksFile(b, jwksOf(b, s))})
			token := s.sign(b, with("exp", time.Now().Unix()+3600))
			tokens := []string{token}
			for i := range 20_000 { // more than are remembered
				tokens = append(tokens, s.sign(b, with("exp", time.Now().Unix()+3600, "jti", strconv.Itoa(i))))
			}
			for name, n := range map[string]int{"first": len(tokens), "again": 1} {
				b.Run(name, func(b *testing.B) {
					b.ReportAllocs()
					for i := 0; b.Loop(); i++ {
						if _, err := v.Verify(b.Context(), tokens[i%n]); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
		})
	}
}
