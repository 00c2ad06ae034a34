package pgcluster_test

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/postgres/pgcluster"
)

const (
	waitLong = 20 * time.Second
	waitStep = 50 * time.Millisecond
)

func idOf(t *testing.T, name string) uint32 {
	t.Helper()
	u, err := user.Lookup(name)
	require.NoError(t, err)
	id, err := strconv.ParseUint(u.Uid, 10, 32)
	require.NoError(t, err)
	return uint32(id)
}

func requireRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("shows what root sees")
	}
}

func TestRootRunsServerAsPostgres(t *testing.T) {
	t.Parallel()
	requireRoot(t)
	dir := filepath.Join(tempDir(t), "made", "by-root", "postgres")
	c := start(t, dir)
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.PID()))
	require.NoError(t, err)
	id := idOf(t, "postgres")
	require.Contains(t, string(status), fmt.Sprintf("Uid:\t%[1]d\t%[1]d\t%[1]d\t%[1]d\n", id))
	info, err := os.Stat(dir)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
}

// A cluster made by another user is taken over as a whole.
func TestRootTakesDirectoryOver(t *testing.T) {
	t.Parallel()
	requireRoot(t)
	dir := filepath.Join(tempDir(t), "postgres")
	require.NoError(t, start(t, dir).Stop(soon(t)))
	nobody := int(idOf(t, "nobody"))
	require.NoError(t, filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		require.NoError(t, err)
		return os.Lchown(path, nobody, nobody)
	}))
	start(t, dir)
}

func TestClosedParentIsNamed(t *testing.T) {
	t.Parallel()
	requireRoot(t)
	closed := filepath.Join(tempDir(t), "home")
	require.NoError(t, os.Mkdir(closed, 0o700))
	_, err := pgcluster.Start(t.Context(), pgcluster.Config{Dir: filepath.Join(closed, "data", "postgres")})
	require.ErrorIs(t, err, pgcluster.ErrNotTraversable)
	require.ErrorContains(t, err, closed+":")
	require.ErrorContains(t, err, "--data-dir")
}

func TestNotWritable(t *testing.T) {
	t.Parallel()
	parent := filepath.Join(tempDir(t), "parent")
	require.NoError(t, os.Mkdir(parent, 0o555))
	uid := uint32(0)
	if os.Geteuid() == 0 {
		uid = idOf(t, "postgres")
	}
	for _, dir := range []string{filepath.Join(parent, "postgres"), filepath.Join(parent, "deeper", "postgres")} {
		_, line := startHelper(t, dir, uid)
		require.Contains(t, line, pgcluster.ErrNotWritable.Error())
		require.Contains(t, line, parent)
	}
}

func TestNotRootWorksToo(t *testing.T) {
	t.Parallel()
	requireRoot(t)
	home := tempDir(t)
	uid := idOf(t, "postgres")
	require.NoError(t, os.Chown(home, int(uid), int(uid)))
	var pid int
	t.Cleanup(func() { // after the helper's end: its server notices that a moment later, and writes until then
		require.Eventually(t, func() bool { return pid == 0 || !alive(pid) }, 20*time.Second, 10*time.Millisecond)
	})
	_, line := startHelper(t, filepath.Join(home, "data", "postgres"), uid)
	var err error
	pid, err = strconv.Atoi(line)
	require.NoError(t, err, line)
	require.True(t, alive(pid))
}

func TestBinariesMissing(t *testing.T) {
	t.Parallel()
	_, err := pgcluster.Start(t.Context(), pgcluster.Config{Dir: filepath.Join(tempDir(t), "postgres"), BinDir: t.TempDir()})
	require.ErrorIs(t, err, pgcluster.ErrBinariesMissing)
	require.ErrorContains(t, err, "apt-get install postgresql")
	require.ErrorContains(t, err, "BEACONPOST_POSTGRES_BIN")
}

func TestVersions(t *testing.T) {
	t.Parallel()
	old := tempDir(t)
	for _, program := range []string{"postgres", "initdb"} {
		script := "#!/bin/sh\necho 'postgres (PostgreSQL) 9.6.24'\n"
		require.NoError(t, os.WriteFile(filepath.Join(old, program), []byte(script), 0o755))
	}
	_, err := pgcluster.Start(t.Context(), pgcluster.Config{Dir: filepath.Join(tempDir(t), "postgres"), BinDir: old})
	require.ErrorIs(t, err, pgcluster.ErrVersionMismatch)
	require.ErrorContains(t, err, "found 9 in "+old)

	dir := filepath.Join(tempDir(t), "postgres")
	require.NoError(t, os.Mkdir(dir, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "PG_VERSION"), []byte("99\n"), 0o600))
	_, err = pgcluster.Start(t.Context(), pgcluster.Config{Dir: dir})
	require.ErrorIs(t, err, pgcluster.ErrVersionMismatch)
	require.ErrorContains(t, err, "postgresql-99")
}

func TestForeignDirectoryIsLeftAlone(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(tempDir(t), "photos")
	require.NoError(t, os.Mkdir(dir, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "cat.jpg"), nil, 0o600))
	_, err := pgcluster.Start(t.Context(), pgcluster.Config{Dir: dir})
	require.ErrorIs(t, err, pgcluster.ErrNotCluster)
	require.FileExists(t, filepath.Join(dir, "cat.jpg"))
}

func TestServersComplaintIsShown(t *testing.T) {
	t.Parallel()
	_, err := pgcluster.Start(t.Context(), pgcluster.Config{
		Dir: filepath.Join(tempDir(t), "postgres"), Ephemeral: true, Settings: map[string]string{"shared_buffers": "plenty"},
	})
	require.ErrorIs(t, err, pgcluster.ErrStartFailed)
	require.ErrorContains(t, err, `invalid value for parameter "shared_buffers": "plenty"`)
	require.False(t, strings.Contains(err.Error(), "\n"))
}
