package postgres_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/postgres/pgcluster"
	"github.com/beaconpost/beaconpost/pkg/postgres/pgtest"
)

// These tests ask the catalog what there is, so that a new table, view, function, role or grant is checked, or fails, without anybody
// remembering them.

// The tables of the schema that hold nothing of a tenant: goose's, and how far usage was counted.
const (
	versionTable  = "goose_db_version"
	progressTable = "usage_progress"
)

// serviceRoles are taken per transaction. The other two roles are logins: pgcluster.RoleApp, which may nothing by itself, and the owner.
func serviceRoles() []string {
	return []string{"beaconpost_api", "beaconpost_delivery", "beaconpost_ingest", "beaconpost_monitor"}
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// superuser connects past row-level security.
func superuser(t *testing.T, db *pgtest.Database) *pgx.Conn {
	t.Helper()
	return connect(t, db.URL(pgcluster.Superuser))
}

func collect[T any](t *testing.T, conn interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}, read pgx.RowToFunc[T], sql string, args ...any,
) []T {
	t.Helper()
	rows, err := conn.Query(t.Context(), sql, args...)
	require.NoError(t, err)
	list, err := pgx.CollectRows(rows, read)
	require.NoErrorf(t, err, "query: %s", sql)
	return list
}

// relation is a table, view or sequence of schema public.
type relation struct {
	Name            string
	Kind            string // pg_class.relkind
	Partition       bool
	RowSecurity     bool
	Forced          bool
	SecurityInvoker bool
	Columns         []string
}

const selectRelations = `
SELECT c.relname, c.relkind::text, c.relispartition, c.relrowsecurity, c.relforcerowsecurity, coalesce('security_invoker=true' = ANY (c.reloptions), false),
    ARRAY(SELECT attname::text FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped ORDER BY attnum)
FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind NOT IN ('i', 'I', 'c') ORDER BY c.relname`

func relations(t *testing.T, conn *pgx.Conn) []relation {
	t.Helper()
	list := collect(t, conn, pgx.RowToStructByPos[relation], selectRelations)
	require.True(t, slices.ContainsFunc(list, func(r relation) bool { return r.Name == "deliveries" }), "the catalog was not read")
	return list
}

// tenantTables are the tables that queries name.
func tenantTables(t *testing.T, conn *pgx.Conn) []relation {
	t.Helper()
	return slices.DeleteFunc(relations(t, conn), func(r relation) bool {
		return r.Kind != "r" && r.Kind != "p" || r.Partition || r.Name == versionTable || r.Name == progressTable
	})
}

// owner is the column that says whose row it is.
func (r relation) owner(t *testing.T) string {
	t.Helper()
	if r.Name == "tenants" {
		return "id"
	}
	require.Containsf(t, r.Columns, "tenant_id", "table %s", r.Name)
	return "tenant_id"
}

func TestEveryRelationIsIsolated(t *testing.T) {
	t.Parallel()
	conn := superuser(t, pgtest.New(t))
	partitions := 0
	for _, r := range relations(t, conn) {
		granted := collect(t, conn, pgx.RowTo[string], selectGrants+` WHERE object = $1`, r.Name)
		switch {
		case r.Name == versionTable:
			require.Empty(t, granted)
		case r.Kind == "r" || r.Kind == "p":
			require.Truef(t, r.RowSecurity, "table %s: ENABLE ROW LEVEL SECURITY", r.Name)
			require.Truef(t, r.Forced, "table %s: FORCE ROW LEVEL SECURITY", r.Name)
			if r.Partition {
				partitions++
				require.Emptyf(t, granted, "partition %s", r.Name)
			}
		case r.Kind == "v":
			require.Truef(t, r.SecurityInvoker, "view %s reads as its owner: WITH (security_invoker = true)", r.Name)
		default: // sequences, materialized views, foreign tables: no row security is possible
			require.Emptyf(t, granted, "%s (%s)", r.Name, r.Kind)
		}
	}
	require.NotZero(t, partitions)

	const schemas = `SELECT nspname::text FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'`
	require.Equal(t, []string{"public"}, collect(t, conn, pgx.RowTo[string], schemas), "these tests look at schema public only")
	const defaults = `SELECT defaclacl::text FROM pg_default_acl`
	require.Empty(t, collect(t, conn, pgx.RowTo[string], defaults), "default privileges would reach tables that nobody thought of")
}

type policy struct {
	Table, Name string
	Permissive  bool
	Roles       []string
	Command     string
	Using       string
	Check       string
}

const selectPolicies = `
SELECT tablename::text, policyname::text, permissive = 'PERMISSIVE', roles::text[], cmd, coalesce(qual, ''), coalesce(with_check, '')
FROM pg_policies WHERE schemaname = 'public' ORDER BY 1, 2`

// What background work may do with rows of all tenants; grants bound it further, see TestGrants.
const acrossTenants = `
alert_channels monitor_work beaconpost_monitor ALL
alert_policies monitor_work beaconpost_monitor ALL
alert_progress monitor_work beaconpost_monitor ALL
api_keys delivery_lookup beaconpost_delivery SELECT
api_keys ingest_lookup beaconpost_ingest SELECT
api_keys monitor_lookup beaconpost_monitor SELECT
deliveries delivery_read beaconpost_delivery SELECT
deliveries delivery_update beaconpost_delivery UPDATE
delivery_attempts delivery_count beaconpost_delivery SELECT
delivery_attempts delivery_record beaconpost_delivery INSERT
endpoint_health delivery_keep beaconpost_delivery ALL
endpoint_rates delivery_take beaconpost_delivery ALL
endpoint_secrets delivery_read beaconpost_delivery SELECT
endpoint_secrets ingest_reseal beaconpost_ingest ALL
endpoint_stats delivery_count beaconpost_delivery ALL
endpoints delivery_lock beaconpost_delivery UPDATE
endpoints delivery_read beaconpost_delivery SELECT
endpoints monitor_read beaconpost_monitor SELECT
idempotency_keys ingest_expire beaconpost_ingest DELETE
idempotency_keys ingest_read beaconpost_ingest SELECT
incident_notes monitor_work beaconpost_monitor ALL
incidents monitor_work beaconpost_monitor ALL
maintenance_windows monitor_work beaconpost_monitor ALL
monitor_checks monitor_work beaconpost_monitor ALL
monitor_intervals monitor_work beaconpost_monitor ALL
monitor_rollups monitor_work beaconpost_monitor ALL
monitor_states monitor_work beaconpost_monitor ALL
monitor_usage ingest_operate beaconpost_ingest SELECT
monitor_usage monitor_count beaconpost_monitor ALL
monitors monitor_work beaconpost_monitor ALL
notifications monitor_work beaconpost_monitor ALL
payload_retention delivery_scrub beaconpost_delivery ALL
retry_policies delivery_read beaconpost_delivery SELECT
tenant_usage delivery_count beaconpost_delivery ALL
tenant_usage ingest_operate beaconpost_ingest SELECT
tenants delivery_read beaconpost_delivery SELECT
tenants delivery_route beaconpost_delivery UPDATE
tenants ingest_operate beaconpost_ingest ALL
tenants monitor_read beaconpost_monitor SELECT
usage_progress delivery_count beaconpost_delivery ALL
usage_progress ingest_operate beaconpost_ingest SELECT
usage_progress monitor_count beaconpost_monitor ALL
webhook_events delivery_read beaconpost_delivery SELECT
webhook_events delivery_scrub beaconpost_delivery UPDATE
`

func TestPolicies(t *testing.T) {
	t.Parallel()
	conn := superuser(t, pgtest.New(t))
	strict := map[string]bool{}
	across, appends := "\n", 0
	for _, p := range collect(t, conn, pgx.RowToStructByPos[policy], selectPolicies) {
		name := p.Name + " on " + p.Table
		require.Lenf(t, p.Roles, 1, "%s: one role each, never PUBLIC", name)
		require.Containsf(t, serviceRoles(), p.Roles[0], "%s", name)
		if p.Roles[0] != "beaconpost_api" {
			if slices.Contains([]string{"ingest_append", "delivery_notify", "monitor_notify", "monitor_notified"}, p.Name) { // not across tenants: of those that the transaction names
				require.Equal(t, map[bool]string{true: "SELECT", false: "INSERT"}[p.Name == "monitor_notified"], p.Command, name)
				require.Contains(t, p.Check+p.Using, "app.tenant_ids", name)
				appends++
				continue
			}
			across += fmt.Sprintln(p.Table, p.Name, p.Roles[0], p.Command)
			continue
		}
		require.True(t, p.Permissive, name)
		require.NotEmpty(t, p.Using+p.Check, name)
		for _, expression := range []string{p.Using, p.Check} {
			if expression != "" {
				require.Containsf(t, expression, "app.tenant_id", "%s", name)
			}
		}
		strict[p.Table] = true
	}
	require.Equal(t, acrossTenants, across)
	require.Equal(t, 8, appends)
	for _, r := range tenantTables(t, conn) {
		require.Truef(t, strict[r.Name], "table %s has no policy for beaconpost_api", r.Name)
		delete(strict, r.Name)
	}
	require.True(t, strict[progressTable], "a tenant may see how far its usage was counted")
	delete(strict, progressTable)
	require.Empty(t, strict, "policies of partitions")
}

func TestRoles(t *testing.T) {
	t.Parallel()
	conn := superuser(t, pgtest.New(t))
	type role struct {
		Name                                                              string
		Login, Inherit, Super, BypassRLS, CreateRole, CreateDB, Replicate bool
		Settings, Owned                                                   int
	}
	const query = `
SELECT r.rolname::text, rolcanlogin, rolinherit, rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolreplication,
    (SELECT count(*) FROM pg_db_role_setting s WHERE s.setrole = r.oid),
    (SELECT count(*) FROM pg_shdepend d JOIN pg_database b ON b.oid = d.dbid OR d.dbid = 0
        WHERE b.datname = current_database() AND d.deptype = 'o' AND d.refclassid = 'pg_authid'::regclass AND d.refobjid = r.oid)
FROM pg_roles r WHERE rolname ^@ 'beaconpost_' ORDER BY 1`
	var names []string
	for _, r := range collect(t, conn, pgx.RowToStructByPos[role], query) {
		if r.Name == pgcluster.RoleOwner {
			require.NotZero(t, r.Owned, "the look at owned objects does not work")
			require.False(t, r.Super || r.BypassRLS, r.Name)
			continue
		}
		names = append(names, r.Name)
		require.Equal(t, role{Name: r.Name, Login: r.Name == pgcluster.RoleApp}, r)
	}
	expected := append(serviceRoles(), pgcluster.RoleApp)
	slices.Sort(expected)
	require.Equal(t, expected, names)
}

func TestFunctions(t *testing.T) {
	t.Parallel()
	conn := superuser(t, pgtest.New(t))
	type function struct {
		Name    string
		Definer bool
		Config  []string
		API     bool // beaconpost_api may execute it
		Public  bool
	}
	const query = `
SELECT oid::regprocedure::text, prosecdef, coalesce(proconfig, '{}'), has_function_privilege('beaconpost_api', oid, 'EXECUTE'),
    EXISTS (SELECT FROM aclexplode(coalesce(proacl, acldefault('f', proowner))) WHERE grantee = 0)
FROM pg_proc WHERE pronamespace = 'public'::regnamespace ORDER BY 1`
	definers := 0
	for _, f := range collect(t, conn, pgx.RowToStructByPos[function], query) {
		if !f.Definer {
			continue
		}
		definers++
		require.Falsef(t, f.Public, "%s runs as its owner: REVOKE EXECUTE … FROM PUBLIC", f.Name)
		require.Falsef(t, f.API, "%s runs as its owner, past the tenant's policies", f.Name)
		pinned := slices.ContainsFunc(f.Config, func(setting string) bool {
			// pg_temp is searched first unless it is named.
			return strings.HasPrefix(setting, "search_path=") && strings.HasSuffix(setting, ", pg_temp")
		})
		require.Truef(t, pinned, "%s: SET search_path = public, pg_temp; has %s", f.Name, f.Config)
	}
	require.NotZero(t, definers)
}
