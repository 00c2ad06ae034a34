// Package pgtest gives each test its own database with the current schema.
//
// It owns what tests share on a machine: one throw-away Postgres for all test processes of a user, which starts with the
// first and ends some seconds after the last of them, and in it one migrated template per state of the migrations,
// of which every test gets a clone. BEACONPOST_TEST_DATABASE_URL, a superuser's postgres:// URL, makes it use another
// server. It holds no state in the process and leaves no goroutine behind.
package pgtest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/postgres/pgcluster"
)

const (
	setupTimeout   = 2 * time.Minute // other processes may be migrating on a busy machine
	cleanupTimeout = 30 * time.Second
	retryInterval  = 50 * time.Millisecond
)

// Database is a migrated database of one test. It is dropped, connections and all, when the test ends.
type Database struct {
	Name     string
	OwnerURL string // the role that owns the schema: no superuser, may create roles
	AppURL   string // the role that services connect as

	superuserURL string
}

// New makes a database for the test.
func New(t testing.TB) *Database {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), setupTimeout)
	defer cancel()
	srv, err := openServer(ctx)
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), cleanupTimeout)
		defer cancel()
		require.NoError(t, srv.close(ctx))
	})
	template, err := ensureTemplate(ctx, srv)
	require.NoError(t, err)

	d := &Database{Name: "bp_test_" + strings.ToLower(rand.Text()[:16]), superuserURL: srv.superuserURL}
	require.NoError(t, clone(ctx, srv.conn, template, d.Name))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), cleanupTimeout)
		defer cancel()
		_, err := srv.conn.Exec(ctx, "DROP DATABASE IF EXISTS "+quote(d.Name)+" WITH (FORCE)")
		require.NoError(t, err)
	})
	d.OwnerURL = d.URL(pgcluster.RoleOwner)
	d.AppURL = d.URL(pgcluster.RoleApp)
	return d
}

// URL is the connection URL of a role that can log in: pgcluster.Superuser, RoleOwner, RoleApp, or one the test made.
func (d *Database) URL(user string) string {
	url, err := pgcluster.RoleURL(d.superuserURL, user, d.Name)
	if err != nil {
		panic(err) // New has parsed the same URL
	}
	return url
}

// clone copies the template, which takes a moment longer while somebody else is looking at it.
func clone(ctx context.Context, conn *pgx.Conn, template, name string) error {
	statement := "CREATE DATABASE " + quote(name) + " TEMPLATE " + quote(template) + " OWNER " + quote(pgcluster.RoleOwner)
	for {
		_, err := conn.Exec(ctx, statement)
		if err == nil {
			return nil
		}
		const objectInUse = "55006"
		var pgErr *pgconn.PgError
		if !errors.As(err, &pgErr) || pgErr.Code != objectInUse || !pause(ctx) {
			return fmt.Errorf("clone %s: %w", template, err)
		}
	}
}

func pause(ctx context.Context) bool {
	timer := time.NewTimer(retryInterval)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func quote(name string) string { return pgx.Identifier{name}.Sanitize() }
