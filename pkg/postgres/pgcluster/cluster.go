// Package pgcluster runs a private Postgres for this process, or one that test processes share.
//
// It owns the cluster's directory, its server process and how both end: the server is reached through a unix socket
// that only its user and root can open, never runs as root, and goes away with its parent, even after kill -9. It also
// creates what every Beaconpost database needs before the first service connects (Bootstrap). It knows no schema.
package pgcluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Superuser is the cluster's superuser. It has no password: whoever can open the socket may use it.
const Superuser = "postgres"

const (
	defaultStartTimeout = 2 * time.Minute
	quitTimeout         = 15 * time.Second
)

// Config describes a cluster. Only Dir is required.
type Config struct {
	Dir          string            // PGDATA; created when missing. Dir.lock, Dir.log and, while initdb runs, Dir.init lie beside it
	BinDir       string            // where postgres and initdb are; default: the usual places, see ErrBinariesMissing
	Settings     map[string]string // extra postgresql.conf settings; where the server listens cannot be changed
	LogFile      string            // the server's log, appended to; default Dir.log
	Ephemeral    bool              // fast and not durable, for tests
	StartTimeout time.Duration     // bounds Start, crash recovery included; default 2 minutes
}

// Cluster is a running server that belongs to this process. Its methods may be called concurrently.
type Cluster struct {
	in   *instance
	lock *dirLock
	proc *process

	mu      sync.Mutex // held while stopping
	stopped bool
	stopErr error
}

// Start runs the server of a cluster, which it creates first when the directory has none, and returns when the
// server accepts connections. A server that an earlier, killed owner left behind on the directory is stopped before.
// Errors match one of the Err values where a user can do something about them. ctx bounds the start only.
func Start(ctx context.Context, cfg Config) (*Cluster, error) {
	in, err := newInstance(cfg)
	if err != nil {
		return nil, fmt.Errorf("start postgres: %w", err)
	}
	lock, err := tryLock(in.lockPath())
	if err != nil {
		return nil, fmt.Errorf("start postgres: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, in.startTimeout)
	defer cancel()
	proc, err := in.startOwned(ctx)
	if err != nil {
		in.sockets.remove()
		lock.release()
		return nil, fmt.Errorf("start postgres: %w", err)
	}
	return &Cluster{in: in, lock: lock, proc: proc}, nil
}

// URL is the connection URL of a role and database. It names no password, because none is needed.
func (c *Cluster) URL(user, database string) string {
	return socketURL(c.in.sockets.path, user, database)
}

// PID is the postmaster's process id.
func (c *Cluster) PID() int { return c.proc.pid() }

// Exited is closed when the server has ended, for whatever reason. The directory stays locked until Stop.
func (c *Cluster) Exited() <-chan struct{} { return c.proc.done }

// Err says why the server ended: nil while it runs and after a clean end.
func (c *Cluster) Err() error {
	select {
	case <-c.proc.done:
	default:
		return nil
	}
	if c.proc.err == nil {
		return nil
	}
	return fmt.Errorf("postgres ended: %w", c.in.explain(c.proc.err, c.proc.logStart))
}

// Stop ends the server by a fast shutdown, which aborts open transactions and writes a checkpoint, waits for it and
// releases the directory. When ctx ends first the server is made to quit at once, which costs crash recovery at the next
// start and is reported as an error. Nothing runs when Stop returns. Further calls return the first one's result.
func (c *Cluster) Stop(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped {
		return c.stopErr
	}
	c.stopErr = c.proc.stop(ctx)
	c.in.sockets.remove()
	c.lock.release()
	c.stopped = true
	return c.stopErr
}

// startOwned brings the directory into shape and the server up as a child that dies with this process.
func (in *instance) startOwned(ctx context.Context) (*process, error) {
	if err := stopOrphan(ctx, in.dir); err != nil {
		return nil, err
	}
	if err := in.initialise(ctx); err != nil {
		return nil, err
	}
	for {
		proc, err := in.launchOwned()
		if err != nil {
			return nil, err
		}
		err = in.waitReady(ctx, proc.exited)
		if err == nil {
			return proc, nil
		}
		quitNow, cancel := context.WithCancel(context.WithoutCancel(ctx))
		cancel()
		_ = proc.stop(quitNow) // the start's error says more
		err = in.explain(err, proc.logStart)
		// Children of a killed postmaster notice its death within moments; until then they hold its shared memory.
		if !errors.Is(err, errMemoryInUse) || !pause(ctx, retryInterval) {
			return nil, err
		}
	}
}
