package auth_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/auth"
)

func claims(t *testing.T) auth.Claims {
	t.Helper()
	return auth.Claims{
		Tenant: parseTenant(t), Scopes: auth.Scopes{auth.ScopeEventsWrite, auth.ScopeEndpointsRead}, Subject: "cli",
		TTL: time.Hour, Issuer: issuer, Audience: audience,
	}
}

func TestMintedTokensAreAccepted(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "local.jwk")
	key, err := auth.LoadOrCreateLocalKey(path)
	require.NoError(t, err)
	v := verifier(t, auth.JWTConfig{JWKS: auth.PublicPath(path)})

	token, err := auth.Mint(key, claims(t))
	require.NoError(t, err)
	p, err := v.Verify(t.Context(), token)
	require.NoError(t, err)
	require.Equal(t, parseTenant(t), p.Tenant)
	require.Equal(t, claims(t).Scopes, p.Scopes)
	require.Equal(t, "cli", p.Subject)
	require.NotEmpty(t, p.CredentialID)
	require.WithinDuration(t, time.Now().Add(time.Hour), p.ExpiresAt, 5*time.Second)

	operator := claims(t)
	operator.Tenant, operator.Scopes = parseTenant(t), auth.Scopes{auth.ScopeOperator}
	operator.Tenant = [16]byte{}
	token, err = auth.Mint(key, operator)
	require.NoError(t, err)
	p, err = v.Verify(t.Context(), token)
	require.NoError(t, err)
	require.True(t, p.Tenant.IsZero())
}

func TestMintRefuses(t *testing.T) {
	t.Parallel()
	key, err := auth.GenerateLocalKey()
	require.NoError(t, err)
	for _, change := range []func(*auth.Claims){
		func(c *auth.Claims) { c.TTL = 0 },
		func(c *auth.Claims) { c.Issuer = "" },
		func(c *auth.Claims) { c.Audience = "" },
	} {
		c := claims(t)
		change(&c)
		_, err := auth.Mint(key, c)
		require.ErrorContains(t, err, "required")
	}
}

func TestLocalKeyFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "local.jwk")
	created, err := auth.LoadOrCreateLocalKey(path)
	require.NoError(t, err)
	require.Equal(t, filepath.Join(dir, "local.jwks.json"), auth.PublicPath(path))

	for file, mode := range map[string]os.FileMode{path: 0o600, auth.PublicPath(path): 0o644} {
		info, err := os.Stat(file)
		require.NoError(t, err)
		require.Equal(t, mode, info.Mode().Perm(), file)
	}
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 2, "no temporary files are left")

	public, err := os.ReadFile(auth.PublicPath(path))
	require.NoError(t, err)
	var set struct{ Keys []map[string]any }
	require.NoError(t, json.Unmarshal(public, &set))
	require.Len(t, set.Keys, 1)
	require.NotContains(t, set.Keys[0], "d", "the private part stays private")
	require.NotEmpty(t, set.Keys[0]["kid"])

	require.NoError(t, os.Remove(auth.PublicPath(path)))
	loaded, err := auth.LoadOrCreateLocalKey(path)
	require.NoError(t, err)
	require.Equal(t, publicText(t, created), publicText(t, loaded))
	again, err := os.ReadFile(auth.PublicPath(path))
	require.NoError(t, err)
	require.Equal(t, public, again, "written again if it is missing")
}

func publicText(t *testing.T, key *auth.LocalKey) string {
	t.Helper()
	text, err := key.PublicJWKS()
	require.NoError(t, err)
	return string(text)
}

func TestProcessesThatStartTogetherShareAKey(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "local.jwk")
	keys := make([]string, 16)
	var starts sync.WaitGroup
	for i := range keys {
		starts.Go(func() {
			key, err := auth.LoadOrCreateLocalKey(path)
			require.NoError(t, err)
			keys[i] = publicText(t, key)
		})
	}
	starts.Wait()
	for _, k := range keys {
		require.Equal(t, keys[0], k)
	}
}

func TestLocalKeyRefused(t *testing.T) {
	t.Parallel()
	good := filepath.Join(t.TempDir(), "local.jwk")
	_, err := auth.LoadOrCreateLocalKey(good)
	require.NoError(t, err)
	private, err := os.ReadFile(good)
	require.NoError(t, err)
	public, err := os.ReadFile(auth.PublicPath(good))
	require.NoError(t, err)
	tests := []struct {
		name string
		text string
		mode os.FileMode
		want string
	}{
		{"readable by everybody", string(private), 0o644, "chmod 600"},
		{"not a key", "hello", 0o600, "not a jwk"},
		{"a public key", strings.TrimSuffix(strings.TrimPrefix(string(public), `{"keys":[`), `]}`), 0o600, "not an Ed25519 private key"},
		{"a symmetric key", `{"kty":"oct","k":"c2VjcmV0","kid":"x"}`, 0o600, "not an Ed25519 private key"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "local.jwk")
			require.NoError(t, os.WriteFile(path, []byte(tt.text), 0o600))
			require.NoError(t, os.Chmod(path, tt.mode))
			_, err := auth.LoadOrCreateLocalKey(path)
			require.ErrorContains(t, err, tt.want)
		})
	}
	_, err = auth.LoadOrCreateLocalKey(filepath.Join(t.TempDir(), "missing", "local.jwk"))
	require.Error(t, err)
}
