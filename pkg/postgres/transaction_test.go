package postgres_test

import (
	"context"
	"net/url"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/fault"
	"github.com/beaconpost/beaconpost/pkg/postgres"
	"github.com/beaconpost/beaconpost/pkg/postgres/pgcluster"
)

func requireState(t *testing.T, err error, state string) {
	t.Helper()
	var pe *pgconn.PgError
	require.ErrorAs(t, err, &pe)
	require.Equal(t, state, pe.Code, "%v", err)
}

const (
	refusedState = "42501" // insufficient privilege, and a new row that violates row-level security
	uniqueState  = "23505"
)

func TestInTenantSeesAndAcceptsOnlyItsTenant(t *testing.T) {
	t.Parallel()
	b := setup(t, 2)
	b.add(b.a, "a's")
	b.add(b.b, "b's")
	require.NoError(t, b.InTenant(t.Context(), b.a, func(ctx context.Context, q postgres.Querier) error {
		got, err := names(ctx, q)
		require.Equal(t, []string{"a's"}, got)
		return err
	}))
	err := b.InTenant(t.Context(), b.a, func(ctx context.Context, q postgres.Querier) error {
		_, err := q.Exec(ctx, insertProject, project(b.b, "smuggled")...)
		return err
	})
	requireState(t, err, refusedState)
	require.Equal(t, fault.KindInternal, fault.KindOf(err), "a bug of ours, not the caller's fault")
	require.Equal(t, []string{"a's", "b's"}, b.stored())
}

func TestATransactionIsAllOrNothing(t *testing.T) {
	t.Parallel()
	b := setup(t, 2)
	err := b.InTenant(t.Context(), b.a, func(ctx context.Context, q postgres.Querier) error {
		_, err := q.Exec(ctx, insertProject, project(b.a, "first")...)
		require.NoError(t, err)
		return errStop
	})
	require.ErrorIs(t, err, errStop)
	require.PanicsWithValue(t, "bug", func() {
		_ = b.InTenant(t.Context(), b.a, func(ctx context.Context, q postgres.Querier) error {
			_, err := q.Exec(ctx, insertProject, project(b.a, "second")...)
			require.NoError(t, err)
			panic("bug")
		})
	})
	require.Empty(t, b.stored())
	b.add(b.a, "third")
	require.Equal(t, []string{"third"}, b.stored())
	require.Zero(t, b.Stat().AcquiredConns())
}

func TestAsTakesTheRoleWithoutATenant(t *testing.T) {
	t.Parallel()
	b := setup(t, 1)
	b.add(b.a, "a's")
	for _, role := range []postgres.Role{postgres.RoleAPI, postgres.RoleIngest, postgres.RoleDelivery, postgres.RoleMonitor} {
		require.NoError(t, b.As(t.Context(), role, func(ctx context.Context, q postgres.Querier) error {
			var who string
			err := q.QueryRow(ctx, `SELECT current_user`).Scan(&who)
			require.Equal(t, string(role), who)
			return err
		}))
	}
	require.NoError(t, b.As(t.Context(), postgres.RoleAPI, func(ctx context.Context, q postgres.Querier) error {
		got, err := names(ctx, q)
		require.Empty(t, got, "no tenant, no rows")
		return err
	}))
	err := b.As(t.Context(), "beaconpost_nobody", func(context.Context, postgres.Querier) error { return nil })
	require.ErrorContains(t, err, "take role")
}

// who runs outside of any role, on whatever connection the pool gives.
func (b *bench) who() (user, tenantSetting string) {
	b.t.Helper()
	p := &postgres.Pipeline{}
	p.Queue(`SELECT current_user, coalesce(current_setting('app.tenant_id', true), '')`, func(rows pgx.Rows) error {
		for rows.Next() {
			if err := rows.Scan(&user, &tenantSetting); err != nil {
				return err
			}
		}
		return rows.Err()
	})
	require.NoError(b.t, b.Run(b.t.Context(), p))
	return user, tenantSetting
}

// One connection is handed from user to user: each of them must leave nothing behind, however it ended.
func TestNothingOfATransactionLeaksToTheNext(t *testing.T) {
	t.Parallel()
	b := setup(t, 1)
	b.add(b.a, "a's")
	failing := func(do func(ctx context.Context, q postgres.Querier) error) func() {
		return func() { require.Error(t, b.InTenant(t.Context(), b.a, do)) }
	}
	for name, use := range map[string]func(){
		"commit": func() { b.add(b.a, uuid.NewString()) },
		"error of ours": failing(func(context.Context, postgres.Querier) error {
			return errStop
		}),
		"failed statement": failing(func(ctx context.Context, q postgres.Querier) error {
			_, err := q.Exec(ctx, `SELECT 1/0`)
			return err
		}),
		"failed statement that was ignored": failing(func(ctx context.Context, q postgres.Querier) error {
			_, _ = q.Exec(ctx, `SELECT 1/0`)
			return nil // the commit is a rollback then, and says so
		}),
		"rows that were not read": func() {
			require.NoError(t, b.InTenant(t.Context(), b.a, func(ctx context.Context, q postgres.Querier) error {
				rows, err := q.Query(ctx, `SELECT generate_series(1, 1000)`)
				if err == nil {
					rows.Close()
				}
				return err
			}))
		},
		"caller left": failing(func(ctx context.Context, q postgres.Querier) error {
			ctx, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
			defer cancel()
			_, err := q.Exec(ctx, `SELECT pg_sleep(10)`)
			return err
		}),
		"panic": func() {
			require.Panics(t, func() {
				_ = b.InTenant(t.Context(), b.a, func(context.Context, postgres.Querier) error { panic("bug") })
			})
		},
		"pipeline": func() {
			p := &postgres.Pipeline{}
			p.Tenant(b.a)
			p.Queue(selectNames, nil)
			require.NoError(t, b.Run(t.Context(), p))
		},
		"failed pipeline": func() {
			p := &postgres.Pipeline{}
			p.Tenant(b.a)
			p.Queue(`SELECT 1/$1::int`, nil, 0)
			p.Queue(selectNames, nil)
			require.Error(t, b.Run(t.Context(), p))
		},
	} {
		use()
		user, setting := b.who()
		require.Equal(t, pgcluster.RoleApp, user, "after %s", name)
		require.Empty(t, setting, "after %s", name)
		require.NoError(t, b.As(t.Context(), postgres.RoleAPI, func(ctx context.Context, q postgres.Querier) error {
			got, err := names(ctx, q)
			require.Empty(t, got, "after %s", name)
			return err
		}))
		require.NoError(t, b.InTenant(t.Context(), b.b, func(ctx context.Context, q postgres.Querier) error {
			got, err := names(ctx, q)
			require.Empty(t, got, "after %s", name)
			return err
		}))
		require.EqualValues(t, 1, b.Stat().TotalConns())
	}
}

func TestAPipelineWithoutARoleMayNothing(t *testing.T) {
	t.Parallel()
	b := setup(t, 1)
	for _, statement := range []string{selectNames, `DELETE FROM projects`, `SELECT FROM tenants`, `SELECT beaconpost_partitions_ahead()`} {
		p := &postgres.Pipeline{}
		p.Queue(statement, nil)
		requireState(t, b.Run(t.Context(), p), refusedState)
	}
}

func TestAPipelineServesManyTenantsEachUnderItsOwn(t *testing.T) {
	t.Parallel()
	b := setup(t, 2)
	var seen [][]string
	see := func(rows pgx.Rows) error {
		got, err := pgx.CollectRows(rows, pgx.RowTo[string])
		seen = append(seen, got)
		return err
	}
	p := &postgres.Pipeline{}
	p.Tenant(b.a)
	p.Queue(insertProject, nil, project(b.a, "a's")...)
	p.Queue(selectNames, see)
	p.Tenant(b.b)
	p.Queue(selectNames, see)
	p.Queue(insertProject, nil, project(b.b, "b's")...)
	p.Queue(selectNames, see)
	p.Tenant(b.a)
	p.Queue(selectNames, see)
	require.NoError(t, b.Run(t.Context(), p))
	require.Equal(t, [][]string{{"a's"}, {}, {"b's"}, {"a's"}}, seen)
	require.Equal(t, []string{"a's", "b's"}, b.stored())
}

func TestAPipelineIsOneTransaction(t *testing.T) {
	t.Parallel()
	b := setup(t, 2)
	b.add(b.b, "taken")
	for name, tt := range map[string]struct {
		queue func(p *postgres.Pipeline)
		state string
	}{
		"last statement fails": {func(p *postgres.Pipeline) {
			p.Tenant(b.a)
			p.Queue(insertProject, nil, project(b.a, "a's")...)
			p.Tenant(b.b)
			p.Queue(insertProject, nil, project(b.b, "taken")...)
		}, uniqueState},
		"first statement fails": {func(p *postgres.Pipeline) {
			p.Tenant(b.b)
			p.Queue(insertProject, nil, project(b.b, "taken")...)
			p.Tenant(b.a)
			p.Queue(insertProject, nil, project(b.a, "a's")...)
		}, uniqueState},
		"a row of another tenant": {func(p *postgres.Pipeline) {
			p.Tenant(b.b)
			p.Queue(insertProject, nil, project(b.b, "b's")...)
			p.Tenant(b.a)
			p.Queue(insertProject, nil, project(b.b, "smuggled")...)
		}, refusedState},
		"not SQL": {func(p *postgres.Pipeline) {
			p.Tenant(b.a)
			p.Queue(insertProject, nil, project(b.a, "a's")...)
			p.Queue(`SELEKT`, nil)
		}, "42601"},
	} {
		p := &postgres.Pipeline{}
		tt.queue(p)
		err := b.Run(t.Context(), p)
		requireState(t, err, tt.state)
		require.Equal(t, fault.KindInternal, fault.KindOf(err), name)
		require.Equal(t, []string{"taken"}, b.stored(), name)
	}
}

// Plans of statements over an array of keys are not kept; everybody else's are.
func TestBatchesArePlannedAnew(t *testing.T) {
	t.Parallel()
	b := setup(t, 1)
	const query = `SELECT current_user || ' ' || current_setting('plan_cache_mode')`
	pipeline := func(prepare func(p *postgres.Pipeline)) (got string) {
		p := &postgres.Pipeline{}
		prepare(p)
		p.Queue(query, func(rows pgx.Rows) (err error) {
			got, err = pgx.CollectExactlyOneRow(rows, pgx.RowTo[string])
			return err
		})
		require.NoError(t, b.Run(t.Context(), p))
		return got
	}
	none := func(*postgres.Pipeline) {}
	require.Equal(t, "beaconpost_delivery force_custom_plan", pipeline(func(p *postgres.Pipeline) { p.RoleForBatch(postgres.RoleDelivery) }))
	require.Equal(t, "beaconpost_delivery force_generic_plan", pipeline(func(p *postgres.Pipeline) { p.RoleForKeys(postgres.RoleDelivery) }), "those that can only use the key are")
	require.Equal(t, pgcluster.RoleApp+" auto", pipeline(none), "it ends with the transaction")
	require.NoError(t, b.AsBatch(t.Context(), postgres.RoleDelivery, func(ctx context.Context, q postgres.Querier) error {
		var got string
		err := q.QueryRow(ctx, query).Scan(&got)
		require.Equal(t, "beaconpost_delivery force_custom_plan", got)
		return err
	}))
	require.Equal(t, pgcluster.RoleApp+" auto", pipeline(none))
}

func TestRelaxedTransactionsDoNotWaitForTheDisk(t *testing.T) {
	t.Parallel()
	b := setup(t, 1)
	commit := func(db *postgres.DB) (got string) {
		require.NoError(t, db.AsKeys(t.Context(), postgres.RoleDelivery, func(ctx context.Context, q postgres.Querier) error {
			return q.QueryRow(ctx, `SELECT current_user || ' ' || current_setting('synchronous_commit')`).Scan(&got)
		}))
		return got
	}
	at, err := url.Parse(b.database.AppURL)
	require.NoError(t, err)
	query := at.Query()
	query.Set("synchronous_commit", "on") // the tests' cluster has it off
	at.RawQuery = query.Encode()
	b.DB = b.open(postgres.Config{URL: at.String(), MaxConns: 1})
	require.Equal(t, "beaconpost_delivery off", commit(b.Relaxed()))
	require.Equal(t, "beaconpost_delivery on", commit(b.DB))
	p := &postgres.Pipeline{}
	p.Role(postgres.RoleDelivery)
	p.Queue(`SELECT 1`, nil)
	require.NoError(t, b.Relaxed().Run(t.Context(), p))
	require.Equal(t, "beaconpost_delivery on", commit(b.DB), "it ends with the transaction")
}

func TestWhatAReaderReturnsComesBack(t *testing.T) {
	t.Parallel()
	b := setup(t, 1)
	p := &postgres.Pipeline{}
	p.Tenant(b.a)
	p.Queue(insertProject, nil, project(b.a, "a's")...)
	p.Queue(selectNames, func(pgx.Rows) error { return errStop })
	require.ErrorIs(t, b.Run(t.Context(), p), errStop)
	require.Equal(t, []string{"a's"}, b.stored(), "it cannot undo: the server had committed before the rows came")
}
