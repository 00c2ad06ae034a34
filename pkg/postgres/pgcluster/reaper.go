package pgcluster

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// Advisory locks in the database postgres: (lockSpace, …).
const (
	lockSpace     = 0x6265 // "be"
	lockLease     = 1      // shared: held by every lease; exclusive: by the reaper while it looks, and when it ends the server
	lockReaper    = 2      // held by the reaper
	lockBootstrap = 3      // held by Bootstrap
)

// reaperProgram ends the server when no lease was seen %[4]d times, a second apart. It runs inside the server, in a session whose
// client hangs up at once: a process of its own would have to be found and watched, and could outlive the server, or
// the server it. A lease that arrives while the server is being ended waits for lockLease and is cut off with it.
const reaperProgram = `
DO $reaper$
DECLARE
    idle int := 0;
BEGIN
    IF NOT pg_try_advisory_lock(%[1]d, %[3]d) THEN
        RETURN; -- there is one
    END IF;
    WHILE idle < %[4]d LOOP
        COMMIT; -- keep no transaction open
        PERFORM pg_sleep(1);
        IF NOT pg_try_advisory_lock(%[1]d, %[2]d) THEN
            idle := 0;
        ELSE
            idle := idle + 1;
            IF idle < %[4]d THEN
                PERFORM pg_advisory_unlock(%[1]d, %[2]d);
            END IF;
        END IF;
    END LOOP;
    COPY (SELECT WHERE false) TO PROGRAM 'cat >/dev/null; kill -s INT $(head -n 1 postmaster.pid)';
    PERFORM pg_sleep(3600); -- keep the lock until the end
END
$reaper$`

// hold takes the lease and makes sure that its end will be noticed.
func (l *Lease) hold(ctx context.Context, idle time.Duration) error {
	const lease = `SELECT pg_advisory_lock_shared($1, $2)`
	if _, err := l.conn.Exec(ctx, lease, lockSpace, lockLease); err != nil {
		return fmt.Errorf("take lease: %w", err)
	}
	for started := false; ; {
		watched, err := l.watched(ctx)
		if err != nil || watched {
			return err
		}
		if !started {
			if err := startReaper(ctx, l.sockets, idle); err != nil {
				return err
			}
			started = true
		}
		if !pause(ctx, pollInterval) {
			return fmt.Errorf("wait for reaper: %w", ctx.Err())
		}
	}
}

// watched reports whether a reaper runs.
func (l *Lease) watched(ctx context.Context) (bool, error) {
	const query = `
SELECT EXISTS (
    SELECT FROM pg_locks
    WHERE locktype = 'advisory' AND classid = $1 AND objid = $2 AND objsubid = 2 AND granted
)`
	var found bool
	if err := l.conn.QueryRow(ctx, query, lockSpace, lockReaper).Scan(&found); err != nil {
		return false, fmt.Errorf("look for reaper: %w", err)
	}
	return found, nil
}

// startReaper hands the program to a new session and hangs up. Several may be started; one stays.
func startReaper(ctx context.Context, socketDir string, idle time.Duration) error {
	conn, err := connect(ctx, socketDir)
	if err != nil {
		return err
	}
	const settings = `SET application_name = 'reaper'; SET statement_timeout = 0; SET client_connection_check_interval = 0`
	if _, err := conn.Exec(ctx, settings); err != nil {
		_ = conn.Close(ctx)
		return fmt.Errorf("prepare reaper: %w", err)
	}
	raw, err := conn.PgConn().Hijack()
	if err != nil {
		_ = conn.Close(ctx)
		return fmt.Errorf("prepare reaper: %w", err)
	}
	defer raw.Conn.Close()
	looks := max(1, int(idle/time.Second))
	raw.Frontend.SendQuery(&pgproto3.Query{
		String: fmt.Sprintf(reaperProgram, lockSpace, lockLease, lockReaper, looks),
	})
	if err := raw.Frontend.Flush(); err != nil {
		return fmt.Errorf("start reaper: %w", err)
	}
	return nil
}
