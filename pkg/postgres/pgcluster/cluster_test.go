package pgcluster_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/postgres/pgcluster"
)

func TestDataSurvivesRestart(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(tempDir(t), "deep", "er", "postgres")
	first := start(t, dir)
	exec1(t, first, "CREATE TABLE kept AS SELECT 'yes' AS answer")
	require.NoError(t, first.Stop(soon(t)))
	require.NoError(t, first.Stop(soon(t)), "a second stop does nothing")
	<-first.Exited()
	require.NoError(t, first.Err())
	require.False(t, alive(first.PID()))

	second := start(t, dir)
	require.Equal(t, "yes", ask(t, second.URL(pgcluster.Superuser, "postgres"), "SELECT answer FROM kept"))
}

func TestIsDurableUnlessEphemeral(t *testing.T) {
	t.Parallel()
	c, err := pgcluster.Start(t.Context(), pgcluster.Config{
		Dir:      filepath.Join(tempDir(t), "postgres"),
		Settings: map[string]string{"max_connections": "17", "listen_addresses": "*", "port": "5999"},
	})
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Stop(soon(t))) }()
	for setting, want := range map[string]string{
		"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on",
		"max_connections": "17", "listen_addresses": "", "port": "5432", "server_encoding": "UTF8",
	} {
		require.Equal(t, want, ask(t, c.URL(pgcluster.Superuser, "postgres"), "SHOW "+setting), setting)
	}
}

func TestKilledServerStartsAgain(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(tempDir(t), "postgres")
	first, err := pgcluster.Start(t.Context(), pgcluster.Config{Dir: dir}) // durable: what was committed is there again
	require.NoError(t, err)
	exec1(t, first, "CREATE TABLE kept AS SELECT 'yes' AS answer")
	busy, err := pgx.Connect(t.Context(), first.URL(pgcluster.Superuser, "postgres"))
	require.NoError(t, err)
	defer busy.Close(soon(t))
	// A child in a tight loop survives its postmaster for a while.
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = busy.Exec(context.Background(), "SELECT count(*) FROM generate_series(1, 3000000)")
	}()
	require.NoError(t, syscall.Kill(first.PID(), syscall.SIGKILL))
	<-first.Exited()
	require.ErrorContains(t, first.Err(), "killed")
	require.NoError(t, first.Stop(soon(t)))

	second := start(t, dir)
	require.Equal(t, "yes", ask(t, second.URL(pgcluster.Superuser, "postgres"), "SELECT answer FROM kept"))
	<-done
}

// The id in a dead server's postmaster.pid may belong to anything by now, above all in a container.
func TestStalePIDFile(t *testing.T) {
	t.Parallel()
	stranger := exec.Command("sleep", "600")
	stranger.SysProcAttr = &syscall.SysProcAttr{}
	if os.Geteuid() == 0 {
		uid := idOf(t, "postgres")
		stranger.SysProcAttr.Credential = &syscall.Credential{Uid: uid, Gid: uid} // Postgres ignores other users' processes
	}
	require.NoError(t, stranger.Start())
	defer func() {
		_ = stranger.Process.Kill()
		_ = stranger.Wait()
	}()
	zombie := exec.Command("true") // a server whose parent does not wait for it
	require.NoError(t, zombie.Start())
	defer func() { _ = zombie.Wait() }()

	for name, pid := range map[string]int{
		"nobody": 1<<22 - 3, "stranger": stranger.Process.Pid, "self": os.Getpid(), "zombie": zombie.Process.Pid,
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(tempDir(t), "postgres")
			first := start(t, dir)
			file, err := os.ReadFile(filepath.Join(dir, "postmaster.pid"))
			require.NoError(t, err)
			require.NoError(t, syscall.Kill(first.PID(), syscall.SIGKILL))
			<-first.Exited()
			require.NoError(t, first.Stop(soon(t)))
			_, rest, _ := strings.Cut(string(file), "\n")
			require.NoError(t, os.WriteFile(filepath.Join(dir, "postmaster.pid"), fmt.Appendf(nil, "%d\n%s", pid, rest), 0o600))

			start(t, dir)
			require.NoError(t, stranger.Process.Signal(syscall.Signal(0)))
		})
	}
}

func TestServerDiesWithItsParent(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(tempDir(t), "postgres")
	owner, line := startHelper(t, dir, 0)
	pid, err := strconv.Atoi(line)
	require.NoError(t, err, line)
	require.True(t, alive(pid))
	require.NoError(t, owner.Process.Kill())
	_ = owner.Wait()
	requireGone(t, pid)
	start(t, dir)
}

// An orphan exists where the kernel does not tell children of their parent's death. Here the test plays that kernel: a server that
// nobody owns, started by hand.
func TestOrphanIsStopped(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(tempDir(t), "postgres")
	c := start(t, dir)
	exec1(t, c, "CREATE TABLE kept AS SELECT 'yes' AS answer")
	args, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", c.PID()))
	require.NoError(t, err)
	require.NoError(t, c.Stop(soon(t)))

	argv := strings.Split(strings.TrimSuffix(string(args), "\x00"), "\x00")
	orphan := exec.Command(argv[0], argv[1:]...)
	orphan.SysProcAttr = &syscall.SysProcAttr{}
	if os.Geteuid() == 0 {
		uid := idOf(t, "postgres")
		orphan.SysProcAttr.Credential = &syscall.Credential{Uid: uid, Gid: uid}
		orphan.Dir = "/"
	}
	require.NoError(t, orphan.Start())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = orphan.Wait()
	}()
	require.Eventually(t, func() bool {
		conn, err := pgx.Connect(t.Context(), c.URL(pgcluster.Superuser, "postgres"))
		if err != nil {
			return false
		}
		return conn.Close(t.Context()) == nil
	}, waitLong, waitStep)

	next := start(t, dir)
	<-ended
	require.Equal(t, "yes", ask(t, next.URL(pgcluster.Superuser, "postgres"), "SELECT answer FROM kept"))
}

func TestSecondOwnerIsRefused(t *testing.T) {
	t.Parallel()
	base := tempDir(t)
	dir := filepath.Join(base, "postgres")
	c := start(t, dir)
	alias := filepath.Join(base, "alias")
	require.NoError(t, os.Symlink(dir, alias))
	for _, name := range []string{dir, alias} {
		_, err := pgcluster.Start(t.Context(), pgcluster.Config{Dir: name, Ephemeral: true})
		require.ErrorIs(t, err, pgcluster.ErrLocked)
		require.ErrorContains(t, err, strconv.Itoa(os.Getpid()))
	}
	_, line := startHelper(t, dir, 0)
	require.Contains(t, line, pgcluster.ErrLocked.Error())
	exec1(t, c, "SELECT 1")
}

func TestOnlyOneOfManyStarts(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(tempDir(t), "postgres")
	var wg sync.WaitGroup
	results := make(chan error, 4)
	for range cap(results) {
		wg.Go(func() {
			c, err := pgcluster.Start(context.Background(), pgcluster.Config{Dir: dir, Ephemeral: true})
			if err == nil {
				t.Cleanup(func() { _ = c.Stop(soon(t)) })
			}
			results <- err
		})
	}
	wg.Wait()
	close(results)
	var won int
	for err := range results {
		if err == nil {
			won++
			continue
		}
		require.ErrorIs(t, err, pgcluster.ErrLocked)
	}
	require.Equal(t, 1, won)
}

func TestStopEscalates(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(tempDir(t), "postgres")
	c := start(t, dir)
	require.NoError(t, syscall.Kill(c.PID(), syscall.SIGSTOP)) // deaf until it is woken
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	stopped := make(chan error)
	go func() { stopped <- c.Stop(gone) }()
	require.Eventually(t, func() bool { return pending(t, c.PID(), syscall.SIGQUIT) }, waitLong, waitStep)
	require.NoError(t, syscall.Kill(c.PID(), syscall.SIGCONT))
	require.ErrorIs(t, <-stopped, context.Canceled)
	require.ErrorIs(t, c.Stop(soon(t)), context.Canceled)
	require.False(t, alive(c.PID()))
	start(t, dir)
}

// pending reports whether a signal waits for a process.
func pending(t *testing.T, pid int, sig syscall.Signal) bool {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(t, err)
	_, mask, _ := strings.Cut(string(status), "ShdPnd:\t")
	mask, _, _ = strings.Cut(mask, "\n")
	bits, err := strconv.ParseUint(mask, 16, 64)
	require.NoError(t, err)
	return bits&(1<<(sig-1)) != 0
}

func TestLongPath(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(tempDir(t), strings.Repeat("long", 20), "it's a \"place\", really", "postgres")
	c := start(t, dir)
	exec1(t, c, "SELECT 1")
	sockets := ask(t, c.URL(pgcluster.Superuser, "postgres"), "SHOW unix_socket_directories")
	sockets = strings.Trim(sockets, `"`)
	info, err := os.Stat(sockets)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())

	require.NoError(t, syscall.Kill(c.PID(), syscall.SIGKILL))
	<-c.Exited()
	require.NoError(t, c.Stop(soon(t)))
	c = start(t, dir)
	require.NoError(t, c.Stop(soon(t)))
	_, err = os.Stat(sockets)
	require.ErrorIs(t, err, os.ErrNotExist, "removed by stop")
}

func TestInterruptedInitdb(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(tempDir(t), "postgres")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := pgcluster.Start(ctx, pgcluster.Config{Dir: dir, Ephemeral: true})
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, os.MkdirAll(filepath.Join(dir+".init", "base"), 0o700))
	require.NoError(t, os.Mkdir(dir, 0o700)) // an empty directory is welcome
	start(t, dir)
}
