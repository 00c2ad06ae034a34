package beaconpost_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// requireNotStarted expects that the problem was found before Postgres was made.
func requireNotStarted(t *testing.T, dir string) {
	t.Helper()
	require.NoFileExists(t, filepath.Join(dir, "postgres.lock"))
	require.NoDirExists(t, filepath.Join(dir, "postgres"))
	requireNothingLeft(t, dir)
}

func TestUpTwiceOnOneDirectory(t *testing.T) {
	t.Parallel()
	first := up(t, sharedTempDir(t), nil)
	startUp(t, first.dir, nil).wantError(1, "in use by another beaconpost up", "(pid "+strconv.Itoa(first.cmd.Process.Pid)+")", "--data-dir")
	first.client().Do(http.MethodGet, "/v1/endpoints", nil).Want(200, nil)
	first.stop()
}

func TestUpOnATakenPort(t *testing.T) {
	t.Parallel()
	dir, port := sharedTempDir(t), takenPort(t)
	startUp(t, dir, nil, "--listen", "127.0.0.1:"+port).wantError(1, "127.0.0.1:"+port, "another program uses this port", "--listen")
	requireNotStarted(t, dir)
	startUp(t, dir, nil, "--listen", "nonsense").wantError(1, "nonsense", "--listen")
}

func TestUpWithATakenAdminPort(t *testing.T) {
	t.Parallel()
	dir, port := sharedTempDir(t), takenPort(t)
	p := startUp(t, dir, nil, "--admin-ports", strings.Join([]string{freePort(t), port, freePort(t)}, ","))
	p.wantError(1, "admin port of delivery", "127.0.0.1:"+port, "another program uses this port", "--admin-ports")
	requireNothingLeft(t, dir)
	require.NoFileExists(t, filepath.Join(dir, "demo.json"))
}

func TestUpWithAdminPortsOfYourOwn(t *testing.T) {
	t.Parallel()
	ports := []string{freePort(t), freePort(t), freePort(t)}
	i := up(t, sharedTempDir(t), nil, "--admin-ports", strings.Join(ports, ", "))
	require.Equal(t, map[string]string{"ingest": "127.0.0.1:" + ports[0], "delivery": "127.0.0.1:" + ports[1], "monitor": "127.0.0.1:" + ports[2]}, i.Admin)
	i.stop()
}

func TestUpWithUnusableAdminPorts(t *testing.T) {
	t.Parallel()
	dir := sharedTempDir(t)
	for _, ports := range []string{"", "9090", "9090,9091", "9090,9091,9092,9093", "a,b,c", "9090,9091,65536", "9090,9091,-1", "9090,9091,0", "Random"} {
		startUp(t, dir, nil, "--admin-ports", ports).wantError(2, "admin-ports", "expected random, or three ports such as 9090,9091,9092")
	}
	requireNotStarted(t, dir)
}

func TestUpInAnUnusableDirectory(t *testing.T) {
	t.Parallel()
	dir := sharedTempDir(t)
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	startUp(t, file, nil).wantError(1, file, "not a directory", "--data-dir")
	startUp(t, filepath.Join(file, "below"), nil).wantError(1, file, "not a directory", "--data-dir")

	// Something else's data is not touched.
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "used", "postgres", "precious"), 0o755))
	startUp(t, filepath.Join(dir, "used"), nil).wantError(1, "holds something other than a postgres cluster")
	require.DirExists(t, filepath.Join(dir, "used", "postgres", "precious"))

	if os.Geteuid() == 0 {
		// Postgres runs as somebody else, who cannot get there.
		closed := filepath.Join(dir, "closed")
		require.NoError(t, os.Mkdir(closed, 0o700))
		startUp(t, filepath.Join(closed, "data"), nil).wantError(1, "cannot be entered", "chmod o+x "+closed)
		return
	}
	readOnly := filepath.Join(dir, "readonly")
	require.NoError(t, os.Mkdir(readOnly, 0o500))
	startUp(t, readOnly, nil).wantError(1, readOnly, "not writable", "--data-dir")
	startUp(t, filepath.Join(readOnly, "below"), nil).wantError(1, readOnly, "permission denied", "--data-dir")
}

func TestUpWithoutPostgres(t *testing.T) {
	t.Parallel()
	dir := sharedTempDir(t)
	p := startUp(t, dir, []string{"BEACONPOST_POSTGRES_BIN=/nonexistent"})
	p.wantError(1, "no postgres and initdb in /nonexistent", "apt-get install postgresql", "BEACONPOST_POSTGRES_BIN")
	require.NoDirExists(t, filepath.Join(dir, "postgres"))
}

func TestUpWithUnusableConfiguration(t *testing.T) {
	t.Parallel()
	dir := sharedTempDir(t)
	p := startUp(t, dir, []string{"BEACONPOST_DELIVERY_TIMEOT=5s", "BEACONPOST_DELIVERY_RETRY_CAP=soon", "BEACONPOST_STREAM_REPLICAS=2"})
	p.wantError(2,
		"BEACONPOST_DELIVERY_TIMEOT: is not a known variable, did you mean BEACONPOST_DELIVERY_TIMEOUT?",
		`BEACONPOST_DELIVERY_RETRY_CAP: "soon" is not a duration`,
		"BEACONPOST_STREAM_REPLICAS: expected 1, 3 or 5",
	)
	require.Equal(t, 1, strings.Count(p.stderr.String(), "did you mean"), "each problem is told once")
	requireNotStarted(t, dir)
}

func TestUpWithADatabaseThatIsAway(t *testing.T) {
	t.Parallel()
	dir := sharedTempDir(t)
	p := startUp(t, dir, []string{"BEACONPOST_DATABASE_URL=postgres://beacon:topsecret@127.0.0.1:" + freePort(t) + "/beacon"})
	p.wantError(1, "BEACONPOST_DATABASE_URL", "connection refused")
	require.NotContains(t, p.stderr.String(), "topsecret")
	requireNotStarted(t, dir)
}
