package postgres_test

import (
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/postgres"
	"github.com/beaconpost/beaconpost/pkg/postgres/pgtest"
	"github.com/beaconpost/beaconpost/pkg/tenant"
)

const invalidText = "22P02"

// row is one row of a table that a test stores.
type row struct {
	table  string
	values map[string]any
}

// rowsOf gives a row of tenant for every table, referenced ones first. Only the tenant's own row and its payload_retention have the same key in every call.
// A table that is not here fails the tests: add it.
func rowsOf(tenant uuid.UUID) []row {
	id := func() uuid.UUID { return uuid.Must(uuid.NewV7()) }
	hash := func() []byte {
		b := make([]byte, 32)
		_, _ = rand.Read(b)
		return b
	}
	project, endpoint, event, delivery := id(), id(), id(), id()
	monitor, incident, channel, policy := id(), id(), id(), id()
	return []row{
		{"tenants", map[string]any{"id": tenant, "name": "a tenant"}},
		{"projects", map[string]any{"tenant_id": tenant, "id": project, "name": project.String()}},
		{"api_keys", map[string]any{"tenant_id": tenant, "id": id(), "name": "key", "prefix": "bp_1", "key_hash": hash(), "scopes": []string{"events:read"}}},
		{"endpoints", map[string]any{"tenant_id": tenant, "id": endpoint, "project_id": project, "url": "https://example.com/"}},
		{"endpoint_secrets", map[string]any{"tenant_id": tenant, "id": id(), "endpoint_id": endpoint, "key_id": "k1", "ciphertext": hash()}},
		{"endpoint_health", map[string]any{"tenant_id": tenant, "endpoint_id": endpoint, "state": "failing", "look_at": time.Now()}},
		{"endpoint_rates", map[string]any{"tenant_id": tenant, "endpoint_id": endpoint, "tokens": 1.5, "updated_at": time.Now()}},
		{"endpoint_stats", map[string]any{"tenant_id": tenant, "endpoint_id": endpoint, "hour": time.Now(), "attempt_counts": []int64{1}, "latency_counts": []int64{1}}},
		{"tenant_usage", map[string]any{"tenant_id": tenant, "hour": time.Now()}},
		{"monitor_usage", map[string]any{"tenant_id": tenant, "hour": time.Now()}},
		{"payload_retention", map[string]any{"tenant_id": tenant, "after_ms": 1000}},
		{"retry_policies", map[string]any{"tenant_id": tenant, "project_id": project, "max_attempts": 3}},
		{"idempotency_keys", map[string]any{"tenant_id": tenant, "key": id().String(), "body_hash": hash(), "event_id": event}},
		{"webhook_events", map[string]any{"tenant_id": tenant, "id": event, "event_type": "order.paid", "payload": []byte("{}")}},
		{"deliveries", map[string]any{"tenant_id": tenant, "id": delivery, "event_id": event, "endpoint_id": endpoint, "next_attempt_at": time.Now()}},
		{"delivery_attempts", map[string]any{"tenant_id": tenant, "id": id(), "delivery_id": delivery, "started_at": time.Now(), "duration_us": 1, "number": 1}},
		{"monitors", map[string]any{
			"tenant_id": tenant, "id": monitor, "name": monitor.String(), "kind": "http", "spec": "{}", "interval_ms": 30000, "timeout_ms": 10000,
			"failure_threshold": 3, "recovery_threshold": 2, "confirm": true, "paused": false, "regions": []string{"default"},
		}},
		{"monitor_states", map[string]any{"tenant_id": tenant, "monitor_id": monitor, "state": "{}", "rules": 1}},
		{"monitor_intervals", map[string]any{"tenant_id": tenant, "monitor_id": monitor, "started_at": time.Now(), "status": "up"}},
		{"monitor_checks", map[string]any{
			"tenant_id": tenant, "id": id(), "monitor_id": monitor, "slot": 1, "started_at": time.Now(), "duration_us": 1, "lag_us": 1, "outcome": "up", "region": "default",
		}},
		{"monitor_rollups", map[string]any{"tenant_id": tenant, "monitor_id": monitor, "step": "1d", "bucket": time.Now(), "region": "default"}},
		{"incidents", map[string]any{"tenant_id": tenant, "id": incident, "monitor_id": monitor, "title": "it is down", "opened_at": time.Now()}},
		{"incident_notes", map[string]any{"tenant_id": tenant, "id": id(), "incident_id": incident, "author": "me", "text": "seen"}},
		{"maintenance_windows", map[string]any{"tenant_id": tenant, "id": id(), "name": "window", "spec": "{}"}},
		{"alert_channels", map[string]any{"tenant_id": tenant, "id": channel, "name": "mail", "kind": "email", "spec": "{}"}},
		{"alert_policies", map[string]any{"tenant_id": tenant, "id": policy, "name": "policy", "spec": "{}"}},
		{"alert_progress", map[string]any{"tenant_id": tenant, "incident_id": incident, "policy_id": policy}},
		{"notifications", map[string]any{
			"tenant_id": tenant, "id": id(), "channel_id": channel, "policy_id": policy, "incident_id": incident, "kind": "fire", "due_at": time.Now(), "group_ms": 1, "next_at": time.Now(),
		}},
	}
}

func (r row) insert() (sql string, args []any) {
	var columns, places []string
	for column, value := range r.values {
		columns, args = append(columns, column), append(args, value)
		places = append(places, fmt.Sprintf("$%d", len(args)))
	}
	return fmt.Sprintf("INSERT INTO %s (%s) VALUES (%s)", r.table, strings.Join(columns, ", "), strings.Join(places, ", ")), args
}

// isolation is a database with rows of two tenants in every table.
type isolation struct {
	t      *testing.T
	db     *pgtest.Database
	super  *pgx.Conn
	tables []relation
	a, b   uuid.UUID
}

func newIsolation(t *testing.T) *isolation {
	t.Helper()
	db := pgtest.New(t)
	i := &isolation{t: t, db: db, super: superuser(t, db), a: uuid.Must(uuid.NewV7()), b: uuid.Must(uuid.NewV7())}
	i.tables = tenantTables(t, i.super)
	for _, tenant := range []uuid.UUID{i.a, i.b} {
		for _, r := range rowsOf(tenant) {
			sql, args := r.insert()
			_, err := i.super.Exec(t.Context(), sql, args...)
			require.NoError(t, err, r.table)
		}
	}
	for _, table := range i.tables {
		for _, tenant := range []uuid.UUID{i.a, i.b} {
			require.NotEmptyf(t, i.rows(table, tenant), "table %s is empty: give it a row in rowsOf", table.Name)
		}
	}
	return i
}

// rows reads a tenant's rows past row-level security.
func (i *isolation) rows(table relation, tenant uuid.UUID) []string {
	i.t.Helper()
	return collect(i.t, i.super, pgx.RowTo[string], fmt.Sprintf("SELECT to_json(x)::text FROM %s x WHERE %s = $1 ORDER BY 1", table.Name, table.owner(i.t)), tenant)
}

// as runs fn in a transaction of the services' login that took the role, and rolls back. A nil setting leaves app.tenant_id alone.
func (i *isolation) as(t *testing.T, conn *pgx.Conn, role string, setting *string, fn func(*attempts)) {
	t.Helper()
	tx, err := conn.Begin(t.Context())
	require.NoError(t, err)
	defer tx.Rollback(t.Context())
	_, err = tx.Exec(t.Context(), "SELECT set_config('role', $1, true)", role)
	require.NoError(t, err)
	if setting != nil {
		_, err = tx.Exec(t.Context(), "SELECT set_config('app.tenant_id', $1, true)", *setting)
		require.NoError(t, err)
	}
	fn(&attempts{t: t, tx: tx})
}

// attempts are statements that may fail without ending the transaction.
type attempts struct {
	t  *testing.T
	tx pgx.Tx
}

// try undoes what the statement did.
func (a *attempts) try(sql string, args ...any) (affected int64, err error) {
	a.t.Helper()
	savepoint, err := a.tx.Begin(a.t.Context())
	require.NoError(a.t, err)
	tag, err := savepoint.Exec(a.t.Context(), sql, args...)
	require.NoError(a.t, savepoint.Rollback(a.t.Context()))
	return tag.RowsAffected(), err
}

// may asks the catalog; column may be empty.
func (a *attempts) may(privilege, table, column string) bool {
	a.t.Helper()
	var granted bool
	err := a.tx.QueryRow(a.t.Context(), `
SELECT CASE WHEN $3 = '' THEN has_table_privilege($2, $1) ELSE has_column_privilege($2, $3, $1) END`, privilege, table, column).Scan(&granted)
	require.NoError(a.t, err)
	return granted
}

// check expects a statement to affect this many rows if the right to it is granted, and to be refused if not.
func (a *attempts) check(granted bool, rows int, sql string, args ...any) {
	a.t.Helper()
	affected, err := a.try(sql, args...)
	if !granted {
		requireRefused(a.t, err, sql)
		return
	}
	require.NoError(a.t, err, sql)
	require.Equal(a.t, int64(rows), affected, sql)
}

func TestTenantsCannotReachEachOther(t *testing.T) {
	t.Parallel()
	for name, grantAll := range map[string]bool{
		"as granted": false,
		// Row-level security has to hold by itself: a grant may be widened one day.
		"with all privileges": true,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := newIsolation(t)
			if grantAll {
				_, err := i.super.Exec(t.Context(), "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO beaconpost_api")
				require.NoError(t, err)
			}
			before := map[string][]string{}
			for _, table := range i.tables {
				before[table.Name] = i.rows(table, i.b)
			}
			conn, self := connect(t, i.db.AppURL), i.a.String()
			i.as(t, conn, "beaconpost_api", &self, func(a *attempts) {
				for _, table := range i.tables {
					i.readsOnlyOwn(a, table)
					i.changesOnlyOwn(a, table)
				}
				i.insertsOnlyOwn(a)
			})
			for _, table := range i.tables {
				require.Equal(t, before[table.Name], i.rows(table, i.b), table.Name)
			}
		})
	}
}

func (i *isolation) readsOnlyOwn(a *attempts, table relation) {
	a.t.Helper()
	seen := collect(a.t, a.tx, pgx.RowTo[uuid.UUID], fmt.Sprintf("SELECT %s FROM %s", table.owner(a.t), table.Name))
	require.Equal(a.t, []uuid.UUID{i.a}, seen, table.Name)
	hidden := collect(a.t, a.tx, pgx.RowTo[uuid.UUID], fmt.Sprintf("SELECT %[1]s FROM %[2]s WHERE %[1]s = $1", table.owner(a.t), table.Name), i.b)
	require.Empty(a.t, hidden, table.Name)
}

func (i *isolation) changesOnlyOwn(a *attempts, table relation) {
	a.t.Helper()
	owner := table.owner(a.t)
	for _, column := range table.Columns {
		granted := a.may("UPDATE", table.Name, column)
		a.check(granted, 0, fmt.Sprintf("UPDATE %[1]s SET %[2]s = %[2]s WHERE %[3]s = $1", table.Name, column, owner), i.b)
		a.check(granted, 1, fmt.Sprintf("UPDATE %[1]s SET %[2]s = %[2]s", table.Name, column))
	}
	_, err := a.try(fmt.Sprintf("UPDATE %s SET %s = $1", table.Name, owner), i.b)
	requireRefused(a.t, err, "giving rows of "+table.Name+" away")
	a.check(a.may("DELETE", table.Name, ""), 0, fmt.Sprintf("DELETE FROM %s WHERE %s = $1", table.Name, owner), i.b)
}

func (i *isolation) insertsOnlyOwn(a *attempts) {
	a.t.Helper()
	for _, r := range rowsOf(i.b) {
		sql, args := r.insert()
		_, err := a.try(sql, args...)
		requireRefused(a.t, err, "inserting into "+r.table+" for another tenant")
	}
	for _, r := range rowsOf(i.a) {
		if r.table == "tenants" || r.table == "payload_retention" {
			continue // the row that there can be exists already
		}
		sql, args := r.insert()
		granted := a.may("INSERT", r.table, "")
		a.check(granted, 1, sql, args...)
		if granted { // the next rows refer to it
			_, err := a.tx.Exec(a.t.Context(), sql, args...)
			require.NoError(a.t, err)
		}
	}
}

func TestWithoutATenantThereIsNothing(t *testing.T) {
	t.Parallel()
	i := newIsolation(t)
	empty, self := "", i.a.String()
	fresh, used := connect(t, i.db.AppURL), connect(t, i.db.AppURL)
	i.as(t, used, "beaconpost_api", &self, func(a *attempts) { i.readsOnlyOwn(a, i.tables[0]) })
	for name, state := range map[string]struct {
		conn    *pgx.Conn
		setting *string
	}{
		"never set":                    {fresh, nil},
		"set in a transaction before":  {used, nil},
		"empty":                        {used, &empty},
		"empty, on a fresh connection": {connect(t, i.db.AppURL), &empty},
	} {
		i.as(t, state.conn, "beaconpost_api", state.setting, func(a *attempts) {
			for _, table := range i.tables {
				require.Emptyf(t, collect(t, a.tx, pgx.RowTo[int], "SELECT 1 FROM "+table.Name), "%s, %s", table.Name, name)
				for _, column := range table.Columns {
					a.check(a.may("UPDATE", table.Name, column), 0, fmt.Sprintf("UPDATE %[1]s SET %[2]s = %[2]s", table.Name, column))
				}
			}
			for _, r := range rowsOf(i.a) {
				sql, args := r.insert()
				_, err := a.try(sql, args...)
				requireRefused(t, err, "inserting into "+r.table+" without a tenant, "+name)
			}
		})
	}
}

func TestGarbageInsteadOfATenantIsAnError(t *testing.T) {
	t.Parallel()
	i := newIsolation(t)
	conn := connect(t, i.db.AppURL)
	for _, garbage := range []string{"garbage", " ", i.a.String() + "0", "' OR true --", "%"} {
		i.as(t, conn, "beaconpost_api", &garbage, func(a *attempts) {
			for _, table := range i.tables {
				_, err := a.try("SELECT FROM " + table.Name)
				var pe *pgconn.PgError
				require.ErrorAs(t, err, &pe, table.Name)
				require.Equal(t, invalidText, pe.Code, pe.Message)
			}
		})
	}
}

// A policy that names rows by the tenant says nothing about a partition that is addressed itself.
func TestPartitionsCannotBeAddressed(t *testing.T) {
	t.Parallel()
	i := newIsolation(t)
	conn, self := connect(t, i.db.AppURL), i.a.String()
	partitions := slices.DeleteFunc(relations(t, i.super), func(r relation) bool { return !r.Partition })
	each := func(visit func(a *attempts, name string)) {
		for _, role := range serviceRoles() {
			i.as(t, conn, role, &self, func(a *attempts) {
				for _, p := range partitions {
					visit(a, p.Name)
				}
			})
		}
	}
	each(func(a *attempts, name string) {
		for _, statement := range []string{"SELECT FROM " + name, "INSERT INTO " + name + " DEFAULT VALUES", "DELETE FROM " + name, "TRUNCATE " + name, "LOCK " + name} {
			_, err := a.try(statement)
			requireRefused(t, err, statement)
		}
	})
	roles := strings.Join(serviceRoles(), ", ")
	_, err := i.super.Exec(t.Context(), "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO "+roles)
	require.NoError(t, err)
	each(func(a *attempts, name string) {
		require.Empty(t, collect(t, a.tx, pgx.RowTo[int], "SELECT 1 FROM "+name), "a partition has no policy, so it shows nothing even if it is granted")
	})
}

// Background work is given rows of all tenants only where a grant and a policy say so.
func TestBackgroundRolesSeeWhatIsGranted(t *testing.T) {
	t.Parallel()
	i := newIsolation(t)
	conn, self := connect(t, i.db.AppURL), i.a.String()
	for _, role := range serviceRoles() {
		if role == "beaconpost_api" {
			continue
		}
		seen := 0
		i.as(t, conn, role, &self, func(a *attempts) {
			for _, table := range i.tables {
				columns := slices.DeleteFunc(slices.Clone(table.Columns), func(c string) bool { return !a.may("SELECT", table.Name, c) })
				if len(columns) == 0 {
					_, err := a.try("SELECT FROM " + table.Name)
					requireRefused(t, err, role+": "+table.Name)
					continue
				}
				seen++
				require.Contains(t, columns, table.owner(t), "%s: %s", role, table.Name)
				tenants := collect(t, a.tx, pgx.RowTo[uuid.UUID], fmt.Sprintf("SELECT %s FROM %s", table.owner(t), table.Name))
				if role == "beaconpost_monitor" && table.Name == "deliveries" { // those of tenants that the transaction names, to announce what it has stored
					require.Empty(t, tenants)
					continue
				}
				require.ElementsMatchf(t, []uuid.UUID{i.a, i.b}, tenants, "%s: %s", role, table.Name)
			}
		})
		require.NotZero(t, seen, role)
	}
}

// Ingest's flush is for many tenants in one statement. It can append for those that it names, and for nobody else.
func TestAFlushAppendsForTheTenantsItNamesOnly(t *testing.T) {
	t.Parallel()
	b := setup(t, 1)
	insert := func(named []tenant.ID, owners ...tenant.ID) error {
		p := &postgres.Pipeline{}
		if named != nil {
			p.Tenants(named)
		} else {
			p.Role(postgres.RoleIngest)
		}
		n := len(owners)
		owner := func(i int) uuid.UUID { return owners[i].UUID() }
		ids := func(int) uuid.UUID { return uuid.Must(uuid.NewV7()) }
		text := func(int) string { return uuid.NewString() }
		hash := func(int) []byte { return make([]byte, 32) }
		p.Queue(`INSERT INTO webhook_events (tenant_id, id, event_type, payload) SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::bytea[])`, nil,
			postgres.UUIDs(n, owner), postgres.UUIDs(n, ids), postgres.Texts(n, text), postgres.NullBytes(n, hash))
		p.Queue(`INSERT INTO deliveries (tenant_id, id, event_id, endpoint_id, next_attempt_at) SELECT t, i, i, i, now() FROM unnest($1::uuid[], $2::uuid[]) AS x (t, i)`, nil,
			postgres.UUIDs(n, owner), postgres.UUIDs(n, ids))
		p.Queue(`INSERT INTO idempotency_keys (tenant_id, key, body_hash, event_id) SELECT * FROM unnest($1::uuid[], $2::text[], $3::bytea[], $4::uuid[]) RETURNING event_id`, nil,
			postgres.UUIDs(n, owner), postgres.Texts(n, text), postgres.NullBytes(n, hash), postgres.UUIDs(n, ids))
		return b.Run(t.Context(), p)
	}
	count := func() (n int) {
		require.NoError(t, b.root.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM webhook_events) + (SELECT count(*) FROM deliveries) + (SELECT count(*) FROM idempotency_keys)`).Scan(&n))
		return n
	}
	require.NoError(t, insert([]tenant.ID{b.a}, b.a, b.a))
	require.NoError(t, insert([]tenant.ID{b.a, b.b}, b.b, b.a))
	require.Equal(t, 12, count())
	for name, err := range map[string]error{
		"another's":         insert([]tenant.ID{b.a}, b.b),
		"one among others'": insert([]tenant.ID{b.a}, b.a, b.a, b.b),
		"nobody named":      insert(nil, b.a),
		"an empty list":     insert([]tenant.ID{}, b.a),
	} {
		requireRefused(t, err, name)
	}
	require.Equal(t, 12, count())

	// Each table by itself refuses too.
	for _, sql := range []string{
		`INSERT INTO webhook_events (tenant_id, id, event_type, payload) VALUES ($1, $2, 'x', '')`,
		`INSERT INTO deliveries (tenant_id, id, event_id, endpoint_id, next_attempt_at) VALUES ($1, $2, $2, $2, now())`,
		`INSERT INTO idempotency_keys (tenant_id, key, body_hash, event_id) VALUES ($1, 'k', sha256(''), $2)`,
	} {
		p := &postgres.Pipeline{}
		p.Tenants([]tenant.ID{b.a})
		p.Queue(sql, nil, b.b.UUID(), uuid.Must(uuid.NewV7()))
		requireRefused(t, b.Run(t.Context(), p), sql)
	}
}
