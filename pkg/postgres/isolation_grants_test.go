package postgres_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/postgres/pgcluster"
	"github.com/beaconpost/beaconpost/pkg/postgres/pgtest"
)

const insufficientPrivilege = "42501"

// selectGrants reads every access control list of the schema: who (other than the object's owner) may do what with which object. It
// names PUBLIC too. A grant of columns names them; one that can be passed on ends in *.
const selectGrants = `
WITH acls AS (
    SELECT c.relname::text AS object, '' AS columns, c.relowner AS owner, acl.*
    FROM pg_class c, aclexplode(c.relacl) acl WHERE c.relnamespace = 'public'::regnamespace
    UNION ALL
    SELECT c.relname, a.attname, c.relowner, acl.*
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid, aclexplode(a.attacl) acl WHERE c.relnamespace = 'public'::regnamespace
    UNION ALL
    SELECT 'function ' || p.oid::regprocedure::text, '', p.proowner, acl.*
    FROM pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) acl WHERE p.pronamespace = 'public'::regnamespace
    UNION ALL
    SELECT 'schema ' || n.nspname, '', n.nspowner, acl.*
    FROM pg_namespace n, aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) acl WHERE n.nspname = 'public'
), privileges AS (
    SELECT coalesce(nullif(pg_get_userbyid(grantee), 'unknown (OID=0)'), 'PUBLIC') AS grantee, object,
        privilege_type || CASE WHEN is_grantable THEN '*' ELSE '' END AS privilege, columns
    FROM acls WHERE grantee <> owner
), summed AS (
    SELECT grantee, object, privilege, string_agg(columns, ', ' ORDER BY columns) FILTER (WHERE columns <> '') AS columns
    FROM privileges GROUP BY grantee, object, privilege, columns = ''
)
SELECT line FROM (
    SELECT object, grantee || ': ' || object || ': ' || string_agg(privilege || coalesce(' (' || columns || ')', ''), ', ' ORDER BY privilege, columns) AS line
    FROM summed GROUP BY grantee, object
) lines`

// What each role may do, and nothing else. Whoever widens a grant changes this on purpose.
const grants = `
PUBLIC: function beaconpost_add_counts(bigint[],bigint[]): EXECUTE
PUBLIC: function beaconpost_keep_size(): EXECUTE
PUBLIC: function beaconpost_shard(uuid): EXECUTE
PUBLIC: function beaconpost_sum_counts(bigint[]): EXECUTE
PUBLIC: function beaconpost_touch_endpoint(): EXECUTE
PUBLIC: function beaconpost_touch_parking(): EXECUTE
PUBLIC: function beaconpost_touch_policy(): EXECUTE
PUBLIC: function beaconpost_touch_routing(): EXECUTE
PUBLIC: function beaconpost_touch_secret(): EXECUTE
PUBLIC: function beaconpost_uuid_floor(timestamp with time zone): EXECUTE
PUBLIC: schema public: USAGE
beaconpost_api: alert_channels: INSERT, SELECT, UPDATE
beaconpost_api: alert_policies: INSERT, SELECT, UPDATE
beaconpost_api: alert_progress: INSERT, SELECT, UPDATE
beaconpost_api: api_keys: INSERT, SELECT, UPDATE (revoked_at)
beaconpost_api: deliveries: SELECT, UPDATE (cancel_reason, claimed_until, completed_at, next_attempt_at, status)
beaconpost_api: delivery_attempts: SELECT
beaconpost_api: endpoint_health: INSERT, SELECT, UPDATE
beaconpost_api: endpoint_rates: SELECT
beaconpost_api: endpoint_secrets: INSERT, SELECT, UPDATE (expires_at)
beaconpost_api: endpoint_stats: SELECT
beaconpost_api: endpoints: INSERT, SELECT, UPDATE
beaconpost_api: idempotency_keys: SELECT
beaconpost_api: incident_notes: INSERT, SELECT
beaconpost_api: incidents: INSERT, SELECT, UPDATE
beaconpost_api: maintenance_windows: DELETE, INSERT, SELECT, UPDATE
beaconpost_api: monitor_checks: SELECT
beaconpost_api: monitor_intervals: INSERT, SELECT, UPDATE
beaconpost_api: monitor_rollups: SELECT
beaconpost_api: monitor_states: INSERT, SELECT, UPDATE
beaconpost_api: monitor_usage: SELECT
beaconpost_api: monitors: INSERT, SELECT, UPDATE
beaconpost_api: notifications: SELECT
beaconpost_api: payload_retention: DELETE, INSERT, SELECT, UPDATE
beaconpost_api: projects: INSERT, SELECT
beaconpost_api: retry_policies: DELETE, INSERT, SELECT, UPDATE
beaconpost_api: schema public: USAGE
beaconpost_api: tenant_usage: SELECT
beaconpost_api: tenants: SELECT, UPDATE (parking_at, routing_version)
beaconpost_api: usage_progress: SELECT
beaconpost_api: webhook_events: SELECT
beaconpost_delivery: api_keys: SELECT (expires_at, id, key_hash, revoked_at, scopes, tenant_id)
beaconpost_delivery: deliveries: INSERT (endpoint_id, event_id, id, next_attempt_at, tenant_id), SELECT, UPDATE (attempts, cancel_reason, claimed_until, completed_at, last_error, last_status, next_attempt_at, status)
beaconpost_delivery: delivery_attempts: INSERT, SELECT (error_class, exhausted, id, recorded_at, status_code, tenant_id)
beaconpost_delivery: endpoint_health: DELETE, INSERT, SELECT, UPDATE
beaconpost_delivery: endpoint_rates: INSERT, SELECT, UPDATE
beaconpost_delivery: endpoint_secrets: SELECT
beaconpost_delivery: endpoint_stats: DELETE, INSERT, SELECT, UPDATE
beaconpost_delivery: endpoints: SELECT, UPDATE (breaker, disabled_at, disabled_reason, status, version)
beaconpost_delivery: function beaconpost_drop_partitions(date,date[]): EXECUTE
beaconpost_delivery: function beaconpost_ensure_partitions(date,date): EXECUTE
beaconpost_delivery: function beaconpost_partitions_ahead(): EXECUTE
beaconpost_delivery: function beaconpost_summarize_recorded(text): EXECUTE
beaconpost_delivery: payload_retention: SELECT, UPDATE (rescan_at, scrubbed_to)
beaconpost_delivery: retry_policies: SELECT
beaconpost_delivery: schema public: USAGE
beaconpost_delivery: tenant_usage: DELETE, INSERT, SELECT, UPDATE
beaconpost_delivery: tenants: SELECT (id, parking_at, routing_version), UPDATE (parking_at, routing_version)
beaconpost_delivery: usage_progress: SELECT, UPDATE (counted_until, sealed_at, sealed_xid)
beaconpost_delivery: webhook_events: INSERT (event_type, fanout, id, payload, project_id, tenant_id), SELECT, UPDATE (payload)
beaconpost_ingest: api_keys: SELECT (expires_at, id, key_hash, revoked_at, scopes, tenant_id)
beaconpost_ingest: deliveries: INSERT (endpoint_id, event_id, id, next_attempt_at, tenant_id, traceparent)
beaconpost_ingest: endpoint_secrets: SELECT, UPDATE (ciphertext, key_id)
beaconpost_ingest: function beaconpost_partitions_ahead(): EXECUTE
beaconpost_ingest: idempotency_keys: DELETE, INSERT (body_hash, event_id, key, tenant_id), SELECT (created_at, event_id, key, tenant_id)
beaconpost_ingest: monitor_usage: SELECT
beaconpost_ingest: schema public: USAGE
beaconpost_ingest: tenant_usage: SELECT
beaconpost_ingest: tenants: INSERT, SELECT
beaconpost_ingest: usage_progress: SELECT
beaconpost_ingest: webhook_events: INSERT (endpoint_id, event_type, fanout, id, payload, project_id, tenant_id)
beaconpost_monitor: alert_channels: SELECT
beaconpost_monitor: alert_policies: SELECT, UPDATE (joined_at)
beaconpost_monitor: alert_progress: DELETE, INSERT, SELECT, UPDATE
beaconpost_monitor: api_keys: SELECT (expires_at, id, key_hash, revoked_at, scopes, tenant_id)
beaconpost_monitor: deliveries: INSERT (endpoint_id, event_id, id, next_attempt_at, tenant_id), SELECT (completed_at, id, next_attempt_at, status, tenant_id)
beaconpost_monitor: endpoints: SELECT (breaker, deleted_at, event_types, id, project_id, status, tenant_id)
beaconpost_monitor: function beaconpost_drop_monitor_partitions(date,date,date): EXECUTE
beaconpost_monitor: function beaconpost_ensure_monitor_partitions(date,date): EXECUTE
beaconpost_monitor: function beaconpost_monitor_partitions_ahead(): EXECUTE
beaconpost_monitor: function beaconpost_summarize_recorded(text): EXECUTE
beaconpost_monitor: incident_notes: DELETE, INSERT, SELECT
beaconpost_monitor: incidents: DELETE, INSERT, SELECT, UPDATE
beaconpost_monitor: maintenance_windows: SELECT
beaconpost_monitor: monitor_checks: INSERT, SELECT
beaconpost_monitor: monitor_intervals: DELETE, INSERT, SELECT, UPDATE
beaconpost_monitor: monitor_rollups: INSERT, SELECT, UPDATE
beaconpost_monitor: monitor_states: INSERT, SELECT, UPDATE
beaconpost_monitor: monitor_usage: DELETE, INSERT, SELECT, UPDATE
beaconpost_monitor: monitors: SELECT, UPDATE (sealed, sealed_key_id)
beaconpost_monitor: notifications: DELETE, INSERT, SELECT, UPDATE
beaconpost_monitor: schema public: USAGE
beaconpost_monitor: tenants: SELECT (id)
beaconpost_monitor: usage_progress: SELECT, UPDATE (counted_until, sealed_at, sealed_xid)
beaconpost_monitor: webhook_events: INSERT (event_type, fanout, id, payload, project_id, tenant_id)
`

func TestGrants(t *testing.T) {
	t.Parallel()
	conn := superuser(t, pgtest.New(t))
	lines := collect(t, conn, pgx.RowTo[string], selectGrants)
	slices.Sort(lines)
	require.Equal(t, grants, "\n"+strings.Join(lines, "\n")+"\n")
}

// requireRefused demands that the database refused a statement for lack of a right, row-level security included.
func requireRefused(t *testing.T, err error, what string) {
	t.Helper()
	var pe *pgconn.PgError
	require.ErrorAsf(t, err, &pe, "%s was not refused", what)
	require.Equalf(t, insufficientPrivilege, pe.Code, "%s: %s", what, pe.Message)
}

func TestLoginMayNothingByItself(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	app := connect(t, db.AppURL)
	for _, r := range relations(t, app) {
		_, err := app.Exec(t.Context(), "SELECT FROM "+pgx.Identifier{r.Name}.Sanitize())
		requireRefused(t, err, "SELECT FROM "+r.Name)
	}
	for _, call := range []string{"beaconpost_ensure_partitions('2030-01-01', '2030-01-01')", "beaconpost_drop_partitions('2000-01-01')", "beaconpost_partitions_ahead()"} {
		_, err := app.Exec(t.Context(), "SELECT "+call)
		requireRefused(t, err, call)
	}
	for _, statement := range []string{"CREATE TABLE mine ()", "CREATE SCHEMA mine", "CREATE ROLE mine", "ALTER TABLE tenants DISABLE ROW LEVEL SECURITY"} {
		_, err := app.Exec(t.Context(), statement)
		requireRefused(t, err, statement)
	}
}

// Whoever got hold of a connection can take the service roles, which is what a connection is for, and no other.
func TestRolesThatCanBeTaken(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	const everyRole = `SELECT rolname::text FROM pg_roles ORDER BY 1`
	for login, own := range map[string][]string{
		pgcluster.RoleApp:   {pgcluster.RoleApp},
		pgcluster.RoleOwner: {pgcluster.RoleOwner, "pg_database_owner"},
	} {
		conn := connect(t, db.URL(login))
		var taken []string
		for _, role := range collect(t, conn, pgx.RowTo[string], everyRole) {
			_, err := conn.Exec(t.Context(), "SET ROLE "+pgx.Identifier{role}.Sanitize())
			if err == nil {
				taken = append(taken, role)
				_, err = conn.Exec(t.Context(), "RESET ROLE")
				require.NoError(t, err)
				continue
			}
			requireRefused(t, err, login+": SET ROLE "+role)
		}
		require.ElementsMatch(t, append(serviceRoles(), own...), taken, login)
		_, err := conn.Exec(t.Context(), "SET SESSION AUTHORIZATION "+pgcluster.Superuser)
		requireRefused(t, err, login+": SET SESSION AUTHORIZATION")
	}

	conn := superuser(t, db)
	const memberships = `SELECT pg_get_userbyid(roleid)::text || ' to ' || pg_get_userbyid(member)::text FROM pg_auth_members WHERE pg_get_userbyid(member) = ANY ($1)`
	require.Empty(t, collect(t, conn, pgx.RowTo[string], memberships, serviceRoles()), "no service role is a member of anything")
	const passedOn = `SELECT pg_get_userbyid(roleid)::text FROM pg_auth_members WHERE pg_get_userbyid(member) = $1 AND admin_option`
	require.Empty(t, collect(t, conn, pgx.RowTo[string], passedOn, pgcluster.RoleApp), "the login can pass roles on")
}
