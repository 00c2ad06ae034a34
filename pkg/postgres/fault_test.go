package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/fault"
	"github.com/beaconpost/beaconpost/pkg/postgres"
	"github.com/beaconpost/beaconpost/pkg/postgres/pgcluster"
	"github.com/beaconpost/beaconpost/pkg/tenant"
)

func TestFaultOfStates(t *testing.T) {
	t.Parallel()
	for state, unavailable := range map[string]bool{
		"08000": true, "08003": true, "08006": true, "08001": true, "08004": true, // connection
		"53000": true, "53100": true, "53200": true, "53300": true, // disk full, out of memory, too many connections
		"57P01": true, "57P02": true, "57P03": true, "57P04": true, // shutdown, crash, starting, dropped
		"40001": true, "40P01": true, "57014": true, "55P03": true, "25006": true,
		"22001": false, "22P02": false, // data
		"23502": false, "23503": false, "23505": false, "23514": false, // constraints; 23514 is a missing partition too
		"42501": false, "42601": false, "42P01": false, "42883": false, // our SQL, our grants
		"25P02": false, "57000": false, "XX000": false, "58030": false,
	} {
		cause := fmt.Errorf("insert event: %w", &pgconn.PgError{Code: state, Message: "text of the server"})
		err := postgres.Fault(cause)
		require.Equal(t, unavailable, postgres.IsUnavailable(cause), state)
		require.Equal(t, unavailable, postgres.IsUnavailable(err), "%s as a fault", state)
		require.ErrorIs(t, err, cause)
		f := fault.From(err)
		require.NotContains(t, f.Message, "text of the server")
		if unavailable {
			require.Equal(t, fault.KindUnavailable, f.Kind, state)
			require.Equal(t, 2*time.Second, f.RetryAfter)
			require.NotEmpty(t, f.Message)
		} else {
			require.Equal(t, fault.KindInternal, f.Kind, state)
		}
	}
}

func TestTextWithANulIsTheCallers(t *testing.T) {
	t.Parallel()
	cause := &pgconn.PgError{Code: "22021", Message: "text of the server"}
	f := fault.From(postgres.Fault(fmt.Errorf("insert project: %w", cause)))
	require.Equal(t, fault.KindInvalid, f.Kind)
	require.Equal(t, fault.Code("invalid_text"), f.Code)
	require.NotContains(t, f.Message, "text of the server")
	require.ErrorIs(t, f, cause)
	require.False(t, postgres.IsUnavailable(f))
}

func TestFaultOfOtherErrors(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		err  error
		want fault.Kind
	}{
		{context.DeadlineExceeded, fault.KindUnavailable},
		{context.Canceled, fault.KindUnavailable},
		{fmt.Errorf("query: %w", io.ErrUnexpectedEOF), fault.KindUnavailable},
		{io.EOF, fault.KindUnavailable},
		{net.ErrClosed, fault.KindUnavailable},
		{os.ErrDeadlineExceeded, fault.KindUnavailable},
		{&net.OpError{Op: "read", Err: errors.New("connection reset by peer")}, fault.KindUnavailable},
		{errors.New("conn closed"), fault.KindUnavailable},
		{errors.New("closed pool"), fault.KindUnavailable},
		{pgx.ErrNoRows, fault.KindInternal},
		{pgx.ErrTooManyRows, fault.KindInternal},
		{errors.New("can't scan into dest[0]"), fault.KindInternal},
	} {
		require.Equal(t, tt.want, fault.KindOf(postgres.Fault(tt.err)), "%v", tt.err)
	}
	require.NoError(t, postgres.Fault(nil))

	own := fault.Conflict("thing_exists", "It exists.")
	wrapped := fmt.Errorf("create thing: %w", own)
	require.Same(t, wrapped, postgres.Fault(wrapped), "what is a fault already is not judged again")
	require.False(t, postgres.IsUnavailable(own))
	require.True(t, postgres.IsUnavailable(fault.Unavailable(nil, 0, "")))
}

// The same with what a real server says and does.
func TestFaultsOfARealServer(t *testing.T) {
	t.Parallel()
	b := setup(t, 4)
	b.add(b.a, "taken")
	exec := func(statements ...string) func(ctx context.Context, q postgres.Querier) error {
		return func(ctx context.Context, q postgres.Querier) error {
			for _, s := range statements {
				if _, err := q.Exec(ctx, s); err != nil {
					return err
				}
			}
			return nil
		}
	}
	for name, tt := range map[string]struct {
		do    func(ctx context.Context, q postgres.Querier) error
		state string
		kind  fault.Kind
	}{
		"unique": {func(ctx context.Context, q postgres.Querier) error {
			_, err := q.Exec(ctx, insertProject, project(b.a, "taken")...)
			require.True(t, postgres.IsConstraint(err, "projects_tenant_id_name_key"), "%v", err)
			require.False(t, postgres.IsConstraint(err, "projects_pkey"))
			return fmt.Errorf("insert project: %w", err)
		}, "23505", fault.KindInternal},
		"no partition for the day": {func(ctx context.Context, q postgres.Querier) error {
			_, err := q.Exec(ctx, `SELECT set_config('role', $1, true), set_config('app.tenant_ids', $2, true)`, postgres.RoleIngest, b.a.String())
			require.NoError(t, err)
			_, err = q.Exec(ctx, `INSERT INTO webhook_events (tenant_id, id, event_type, payload) VALUES ($1, $2, 'x', '1')`, b.a.UUID(), uuid.Max)
			return err
		}, "23514", fault.KindInternal},
		"statement timeout": {exec(`SET LOCAL statement_timeout = '5ms'`, `SELECT pg_sleep(10)`), "57014", fault.KindUnavailable},
		"read-only":         {exec(`SET LOCAL transaction_read_only = on`, `UPDATE tenants SET routing_version = 1`), "25006", fault.KindUnavailable},
		"terminated at work": {func(ctx context.Context, q postgres.Querier) error {
			pid := pidOf(ctx, t, q)
			ended := make(chan error, 1)
			go func() {
				_, err := q.Exec(ctx, `SELECT pg_sleep(60)`)
				ended <- err
			}()
			require.Eventually(t, func() bool {
				tag, err := b.root.Exec(ctx, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = $1 AND wait_event = 'PgSleep'`, pid)
				return err == nil && tag.RowsAffected() == 1
			}, 10*time.Second, 5*time.Millisecond)
			return <-ended
		}, "57P01", fault.KindUnavailable},
		"terminated between statements": {func(ctx context.Context, q postgres.Querier) error {
			_, err := b.root.Exec(ctx, `SELECT pg_terminate_backend($1, 5000)`, pidOf(ctx, t, q))
			require.NoError(t, err)
			_, err = q.Exec(ctx, `SELECT 1`)
			return err
		}, "", fault.KindUnavailable},
		"caller out of time": {func(ctx context.Context, q postgres.Querier) error {
			ctx, cancel := context.WithTimeout(ctx, 5*time.Millisecond)
			defer cancel()
			_, err := q.Exec(ctx, `SELECT pg_sleep(10)`)
			require.ErrorIs(t, err, context.DeadlineExceeded)
			return err
		}, "", fault.KindUnavailable},
	} {
		err := b.InTenant(t.Context(), b.a, tt.do)
		require.Equal(t, tt.kind, fault.KindOf(err), "%s: %v", name, err)
		if tt.state != "" {
			requireState(t, err, tt.state)
		}
		b.add(b.a, uuid.NewString()) // and the pool goes on
	}
}

func pidOf(ctx context.Context, t *testing.T, q postgres.Querier) (pid int) {
	t.Helper()
	require.NoError(t, q.QueryRow(ctx, `SELECT pg_backend_pid()`).Scan(&pid))
	return pid
}

func TestADeadlockIsWorthRepeating(t *testing.T) {
	t.Parallel()
	b := setup(t, 2)
	const take = `SELECT pg_advisory_xact_lock($1)`
	other, err := b.root.Begin(t.Context())
	require.NoError(t, err)
	_, err = other.Exec(t.Context(), `SET LOCAL deadlock_timeout = '1h'`) // ours is to notice
	require.NoError(t, err)
	_, err = other.Exec(t.Context(), take, 2)
	require.NoError(t, err)
	watch, err := pgx.Connect(t.Context(), b.database.URL(pgcluster.Superuser))
	require.NoError(t, err)
	defer watch.Close(context.Background())

	got := make(chan error, 1)
	err = b.InTenant(t.Context(), b.a, func(ctx context.Context, q postgres.Querier) error {
		_, err := q.Exec(ctx, take, 1)
		require.NoError(t, err)
		go func() {
			_, err := other.Exec(context.Background(), take, 1)
			got <- err
		}()
		require.Eventually(t, func() bool {
			var waits bool
			err := watch.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
				AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))`).Scan(&waits)
			return err == nil && waits
		}, 10*time.Second, 5*time.Millisecond)
		_, err = q.Exec(ctx, take, 2)
		return err
	})
	requireState(t, err, "40P01")
	require.Equal(t, fault.KindUnavailable, fault.KindOf(err))
	require.NoError(t, <-got, "the other one goes on")
	require.NoError(t, other.Rollback(t.Context()))
}

func TestPostgresAway(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	closed := ln.Addr().String()
	require.NoError(t, ln.Close())
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and says nothing
	require.NoError(t, err)
	defer silent.Close()
	for name, addr := range map[string]string{"refused": closed, "silent": silent.Addr().String()} {
		db, err := postgres.Open(t.Context(), postgres.Config{URL: "postgres://beaconpost:hunter2@" + addr + "/beaconpost", ConnectTimeout: 50 * time.Millisecond})
		require.NoError(t, err, "%s: opening needs no server", name)
		start := time.Now()
		for doing, err := range map[string]error{
			"ping":     db.Ping(t.Context()),
			"tenant":   db.InTenant(t.Context(), tenant.Nil, func(context.Context, postgres.Querier) error { return nil }),
			"pipeline": db.Run(t.Context(), &postgres.Pipeline{}),
		} {
			require.Equal(t, fault.KindUnavailable, fault.KindOf(err), "%s, %s: %v", name, doing, err)
			require.NotContains(t, err.Error(), "hunter2")
		}
		require.Less(t, time.Since(start), 5*time.Second, "the connect timeout bounds it")
		db.Close()
	}
}

func TestAfterCloseEverythingIsUnavailable(t *testing.T) {
	t.Parallel()
	b := setup(t, 1)
	db := b.open(postgres.Config{URL: b.database.AppURL})
	require.NoError(t, db.Ping(t.Context()))
	db.Close()
	require.Equal(t, fault.KindUnavailable, fault.KindOf(db.Ping(t.Context())))
	require.Equal(t, fault.KindUnavailable, fault.KindOf(db.Run(t.Context(), &postgres.Pipeline{})))
}

func TestTooManyConnectionsIsUnavailable(t *testing.T) {
	t.Parallel()
	b := setup(t, 1)
	// Roles are the server's, which other tests use too.
	role := "test_" + uuid.NewString()
	_, err := b.root.Exec(t.Context(), `CREATE ROLE "`+role+`" LOGIN CONNECTION LIMIT 0`)
	require.NoError(t, err)
	t.Cleanup(func() {
		_, err := b.root.Exec(context.Background(), `DROP ROLE "`+role+`"`)
		require.NoError(t, err)
	})
	err = b.open(postgres.Config{URL: b.database.URL(role)}).Ping(t.Context())
	requireState(t, err, "53300")
	require.Equal(t, fault.KindUnavailable, fault.KindOf(err))
}

func TestABadURLDoesNotShowItsPassword(t *testing.T) {
	t.Parallel()
	for _, url := range []string{
		"postgres://u:hunter2@host:notaport/db", "host=x password=hunter2 port=notaport", "postgres://u:hunter2@host/db?sslmode=maybe",
		"host=x port=notaport password = 'hunter2 more'", "postgres://u:hunter2%@host/db", "hunter2",
	} {
		_, err := postgres.Open(t.Context(), postgres.Config{URL: url})
		require.ErrorContains(t, err, "parse database url")
		require.NotContains(t, err.Error(), "hunter2")
	}
}

func TestConnectionsAreNamedAndBounded(t *testing.T) {
	t.Parallel()
	b := setup(t, 1)
	db := b.open(postgres.Config{URL: b.database.AppURL, ApplicationName: "beaconpost-shop"})
	require.EqualValues(t, 10, db.Stat().MaxConns(), "the default")
	require.NoError(t, db.As(t.Context(), postgres.RoleAPI, func(ctx context.Context, q postgres.Querier) error {
		var name string
		err := q.QueryRow(ctx, `SELECT current_setting('application_name')`).Scan(&name)
		require.Equal(t, "beaconpost-shop", name)
		return err
	}))
	require.EqualValues(t, 1, b.Stat().MaxConns())
}

func TestSecretAADTellsRowsApart(t *testing.T) {
	t.Parallel()
	x, y := uuid.New(), uuid.New()
	seen := map[string]bool{}
	for _, ids := range [][3]uuid.UUID{{x, x, x}, {x, x, y}, {x, y, x}, {y, x, x}, {x, y, y}, {y, x, y}, {y, y, x}, {y, y, y}} {
		seen[string(postgres.SecretAAD(tenant.ID(ids[0]), ids[1], ids[2]))] = true
	}
	require.Len(t, seen, 8)
}
