package beaconpost_test

import (
	"context"
	"net/http"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/postgres/pgcluster"
)

// expand is what a migration of a later release may do: more columns in every table, more tables and functions.
const expand = `
INSERT INTO goose_db_version (version_id, is_applied) VALUES (99999, true);
DO $$
DECLARE
    relation regclass;
BEGIN
    FOR relation IN SELECT oid::regclass FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition AND relname <> 'goose_db_version' LOOP
        EXECUTE format('ALTER TABLE %s ADD COLUMN of_a_later_release text NOT NULL DEFAULT ''new'', ADD COLUMN of_another uuid', relation);
    END LOOP;
END
$$;
CREATE TABLE of_a_later_release (tenant_id uuid, id uuid, PRIMARY KEY (tenant_id, id));
CREATE FUNCTION of_a_later_release() RETURNS int LANGUAGE sql AS 'SELECT 1';
`

// The old pods of an upgrade, and those of a rollback: they start on a schema of which they do not know everything, are ready, and do all that they do.
func TestUpOnANewerSchema(t *testing.T) {
	t.Parallel()
	db, environ := servers(t)
	conn, err := pgx.Connect(t.Context(), db.OwnerURL)
	require.NoError(t, err)
	defer conn.Close(context.Background())
	_, err = conn.Exec(t.Context(), expand)
	require.NoError(t, err)

	i := up(t, t.TempDir(), environ)
	r := receive(t, "0")
	createEndpoint(i.client(), r.url, nil)
	event := sendEvent(i.client())
	i.await("the event was delivered", func() bool { return deliveryOf(i.client(), event).Status == "delivered" })
	require.Equal(t, []string{event}, r.received())
	for _, path := range []string{"/v1/events", "/v1/events/" + event, "/v1/deliveries", "/v1/endpoints", "/v1/monitors", "/v1/incidents", "/v1/alert-policies", "/v1/usage"} {
		i.client().Do(http.MethodGet, path, nil).Want(200, nil)
	}
	i.client().Do(http.MethodPost, "/v1/monitors", map[string]any{"name": "shop", "kind": "http", "url": r.url, "interval": "10s"}).Want(201, nil)
	super := db.URL(pgcluster.Superuser)
	i.await("a check was recorded", func() bool { return query(t, super, `SELECT (count(*) > 0)::text FROM monitor_checks`)[0] == "true" })
	require.Equal(t, []string{"new"}, query(t, super, `SELECT of_a_later_release FROM webhook_events WHERE id = $1`, event))
	i.operator().Do(http.MethodPost, "/v1/tenants", map[string]string{"name": "another"}).Want(201, nil)
	require.Equal(t, []string{"true"}, query(t, super, `SELECT (count(*) = 1)::text FROM goose_db_version WHERE version_id = 99999`))
	i.stop()
}
