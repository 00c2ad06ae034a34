package pgcluster_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/postgres/pgcluster"
)

func share(t *testing.T, dir string) *pgcluster.Lease {
	t.Helper()
	lease, err := pgcluster.Share(t.Context(), pgcluster.Config{Dir: dir, Ephemeral: true}, time.Second)
	require.NoError(t, err)
	t.Cleanup(func() { _ = lease.Release(soon(t)) })
	return lease
}

// sharedPID reads which process serves a directory.
func sharedPID(t *testing.T, dir string) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "postmaster.pid"))
	require.NoError(t, err)
	first, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(first)
	require.NoError(t, err)
	return pid
}

func TestSharedServerEndsWithItsLastLease(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(tempDir(t), "postgres")
	one, two := share(t, dir), share(t, dir)
	pid := sharedPID(t, dir)
	url := one.URL(pgcluster.Superuser, "postgres")
	require.Equal(t, url, two.URL(pgcluster.Superuser, "postgres"))
	require.NoError(t, one.Release(soon(t)))

	// Several looks of the reaper later the other lease still holds it.
	require.Equal(t, "on", ask(t, url, "SELECT 'on' FROM pg_sleep(3)"))
	require.NoError(t, two.Release(soon(t)))
	requireGone(t, pid)

	again := share(t, dir) // a new one, and empty
	require.NotEqual(t, pid, sharedPID(t, dir))
	require.Equal(t, "off", ask(t, again.URL(pgcluster.Superuser, "postgres"), "SHOW fsync"))
	require.NoError(t, again.Release(soon(t)))
	requireGone(t, sharedPID(t, dir))
}

func TestSharedServerOutlivesCrashes(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(tempDir(t), "postgres")
	lease := share(t, dir)
	pid := sharedPID(t, dir)

	// A crash of the reaper makes Postgres restart all its sessions; the next lease brings a new reaper.
	const query = `SELECT pid::text FROM pg_stat_activity WHERE application_name = 'reaper'`
	url := lease.URL(pgcluster.Superuser, "postgres")
	reaper, err := strconv.Atoi(ask(t, url, query))
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(reaper, syscall.SIGKILL))
	requireLost(t, lease)
	next := share(t, dir)
	require.Equal(t, pid, sharedPID(t, dir))
	require.NotEqual(t, strconv.Itoa(reaper), ask(t, url, query))
	require.NoError(t, next.Release(soon(t)))
	requireGone(t, pid)

	// A killed server is replaced.
	last := share(t, dir)
	pid = sharedPID(t, dir)
	require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
	requireGone(t, pid)
	requireLost(t, last)
	last = share(t, dir)
	require.NoError(t, last.Release(soon(t)))
	requireGone(t, sharedPID(t, dir))
}

func requireLost(t *testing.T, lease *pgcluster.Lease) {
	t.Helper()
	require.Eventually(t, func() bool { return lease.Conn().Ping(t.Context()) != nil }, waitLong, waitStep)
}

func TestLeasesComeAndGo(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(tempDir(t), "postgres")
	var wg sync.WaitGroup
	for n := range 4 {
		wg.Go(func() {
			for round := range 4 {
				// Around the idle time, so that some arrive while the server is ending.
				<-time.After(time.Duration(800+100*n+50*round) * time.Millisecond)
				lease, err := pgcluster.Share(t.Context(), pgcluster.Config{Dir: dir, Ephemeral: true}, time.Second)
				if err != nil {
					t.Error(err)
					return
				}
				var one int
				if err := lease.Conn().QueryRow(t.Context(), "SELECT 1").Scan(&one); err != nil {
					t.Error(err)
				}
				if err := lease.Release(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	require.Eventually(t, func() bool {
		_, err := os.Stat(filepath.Join(dir, "postmaster.pid"))
		return os.IsNotExist(err)
	}, waitLong, waitStep)
}

func TestOnlyThrowAwayClustersAreShared(t *testing.T) {
	t.Parallel()
	_, err := pgcluster.Share(t.Context(), pgcluster.Config{Dir: filepath.Join(tempDir(t), "postgres")}, time.Second)
	require.ErrorContains(t, err, "ephemeral")
}
