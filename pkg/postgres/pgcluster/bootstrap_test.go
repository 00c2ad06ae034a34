package pgcluster_test

import (
	"context"
	"errors"
	"net/url"
	"path/filepath"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/postgres/pgcluster"
)

// migrate stands in for the real migrations: service roles and one table of the api role.
func migrate(ctx context.Context, ownerURL string) error {
	conn, err := pgx.Connect(ctx, ownerURL)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	const script = `
DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['api', 'ingest', 'delivery', 'monitor'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'beaconpost_' || name) THEN
            EXECUTE 'CREATE ROLE beaconpost_' || name || ' NOINHERIT';
        END IF;
    END LOOP;
END $$;
CREATE TABLE IF NOT EXISTS things (id int);
GRANT SELECT ON things TO beaconpost_api;`
	_, err = conn.Exec(ctx, script)
	return err
}

func TestBootstrap(t *testing.T) {
	t.Parallel()
	super := start(t, filepath.Join(tempDir(t), "postgres")).URL(pgcluster.Superuser, "postgres")
	interrupted := errors.New("interrupted")
	_, _, err := pgcluster.Bootstrap(t.Context(), super, "beacon", func(context.Context, string) error { return interrupted })
	require.ErrorIs(t, err, interrupted)

	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if _, _, err := pgcluster.Bootstrap(context.Background(), super, "beacon", migrate); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	owner, app, err := pgcluster.Bootstrap(t.Context(), super, "beacon", migrate)
	require.NoError(t, err)

	const attributes = `SELECT concat_ws(' ', rolname, rolsuper, rolcreaterole, rolinherit, rolbypassrls, rolcreatedb, current_database())
FROM pg_roles WHERE rolname = current_user`
	require.Equal(t, "beaconpost_owner f t t f f beacon", ask(t, owner, attributes))
	require.Equal(t, "beaconpost_app f f f f f beacon", ask(t, app, attributes))

	conn, err := pgx.Connect(t.Context(), app)
	require.NoError(t, err)
	defer conn.Close(t.Context())
	_, err = conn.Exec(t.Context(), "SELECT * FROM things")
	require.ErrorContains(t, err, "permission denied", "the app role may nothing by itself")
	_, err = conn.Exec(t.Context(), "SET ROLE beaconpost_api; SELECT * FROM things")
	require.NoError(t, err)
}

func TestBootstrapSharesThePassword(t *testing.T) {
	t.Parallel()
	super := start(t, filepath.Join(tempDir(t), "postgres")).URL(pgcluster.Superuser, "postgres")
	u, err := url.Parse(super)
	require.NoError(t, err)
	u.User = url.UserPassword(pgcluster.Superuser, "se'cret/@")
	_, app, err := pgcluster.Bootstrap(t.Context(), u.String(), "beacon", migrate)
	require.NoError(t, err)
	cfg, err := pgx.ParseConfig(app)
	require.NoError(t, err)
	require.Equal(t, "se'cret/@", cfg.Password)
	require.Equal(t, "1", ask(t, super, "SELECT count(rolpassword)::text FROM pg_authid WHERE rolname = 'beaconpost_app'"))
}

func TestRoleURL(t *testing.T) {
	t.Parallel()
	got, err := pgcluster.RoleURL("postgres://admin:pw@db:5433/postgres?sslmode=require", "me", "mine")
	require.NoError(t, err)
	require.Equal(t, "postgres://me:pw@db:5433/mine?sslmode=require", got)
	for _, bad := range []string{"host=/tmp user=postgres", "mysql://x", "postgres://%zz:topsecret@x"} {
		_, err = pgcluster.RoleURL(bad, "me", "mine")
		require.Error(t, err)
		require.NotContains(t, err.Error(), "topsecret")
	}
}
