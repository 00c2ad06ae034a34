package pgtest

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/beaconpost/beaconpost/migrations"
	"github.com/beaconpost/beaconpost/pkg/postgres/pgcluster"
)

// ensureTemplate gives the name of the database that has the schema of this build's migrations, after having made it
// if nobody has. Being marked as a template says that it is complete.
func ensureTemplate(ctx context.Context, srv *server) (string, error) {
	name := "bp_tmpl_" + migrations.Fingerprint()
	ready, err := isTemplate(ctx, srv.conn, name)
	if err != nil || ready {
		return name, err
	}
	const lock, unlock = `SELECT pg_advisory_lock(hashtext($1))`, `SELECT pg_advisory_unlock(hashtext($1))`
	if _, err := srv.conn.Exec(ctx, lock, name); err != nil {
		return "", fmt.Errorf("wait for template: %w", err)
	}
	makeErr := makeTemplate(ctx, srv, name)
	if _, err := srv.conn.Exec(ctx, unlock, name); err != nil {
		makeErr = errors.Join(makeErr, fmt.Errorf("unlock template: %w", err))
	}
	return name, makeErr
}

// makeTemplate drops what a killed process left behind instead of finishing its work.
func makeTemplate(ctx context.Context, srv *server, name string) error {
	ready, err := isTemplate(ctx, srv.conn, name)
	if err != nil || ready {
		return err
	}
	if _, err := srv.conn.Exec(ctx, "DROP DATABASE IF EXISTS "+quote(name)+" WITH (FORCE)"); err != nil {
		return fmt.Errorf("drop unfinished template: %w", err)
	}
	migrate := func(ctx context.Context, ownerURL string) error {
		_, err := migrations.Up(ctx, ownerURL)
		return err
	}
	if _, _, err := pgcluster.Bootstrap(ctx, srv.superuserURL, name, migrate); err != nil {
		return fmt.Errorf("make template: %w", err)
	}
	// Connections to a template keep it from being cloned.
	if _, err := srv.conn.Exec(ctx, "ALTER DATABASE "+quote(name)+" WITH IS_TEMPLATE true ALLOW_CONNECTIONS false"); err != nil {
		return fmt.Errorf("seal template: %w", err)
	}
	return nil
}

func isTemplate(ctx context.Context, conn *pgx.Conn, name string) (bool, error) {
	const query = `SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1 AND datistemplate)`
	var ready bool
	if err := conn.QueryRow(ctx, query, name).Scan(&ready); err != nil {
		return false, fmt.Errorf("look for template: %w", err)
	}
	return ready, nil
}
