package beaconpost_test

import (
	"context"
	"net/http"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/auth"
	"github.com/beaconpost/beaconpost/pkg/postgres/pgcluster"
	"github.com/beaconpost/beaconpost/pkg/postgres/pgtest"
	"github.com/beaconpost/beaconpost/pkg/service/servicetest"
	"github.com/beaconpost/beaconpost/pkg/stream/streamtest"
	"github.com/beaconpost/beaconpost/pkg/tenant"
)

// servers gives the environment that makes `up` use a database and a broker of the test instead of its own.
func servers(t *testing.T) (db *pgtest.Database, environ []string) {
	t.Helper()
	db = pgtest.New(t)
	return db, []string{"BEACONPOST_DATABASE_URL=" + db.OwnerURL, "BEACONPOST_NATS_URL=" + streamtest.New(t).URL()}
}

// query asks a database past row-level security.
func query(t *testing.T, url, sql string, args ...any) []string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer conn.Close(context.WithoutCancel(t.Context()))
	rows, err := conn.Query(t.Context(), sql, args...)
	require.NoError(t, err)
	values, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	return values
}

func TestUpWithServersOfYourOwn(t *testing.T) {
	t.Parallel()
	db, environ := servers(t)
	dir := t.TempDir() // nobody but this process has to enter it
	first := up(t, dir, environ)
	require.NoDirExists(t, filepath.Join(dir, "postgres"))
	require.NoDirExists(t, filepath.Join(dir, "nats"))

	r := receive(t, "0")
	createEndpoint(first.client(), r.url, nil)
	event := sendEvent(first.client())
	first.await("the event was delivered", func() bool { return deliveryOf(first.client(), event).Status == "delivered" })
	require.Equal(t, []string{event}, r.received())
	stored := query(t, db.URL(pgcluster.Superuser), `SELECT id::text FROM webhook_events WHERE tenant_id::text = $1`, first.TenantID)
	require.Equal(t, []string{event}, stored)
	first.stop()

	second := up(t, dir, environ)
	require.Equal(t, first.APIKey, second.APIKey)
	require.Equal(t, "delivered", deliveryOf(second.client(), event).Status)
	second.stop()

	// The database outlives the data directory: a new one has a new demo tenant.
	third := up(t, t.TempDir(), environ)
	require.NotEqual(t, first.TenantID, third.TenantID)
	third.client().Do(http.MethodGet, "/v1/events/"+event, nil).Want(404, nil)
	third.stop()
}

// One that runs with another database is told apart from the tenant that it once had.
func TestUpWithADatabaseThatLostTheDemoTenant(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, environ := servers(t)
	first := up(t, dir, environ)
	first.stop()
	_, environ = servers(t)
	second := up(t, dir, environ)
	require.NotEqual(t, first.TenantID, second.TenantID)
	require.NotEqual(t, first.APIKey, second.APIKey)
	second.client().Do(http.MethodGet, "/v1/endpoints", nil).Want(200, nil)
	second.stop()
}

// The login of the services may not migrate, and says so.
func TestUpWithALoginThatCannotMigrate(t *testing.T) {
	t.Parallel()
	db, environ := servers(t)
	dir := t.TempDir()
	startUp(t, dir, append(environ, "BEACONPOST_DATABASE_URL="+db.AppURL)).wantError(1, "BEACONPOST_DATABASE_URL", "permission denied")
	requireNotStarted(t, dir)
}

type secretsView struct {
	Secret  string `json:"secret"`
	Secrets []struct {
		Secret string `json:"secret"`
	} `json:"secrets"`
}

func revealed(c servicetest.Client, endpoint string) (view secretsView) {
	c.T.Helper()
	c.Do(http.MethodGet, "/v1/endpoints/"+endpoint+"/secret", nil).Want(200, &view)
	return view
}

func TestSecretsReseal(t *testing.T) {
	t.Parallel()
	db, environ := servers(t)
	dir := t.TempDir()
	older, newer := run(t, nil, "keygen", "--id", "older").line(), run(t, nil, "keygen", "--id", "newer").line()
	withKeys := func(keys string) []string { return append(environ, "BEACONPOST_SECRETS_KEYS="+keys) }
	sealedBy := func() []string {
		return query(t, db.URL(pgcluster.Superuser), `SELECT key_id FROM endpoint_secrets ORDER BY key_id`)
	}

	i := up(t, dir, withKeys(older))
	require.NoFileExists(t, filepath.Join(dir, "secrets.keys"), "keys of your own need no others")
	endpoint := createEndpoint(i.client(), "http://127.0.0.1:9/", nil)
	i.client().Do(http.MethodPost, "/v1/endpoints/"+endpoint+"/secret/rotate", nil).Want(200, nil)
	before := revealed(i.client(), endpoint)
	require.Len(t, before.Secrets, 2)
	i.stop()
	require.Equal(t, []string{"older", "older"}, sealedBy())

	i = up(t, dir, withKeys(newer+","+older))
	require.Equal(t, before, revealed(i.client(), endpoint))
	// Beside a running service, by the services' own login.
	reseal := []string{"BEACONPOST_DATABASE_URL=" + db.AppURL, "BEACONPOST_SECRETS_KEYS=" + newer + "," + older}
	require.Equal(t, "sealed 2 secrets again", run(t, reseal, "secrets", "reseal").line())
	require.Equal(t, []string{"newer", "newer"}, sealedBy())
	require.Equal(t, before, revealed(i.client(), endpoint))
	require.Equal(t, "sealed 0 secrets again", run(t, reseal, "secrets", "reseal").line())
	i.stop()

	i = up(t, dir, withKeys(newer))
	require.Equal(t, before, revealed(i.client(), endpoint))
	i.stop()

	// Without the key that sealed a secret nothing is lost and nothing is hidden.
	run(t, nil, "secrets", "reseal", "--database-url", db.AppURL, "--keys", older).wantError(1, "newer")
	require.Equal(t, []string{"newer", "newer"}, sealedBy())
	run(t, nil, "secrets", "reseal", "--database-url", db.AppURL, "--keys", "nonsense").wantError(1, "BEACONPOST_SECRETS_KEYS")
	run(t, nil, "secrets", "reseal").wantError(2, "database-url", "keys")
}

func TestUpWithAnIssuerOfYourOwn(t *testing.T) {
	t.Parallel()
	_, environ := servers(t)
	dir, path := t.TempDir(), filepath.Join(t.TempDir(), "issuer.jwk")
	key, err := auth.LoadOrCreateLocalKey(path)
	require.NoError(t, err)
	trusting := slices.Concat(environ, []string{
		"BEACONPOST_AUTH_JWKS=" + auth.PublicPath(path), "BEACONPOST_AUTH_ISSUER=https://id.test", "BEACONPOST_AUTH_AUDIENCE=beacons",
	})

	// Nobody here can speak for that issuer, so nobody can make the demo tenant.
	startUp(t, dir, trusting).wantError(1, "BEACONPOST_AUTH_JWKS is set", "unset it for the first start")
	startUp(t, dir, append(environ, "BEACONPOST_AUTH_ISSUER=https://id.test")).wantError(2, "BEACONPOST_AUTH_JWKS", "together")
	first := up(t, dir, environ)
	first.stop()

	second := up(t, dir, trusting)
	require.Equal(t, first.APIKey, second.APIKey)
	second.client().Do(http.MethodGet, "/v1/endpoints", nil).Want(200, nil)
	id, err := tenant.Parse(second.TenantID)
	require.NoError(t, err)
	minted, err := auth.Mint(key, auth.Claims{
		Tenant: id, Scopes: auth.AllTenantScopes(), Subject: "test", TTL: time.Minute, Issuer: "https://id.test", Audience: "beacons",
	})
	require.NoError(t, err)
	servicetest.Client{T: t, URL: second.URL, Token: minted}.Do(http.MethodGet, "/v1/endpoints", nil).Want(200, nil)
	local := run(t, nil, "token", "--data-dir", dir).line()
	servicetest.Client{T: t, URL: second.URL, Token: local}.Do(http.MethodGet, "/v1/endpoints", nil).Want(401, nil)
	second.stop()
}
