package postgres_test

import (
	"context"
	"errors"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/postgres"
	"github.com/beaconpost/beaconpost/pkg/postgres/pgcluster"
	"github.com/beaconpost/beaconpost/pkg/postgres/pgtest"
	"github.com/beaconpost/beaconpost/pkg/tenant"
)

// bench is a pool on a database with two tenants that have no projects yet.
type bench struct {
	*postgres.DB
	t        *testing.T
	database *pgtest.Database
	root     *pgx.Conn // past row-level security
	a, b     tenant.ID
}

func setup(t *testing.T, conns int32) *bench {
	t.Helper()
	b := &bench{t: t, database: pgtest.New(t), a: tenant.ID(uuid.Must(uuid.NewV7())), b: tenant.ID(uuid.Must(uuid.NewV7()))}
	b.DB = b.open(postgres.Config{URL: b.database.AppURL, MaxConns: conns})
	var err error
	b.root, err = pgx.Connect(t.Context(), b.database.URL(pgcluster.Superuser))
	require.NoError(t, err)
	t.Cleanup(func() { _ = b.root.Close(context.Background()) })
	for _, id := range []tenant.ID{b.a, b.b} {
		_, err := b.root.Exec(t.Context(), `INSERT INTO tenants (id, name) VALUES ($1, 'a tenant')`, id.UUID())
		require.NoError(t, err)
	}
	return b
}

func (b *bench) open(cfg postgres.Config) *postgres.DB {
	b.t.Helper()
	db, err := postgres.Open(b.t.Context(), cfg)
	require.NoError(b.t, err)
	b.t.Cleanup(db.Close)
	return db
}

const insertProject = `INSERT INTO projects (tenant_id, id, name) VALUES ($1, $2, $3)`

func project(owner tenant.ID, name string) []any {
	return []any{owner.UUID(), uuid.Must(uuid.NewV7()), name}
}

// add stores a project of t as t.
func (b *bench) add(t tenant.ID, name string) {
	b.t.Helper()
	require.NoError(b.t, b.InTenant(b.t.Context(), t, func(ctx context.Context, q postgres.Querier) error {
		_, err := q.Exec(ctx, insertProject, project(t, name)...)
		return err
	}))
}

const selectNames = `SELECT name FROM projects ORDER BY name`

func names(ctx context.Context, q postgres.Querier) ([]string, error) {
	rows, err := q.Query(ctx, selectNames)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// stored gives the names of all projects of all tenants.
func (b *bench) stored() []string {
	b.t.Helper()
	rows, err := b.root.Query(b.t.Context(), selectNames)
	require.NoError(b.t, err)
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(b.t, err)
	return list
}

var errStop = errors.New("changed our mind")
