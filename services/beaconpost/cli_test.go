package beaconpost_test

import (
	"context"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/postgres/pgcluster"
	"github.com/beaconpost/beaconpost/pkg/postgres/pgtest"
	"github.com/beaconpost/beaconpost/pkg/secretbox"
	"github.com/beaconpost/beaconpost/pkg/service/servicetest"
	"github.com/beaconpost/beaconpost/services/beaconpost/internal/demo"
)

func TestVersion(t *testing.T) {
	t.Parallel()
	require.Equal(t, testVersion, run(t, nil, "version").line())
	require.Contains(t, run(t, nil, "--version").line(), testVersion)
}

func TestWrongUsage(t *testing.T) {
	t.Parallel()
	for args, parts := range map[string][]string{
		"upp":                    {`there is no command "upp"`, "beaconpost --help"},
		"--nope":                 {"-nope", "beaconpost --help"},
		"up --nope":              {"-nope", "beaconpost up --help"},
		"up now":                 {`expected no arguments, got "now"`, "beaconpost up --help"},
		"ingest now":             {`expected no arguments, got "now"`},
		"migrate sideways":       {`there is no command "sideways"`, "beaconpost migrate --help"},
		"migrate up":             {"database-url", "beaconpost migrate up --help"},
		"migrate status":         {"database-url"},
		"token --ttl eternal":    {`"eternal"`, "-ttl"},
		"secrets reseal --keys=": {"database-url"},
		"monitors sideways":      {`there is no command "sideways"`, "beaconpost monitors --help"},
		"monitors apply":         {`"file"`, "beaconpost monitors apply --help"},
		"monitors list all":      {`expected no arguments, got "all"`},
	} {
		run(t, nil, strings.Fields(args)...).wantError(2, parts...)
	}
	for _, args := range []string{"", "help", "--help", "up --help", "help up", "migrate", "migrate --help", "migrate help up"} {
		require.Contains(t, run(t, nil, strings.Fields(args)...).wantCode(0).stdout.String(), "USAGE", args)
	}
}

func TestKeygen(t *testing.T) {
	t.Parallel()
	first, second := run(t, nil, "keygen").line(), run(t, nil, "keygen", "--id", "2026-11").line()
	require.True(t, strings.HasPrefix(first, "k1:"), first)
	require.True(t, strings.HasPrefix(second, "2026-11:"), second)
	require.NotEqual(t, strings.TrimPrefix(first, "k1:"), strings.TrimPrefix(run(t, nil, "keygen").line(), "k1:"))
	ring, err := secretbox.ParseKeyring(second + "," + first)
	require.NoError(t, err)
	require.Equal(t, "2026-11", ring.Primary())
	run(t, nil, "keygen", "--id", "not an id").wantError(1, "id")
}

// After a rollback of a release the program is older than the schema: it has nothing to do, which is no failure.
func TestMigrateLeavesANewerSchema(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	conn, err := pgx.Connect(t.Context(), db.OwnerURL)
	require.NoError(t, err)
	defer conn.Close(t.Context())
	_, err = conn.Exec(t.Context(), "INSERT INTO goose_db_version (version_id, is_applied) VALUES (99999, true)")
	require.NoError(t, err)
	environ := []string{"BEACONPOST_DATABASE_URL=" + db.OwnerURL}
	require.Equal(t, "nothing to apply", run(t, environ, "migrate", "up").line())
}

func TestToken(t *testing.T) {
	t.Parallel()
	_, environ := servers(t)
	i := up(t, t.TempDir(), environ)
	token := func(args ...string) servicetest.Client {
		return servicetest.Client{T: t, URL: i.URL, Token: run(t, nil, append([]string{"token", "--data-dir", i.dir}, args...)...).line()}
	}
	event := `{"event_type":"order.paid","payload":{}}`

	// Of the demo tenant, with all its scopes and not the operator's.
	own := token()
	id := sendEvent(own)
	own.Do(http.MethodGet, "/v1/events/"+id, nil).Want(200, nil)
	own.Do(http.MethodGet, "/v1/deliveries", nil).Want(200, nil)
	own.Do(http.MethodGet, "/v1/tenants", nil).WantProblem(403, "insufficient_scope", "")

	limited := token("--scope", "events:read", "--scope", "endpoints:read")
	limited.Do(http.MethodGet, "/v1/events/"+id, nil).Want(200, nil)
	limited.Do(http.MethodGet, "/v1/endpoints", nil).Want(200, nil)
	limited.Do(http.MethodPost, "/v1/events", event).WantProblem(403, "insufficient_scope", "")

	operator := token("--operator")
	var other struct {
		ID string `json:"id"`
	}
	operator.Do(http.MethodPost, "/v1/tenants", map[string]string{"name": "other"}).Want(201, &other)
	operator.Do(http.MethodGet, "/v1/events/"+id, nil).Want(403, nil)

	// Of another tenant, who does not see what the demo tenant has.
	foreign := token("--tenant", other.ID)
	foreign.Do(http.MethodGet, "/v1/events/"+id, nil).Want(404, nil)
	sendEvent(foreign)

	for args, part := range map[string]string{
		"--operator --tenant " + other.ID:     "--operator excludes --tenant and --scope",
		"--operator --scope events:read":      "--operator excludes --tenant and --scope",
		"--scope everything":                  `There is no scope "everything".`,
		"--scope operator":                    "use --operator",
		"--tenant nobody":                     "--tenant",
		"--ttl 0s":                            "--ttl",
		"--ttl -1h":                           "--ttl",
		"--data-dir " + t.TempDir():           "is `beaconpost up` running with this data directory?",
		"--data-dir /nonexistent --operator":  "/nonexistent",
		"--data-dir /dev/null --tenant " + id: "/dev/null",
	} {
		run(t, nil, append([]string{"token", "--data-dir", i.dir}, strings.Fields(args)...)...).wantError(1, part)
	}
	i.stop()
}

// A token that was minted before the first start is good once it has happened.
func TestTokenBeforeTheFirstStart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	token := run(t, nil, "token", "--data-dir", dir, "--operator").line()
	_, environ := servers(t)
	i := up(t, dir, environ)
	servicetest.Client{T: t, URL: i.URL, Token: token}.Do(http.MethodGet, "/v1/tenants", nil).Want(200, nil)
	i.stop()
}

// emptyDatabase gives a database of the owner without a schema.
func emptyDatabase(t *testing.T) (ownerURL string) {
	t.Helper()
	db := pgtest.New(t)
	name := db.Name + "_empty"
	exec := func(sql string) {
		conn, err := pgx.Connect(context.Background(), db.URL(pgcluster.Superuser))
		require.NoError(t, err)
		defer conn.Close(context.Background())
		_, err = conn.Exec(context.Background(), sql)
		require.NoError(t, err)
	}
	exec("CREATE DATABASE " + name + " OWNER " + pgcluster.RoleOwner)
	t.Cleanup(func() { exec("DROP DATABASE " + name + " WITH (FORCE)") })
	url, err := pgcluster.RoleURL(db.OwnerURL, pgcluster.RoleOwner, name)
	require.NoError(t, err)
	return url
}

func TestMigrate(t *testing.T) {
	t.Parallel()
	url := emptyDatabase(t)
	files, err := filepath.Glob("../../migrations/sql/*.sql")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	environ := []string{"BEACONPOST_DATABASE_URL=" + url}

	before := run(t, environ, "migrate", "status")
	before.wantError(1, "migrations are pending; run `beaconpost migrate up`")
	require.Equal(t, len(files), strings.Count(before.stdout.String(), "pending "))

	applied := run(t, environ, "migrate", "up").line()
	require.Equal(t, len(files), strings.Count(applied, "applied "))
	after := run(t, nil, "migrate", "status", "--database-url", url).line()
	for _, file := range files {
		require.Contains(t, applied, filepath.Base(file))
		require.Contains(t, after, filepath.Base(file))
	}
	require.NotContains(t, after, "pending")
	require.Equal(t, "nothing to apply", run(t, environ, "migrate", "up").line())
	require.Equal(t, []string{"true"}, query(t, url, `SELECT (count(*) > 0)::text FROM pg_tables WHERE schemaname = 'public' AND tablename = 'deliveries' AND tableowner = 'beaconpost_owner'`))

	// Jobs that start at the same time wait for each other.
	url = emptyDatabase(t)
	one, two := start(t, nil, "migrate", "up", "--database-url", url), start(t, nil, "migrate", "up", "--database-url", url)
	both := one.line() + "\n" + two.line()
	require.Equal(t, len(files), strings.Count(both, "applied "))
	require.Equal(t, 1, strings.Count(both, "nothing to apply"))

	for url, part := range map[string]string{
		"postgres://beacon:topsecret@127.0.0.1:" + freePort(t) + "/beacon": "connection refused",
		"postgres://beacon:topsecret@127.0.0.1:nonsense/beacon":            "cannot parse",
		"host=127.0.0.1 password=topsecret nonsense":                       "cannot parse",
	} {
		for _, command := range []string{"up", "status"} {
			p := run(t, nil, "migrate", command, "--database-url", url)
			p.wantError(1, part)
			require.NotContains(t, p.stderr.String(), "topsecret")
		}
	}
}

// `listen` and `send` find a running `up` by its data directory.
func TestSendToUp(t *testing.T) {
	t.Parallel()
	_, environ := servers(t)
	i := up(t, t.TempDir(), environ)
	file, err := demo.Read(i.dir)
	require.NoError(t, err)
	require.Equal(t, i.APIKey, file.APIKey)
	receiver := start(t, nil, "listen", "--data-dir", i.dir, "--register", "--listen", "127.0.0.1:0", "--max", "1", "--json")
	receiver.await("it has an endpoint", func() bool { return strings.Contains(receiver.stderr.String(), "Created endpoint") })
	id := run(t, nil, "send", "--data-dir", i.dir, "order.paid", `{"order": 42}`).wantCode(0)
	receiver.wantCode(0)
	require.Contains(t, receiver.stdout.String(), strings.Fields(id.stdout.String())[0])
	require.Contains(t, receiver.stderr.String(), "Deleted endpoint")
	i.stop()
}
