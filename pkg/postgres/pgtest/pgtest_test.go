package pgtest_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/beaconpost/beaconpost/pkg/postgres/pgcluster"
	"github.com/beaconpost/beaconpost/pkg/postgres/pgtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	return conn // left open: the database is dropped nevertheless
}

func TestDatabasesAreIsolated(t *testing.T) {
	t.Parallel()
	one, two := pgtest.New(t), pgtest.New(t)
	require.NotEqual(t, one.Name, two.Name)
	_, err := connect(t, one.OwnerURL).Exec(t.Context(), "CREATE TABLE mine AS SELECT 1")
	require.NoError(t, err)
	_, err = connect(t, two.OwnerURL).Exec(t.Context(), "SELECT * FROM mine")
	require.ErrorContains(t, err, "does not exist")
}

func TestHasSchemaAndRoles(t *testing.T) {
	t.Parallel()
	d := pgtest.New(t)
	app := connect(t, d.AppURL)
	var who, where string
	require.NoError(t, app.QueryRow(t.Context(), "SELECT current_user, current_database()").Scan(&who, &where))
	require.Equal(t, pgcluster.RoleApp, who)
	require.Equal(t, d.Name, where)
	for _, role := range []string{"beaconpost_api", "beaconpost_ingest", "beaconpost_delivery", "beaconpost_monitor"} {
		_, err := app.Exec(t.Context(), "SET ROLE "+role)
		require.NoError(t, err)
	}
	var tables int
	const query = `SELECT count(*) FROM pg_tables WHERE schemaname = 'public' AND tableowner = 'beaconpost_owner'`
	require.NoError(t, connect(t, d.OwnerURL).QueryRow(t.Context(), query).Scan(&tables))
	require.Positive(t, tables)
}

func TestDatabaseIsDropped(t *testing.T) {
	t.Parallel()
	watcher := pgtest.New(t)
	var name string
	t.Run("user", func(t *testing.T) {
		d := pgtest.New(t)
		connect(t, d.AppURL)
		name = d.Name
	})
	var exists bool
	const query = `SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)`
	require.NoError(t, connect(t, watcher.OwnerURL).QueryRow(t.Context(), query, name).Scan(&exists))
	require.False(t, exists)
}

// Like `go test ./...` on a machine where nothing runs yet: every process wants the server, the template and its databases at once.
func TestManyProcesses(t *testing.T) {
	t.Parallel()
	if os.Getenv("BEACONPOST_TEST_DATABASE_URL") != "" {
		t.Skip("about the shared server")
	}
	temp := t.TempDir()
	require.NoError(t, os.Chmod(filepath.Dir(temp), 0o755)) // for the user that runs Postgres

	var processes []*exec.Cmd
	for range 3 {
		cmd := exec.Command("/proc/self/exe", "-test.run", "^(TestDatabasesAreIsolated|TestHasSchemaAndRoles|TestDatabaseIsDropped)$", "-test.count=3")
		cmd.Env = append(os.Environ(), "TMPDIR="+temp)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		require.NoError(t, cmd.Start())
		processes = append(processes, cmd)
	}
	for _, cmd := range processes {
		require.NoError(t, cmd.Wait())
	}
	files, err := filepath.Glob(filepath.Join(temp, "*", "postgres", "postmaster.pid"))
	require.NoError(t, err)
	require.Len(t, files, 1, "one server for all")
	require.Eventually(t, func() bool {
		_, err := os.Stat(files[0])
		return os.IsNotExist(err)
	}, 30*time.Second, 100*time.Millisecond, "it ends when nobody uses it")
}
