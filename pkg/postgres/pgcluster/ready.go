package pgcluster

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	pollInterval   = 20 * time.Millisecond
	retryInterval  = 200 * time.Millisecond
	connectTimeout = 5 * time.Second
)

// waitReady returns when the server accepts connections, has ended, or ctx ends.
func (in *instance) waitReady(ctx context.Context, exited func() (bool, error)) error {
	for wait := pollInterval; ; wait = min(2*wait, retryInterval) { // each try is a line in the log
		conn, err := connect(ctx, in.sockets.path)
		if err == nil {
			return conn.Close(ctx)
		}
		if gone, status := exited(); gone {
			return fmt.Errorf("%w: %w", ErrStartFailed, status)
		}
		if !pause(ctx, wait) {
			return fmt.Errorf("%w: %w: %w", ErrStartFailed, ctx.Err(), err)
		}
	}
}

// connect opens a superuser's connection.
func connect(ctx context.Context, socketDir string) (*pgx.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	conn, err := pgx.Connect(ctx, socketURL(socketDir, Superuser, "postgres"))
	if err != nil {
		return nil, fmt.Errorf("connect to private postgres: %w", err)
	}
	return conn, nil
}

// pause waits, and reports false when ctx ended meanwhile.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
