package pgcluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// Lease keeps a shared server running. Not for concurrent use.
type Lease struct {
	conn    *pgx.Conn
	sockets string
}

// Share uses the throw-away server on cfg.Dir together with every other process that calls Share on it, and starts it when
// none runs. The server has no owner: it ends by itself when nobody held a lease for the given time, in whole
// seconds, however the holders ended. A server that has to be started starts empty: the directory is deleted first, so
// leftovers never pile up. cfg has to be Ephemeral, and never the directory of a Start.
func Share(ctx context.Context, cfg Config, idle time.Duration) (*Lease, error) {
	if !cfg.Ephemeral {
		return nil, errors.New("share postgres: only an ephemeral cluster can be shared")
	}
	in, err := newInstance(cfg)
	if err != nil {
		return nil, fmt.Errorf("share postgres: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, in.startTimeout)
	defer cancel()
	if lease, err := in.attach(ctx, idle); err == nil {
		return lease, nil
	}
	lock, err := waitLock(ctx, in.lockPath())
	if err != nil {
		return nil, fmt.Errorf("share postgres: %w", err)
	}
	defer lock.release()
	lease, err := in.attachOrStart(ctx, idle)
	if err != nil {
		return nil, fmt.Errorf("share postgres: %w", err)
	}
	return lease, nil
}

// attachOrStart never starts a server while one lives, however hard that is to reach: others may be using it, or it
// is about to end. The caller holds the directory's lock.
func (in *instance) attachOrStart(ctx context.Context, idle time.Duration) (*Lease, error) {
	for {
		lease, err := in.attach(ctx, idle)
		if err == nil {
			return lease, nil
		}
		if errors.Is(err, errNotRunning) {
			return in.startShared(ctx, idle)
		}
		if !pause(ctx, pollInterval) {
			return nil, err
		}
	}
}

// URL is the connection URL of a role and database.
func (l *Lease) URL(user, database string) string { return socketURL(l.sockets, user, database) }

// Conn is the lease's own connection, a superuser's to the database postgres. It stays the lease's to close.
func (l *Lease) Conn() *pgx.Conn { return l.conn }

// Release gives the lease up; the server may end after the idle time.
func (l *Lease) Release(ctx context.Context) error {
	if err := l.conn.Close(ctx); err != nil {
		return fmt.Errorf("release shared postgres: %w", err)
	}
	return nil
}

// attach takes a lease on the running server.
func (in *instance) attach(ctx context.Context, idle time.Duration) (*Lease, error) {
	file, ok, err := readPIDFile(in.dir)
	if err != nil {
		return nil, err
	}
	if !ok || !serves(ctx, file.pid, in.dir) {
		return nil, errNotRunning
	}
	return newLease(ctx, file.sockets, idle)
}

func newLease(ctx context.Context, socketDir string, idle time.Duration) (*Lease, error) {
	if socketDir == "" {
		return nil, errors.New("the server has no socket yet")
	}
	conn, err := connect(ctx, socketDir)
	if err != nil {
		return nil, err
	}
	lease := &Lease{conn: conn, sockets: socketDir}
	if err := lease.hold(ctx, idle); err != nil {
		_ = conn.Close(ctx)
		return nil, err
	}
	return lease, nil
}

// startShared starts a server on an empty directory. Nobody is its parent for long.
func (in *instance) startShared(ctx context.Context, idle time.Duration) (*Lease, error) {
	if err := os.RemoveAll(in.dir); err != nil {
		return nil, wrapAccess("remove old cluster", err)
	}
	if err := in.initialise(ctx); err != nil {
		return nil, err
	}
	cmd, log, err := in.command()
	if err != nil {
		return nil, err
	}
	defer log.file.Close()
	cmd.SysProcAttr.Setsid = true // it outlives this process and its terminal
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("run postgres: %w", err)
	}
	pid := cmd.Process.Pid
	if err := cmd.Process.Release(); err != nil {
		return nil, fmt.Errorf("release postgres: %w", err)
	}
	err = in.waitReady(ctx, func() (bool, error) { return reaped(pid) })
	if err == nil {
		var lease *Lease
		if lease, err = newLease(ctx, in.sockets.path, idle); err == nil {
			return lease, nil
		}
	}
	_ = syscall.Kill(pid, syscall.SIGQUIT)
	return nil, in.explain(err, log.start)
}

// reaped collects a child that has ended, without waiting for one that has not.
func reaped(pid int) (bool, error) {
	var status syscall.WaitStatus
	got, err := syscall.Wait4(pid, &status, syscall.WNOHANG, nil)
	switch {
	case errors.Is(err, syscall.EINTR) || (err == nil && got == 0):
		return false, nil
	case err != nil:
		return true, fmt.Errorf("wait for postgres: %w", err)
	default:
		return true, fmt.Errorf("exit status %d", status.ExitStatus())
	}
}
