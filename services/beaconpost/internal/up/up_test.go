package up

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/secretbox"
)

// What `up` does as a whole is tested with the real program, in the tests of services/beaconpost.

func TestDialable(t *testing.T) {
	t.Parallel()
	for listened, want := range map[string]string{
		"127.0.0.1:8080": "127.0.0.1:8080",
		"0.0.0.0:8080":   "127.0.0.1:8080",
		"[::]:8080":      "127.0.0.1:8080",
		"[::1]:8080":     "[::1]:8080",
		"10.1.2.3:80":    "10.1.2.3:80",
		"localhost:8080": "localhost:8080",
	} {
		require.Equal(t, want, dialable(listened), listened)
	}
}

func TestAdminAddrs(t *testing.T) {
	t.Parallel()
	addrs, err := adminAddrs(" 9090,9091 , 65535")
	require.NoError(t, err)
	require.Equal(t, []string{"127.0.0.1:9090", "127.0.0.1:9091", "127.0.0.1:65535"}, addrs)
	addrs, err = adminAddrs("random")
	require.NoError(t, err)
	require.Equal(t, []string{"127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"}, addrs)
}

func TestLockDir(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, err := lockDir(dir)
	require.NoError(t, err)
	_, err = lockDir(dir)
	require.ErrorContains(t, err, "in use by another beaconpost up")
	require.NoError(t, first.Close())
	second, err := lockDir(dir)
	require.NoError(t, err)
	require.NoError(t, second.Close())
}

func configured(t *testing.T, dir string, environ ...string) *system {
	t.Helper()
	s := &system{options: options{dir: dir, logLevel: "warn", environ: environ}}
	require.NoError(t, s.configure())
	return s
}

func TestConfigureMakesKeysOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := configured(t, dir)
	require.Equal(t, "local", first.ingest.SecretsKeys.Primary())
	require.Equal(t, first.ingest.SecretsKeys, first.delivery.SecretsKeys)
	second := configured(t, dir)
	require.Equal(t, first.ingest.SecretsKeys, second.ingest.SecretsKeys)

	for _, name := range []string{"secrets.keys", LocalKeyFile} {
		info, err := os.Stat(filepath.Join(dir, name))
		require.NoError(t, err)
		require.Equal(t, fs.FileMode(0o600), info.Mode().Perm(), name)
	}
	for _, c := range []string{first.ingest.Auth.Issuer, first.delivery.Auth.Issuer, first.monitor.Auth.Issuer} {
		require.Equal(t, LocalIssuer, c)
	}
	require.FileExists(t, first.monitor.Auth.JWKS)

	require.NoError(t, os.Remove(filepath.Join(dir, "secrets.keys")))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "secrets.keys"), 0o700))
	s := &system{options: options{dir: dir}}
	require.ErrorContains(t, s.configure(), "read sealing keys", "a key that cannot be read is not replaced")
}

func TestConfigureLeavesTheUsersOwn(t *testing.T) {
	t.Parallel()
	key, err := secretbox.GenerateKey("mine")
	require.NoError(t, err)
	dir := t.TempDir()
	s := configured(t, dir,
		"BEACONPOST_SECRETS_KEYS="+key, "BEACONPOST_NETWORK_ALLOW_LOOPBACK=false", "BEACONPOST_AUTH_JWKS=/keys.json", "BEACONPOST_AUTH_ISSUER=me",
		"BEACONPOST_AUTH_AUDIENCE=you", "BEACONPOST_MAX_PAYLOAD=1KiB", "BEACONPOST_DELIVERY_TIMEOUT=3s",
		"BEACONPOST_LISTEN=:1", "BEACONPOST_ADMIN_LISTEN=:2", // of a service that runs on its own
	)
	require.Equal(t, "mine", s.ingest.SecretsKeys.Primary())
	require.False(t, s.delivery.Network.AllowLoopback)
	require.Equal(t, "/keys.json", s.monitor.Auth.JWKS)
	require.Equal(t, "3s", s.delivery.Delivery.Timeout.String())
	require.Equal(t, "warn", s.ingest.LogLevel)
	require.NotEqual(t, ":1", s.ingest.Listen)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries, "nothing is made that is not used")

	require.True(t, configured(t, t.TempDir()).delivery.Network.AllowLoopback, "receivers on this machine may be called")
}

func TestKnownVariables(t *testing.T) {
	t.Parallel()
	known := KnownVariables()
	for _, name := range []string{"BEACONPOST_DATABASE_URL", "BEACONPOST_POSTGRES_BIN", "BEACONPOST_DELIVERY_RETENTION", "BEACONPOST_ACCEPT_TIMEOUT", "BEACONPOST_API_KEY"} {
		require.True(t, slices.Contains(known, name), name)
	}
}
