package postgres_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A schema is what code of some release sees of a database, as the catalog has it: what can be compared with what the next migration makes of it.
// Partitions come and go, and goose's table is its own.
type schema map[string]object

// object is anything with a name. Attributes are named; sets of columns are separated by commas.
type object struct {
	Key    string // kind and name, as in "column deliveries.due_at"
	Parent string // key of what it belongs to; "": nothing
	Attrs  map[string]string
}

const catalog = `
WITH tables AS (
    SELECT c.oid, c.relname AS name, c.relkind, c.relrowsecurity, c.relforcerowsecurity, c.relacl, c.relowner,
           CASE WHEN c.relkind = 'S' THEN 'sequence ' WHEN c.relkind IN ('v', 'm') THEN 'view ' ELSE 'table ' END || c.relname AS key
    FROM pg_class c
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND NOT c.relispartition AND c.relname !~ '^goose_db_version'
),
functions AS (
    SELECT p.*, 'function ' || p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')' AS key
    FROM pg_proc p
    WHERE p.pronamespace = 'public'::regnamespace AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')
),
named_columns AS (
    SELECT attrelid, attnum, attname FROM pg_attribute WHERE attnum > 0 AND NOT attisdropped
)
SELECT key, '' AS parent, jsonb_build_object(
    'kind', relkind, 'row security', relrowsecurity, 'forced row security', relforcerowsecurity,
    'partitions', coalesce(pg_get_partkeydef(oid), ''))
FROM tables
UNION ALL
SELECT 'column ' || t.name || '.' || a.attname, t.key, jsonb_build_object(
    'type', format_type(a.atttypid, a.atttypmod) || CASE WHEN a.attcollation <> y.typcollation THEN ' COLLATE ' || a.attcollation::regcollation ELSE '' END,
    'not null', a.attnotnull, 'has default', a.atthasdef OR a.attidentity <> '', 'generated', a.attgenerated::text || a.attidentity::text)
FROM tables t JOIN pg_attribute a ON a.attrelid = t.oid JOIN pg_type y ON y.oid = a.atttypid
WHERE a.attnum > 0 AND NOT a.attisdropped AND t.relkind <> 'S'
UNION ALL
SELECT 'constraint ' || t.name || '.' || c.conname, t.key, jsonb_build_object(
    'definition', regexp_replace(pg_get_constraintdef(c.oid), ' NOT VALID$', ''),
    'columns', coalesce((SELECT string_agg(n.attname, ',') FROM named_columns n WHERE n.attrelid = t.oid AND n.attnum = ANY (c.conkey)), ''),
    'refuses to delete from', CASE WHEN c.contype = 'f' AND c.confdeltype IN ('a', 'r') THEN 'table ' || (SELECT relname FROM pg_class WHERE oid = c.confrelid) ELSE '' END)
FROM tables t JOIN pg_constraint c ON c.conrelid = t.oid
WHERE c.contype IN ('c', 'f', 'p', 'u', 'x') AND c.conparentid = 0
UNION ALL
SELECT 'index ' || c.relname, t.key, jsonb_build_object(
    'unique', i.indisunique, 'definition', pg_get_indexdef(i.indexrelid),
    'columns', coalesce((SELECT string_agg(n.attname, ',') FROM named_columns n WHERE n.attrelid = t.oid AND n.attnum = ANY (i.indkey)), ''))
FROM tables t JOIN pg_index i ON i.indrelid = t.oid JOIN pg_class c ON c.oid = i.indexrelid
WHERE NOT EXISTS (SELECT FROM pg_constraint x WHERE x.conindid = i.indexrelid AND x.conrelid = t.oid)
UNION ALL
SELECT 'policy ' || t.name || '.' || p.polname, t.key, jsonb_build_object(
    'permissive', p.polpermissive, 'command', p.polcmd, 'roles', (SELECT string_agg(r::regrole::text, ',' ORDER BY r::regrole::text) FROM unnest(p.polroles) r),
    'using', coalesce(pg_get_expr(p.polqual, p.polrelid), ''), 'check', coalesce(pg_get_expr(p.polwithcheck, p.polrelid), ''))
FROM tables t JOIN pg_policy p ON p.polrelid = t.oid
UNION ALL
SELECT 'trigger ' || t.name || '.' || g.tgname, t.key, jsonb_build_object('definition', pg_get_triggerdef(g.oid), 'enabled', g.tgenabled)
FROM tables t JOIN pg_trigger g ON g.tgrelid = t.oid
WHERE NOT g.tgisinternal
UNION ALL
SELECT key, '', jsonb_build_object(
    'name', proname, 'kind', prokind, 'arguments', pg_get_function_arguments(oid), 'result', coalesce(pg_get_function_result(oid), ''),
    'strict', proisstrict, 'security definer', prosecdef)
FROM functions
UNION ALL
SELECT 'type ' || y.typname, '', jsonb_build_object('kind', y.typtype, 'base', CASE WHEN y.typtype = 'd' THEN format_type(y.typbasetype, y.typtypmod) ELSE '' END)
FROM pg_type y
WHERE y.typnamespace = 'public'::regnamespace AND (y.typtype IN ('e', 'd') OR y.typtype = 'c' AND (SELECT relkind FROM pg_class WHERE oid = y.typrelid) = 'c')
UNION ALL
SELECT 'label ' || y.typname || '.' || e.enumlabel, 'type ' || y.typname, '{}'
FROM pg_enum e JOIN pg_type y ON y.oid = e.enumtypid
WHERE y.typnamespace = 'public'::regnamespace
UNION ALL
SELECT 'extension ' || extname, '', '{}' FROM pg_extension
UNION ALL
SELECT 'grant ' || a.privilege_type || ' to ' || CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END || ' on ' || t.key, t.key, '{}'
FROM tables t, aclexplode(coalesce(t.relacl, acldefault(CASE WHEN t.relkind = 'S' THEN 's' ELSE 'r' END::"char", t.relowner))) a
WHERE a.grantee <> t.relowner
UNION ALL
SELECT 'grant ' || a.privilege_type || ' to ' || CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END || ' on column ' || t.name || '.' || c.attname,
    'column ' || t.name || '.' || c.attname, '{}'
FROM tables t JOIN pg_attribute c ON c.attrelid = t.oid, aclexplode(c.attacl) a
WHERE c.attnum > 0 AND NOT c.attisdropped AND a.grantee <> t.relowner
UNION ALL
SELECT 'grant EXECUTE to ' || CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END || ' on ' || f.key, f.key, '{}'
FROM functions f, aclexplode(coalesce(f.proacl, acldefault('f', f.proowner))) a
WHERE a.grantee <> f.proowner
UNION ALL
SELECT 'grant ' || a.privilege_type || ' to ' || CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END || ' on schema public', '', '{}'
FROM pg_namespace n, aclexplode(n.nspacl) a
WHERE n.nspname = 'public' AND a.grantee <> n.nspowner`

func readSchema(t *testing.T, conn *pgx.Conn) schema {
	t.Helper()
	s := schema{}
	type row struct {
		Key, Parent string
		Attrs       map[string]any
	}
	for _, r := range collect(t, conn, pgx.RowToStructByPos[row], catalog) {
		o := object{r.Key, r.Parent, map[string]string{}}
		for name, value := range r.Attrs {
			o.Attrs[name] = fmt.Sprint(value)
		}
		s[r.Key] = o
	}
	return s
}

// A breach is what a migration does to code that runs against the schema before it.
type breach struct{ Key, What string }

// breaches compares what a schema was and what a migration made of it. None: it has only been expanded.
func breaches(before, after schema) (list []breach) {
	for _, key := range slices.Sorted(maps.Keys(before)) {
		was := before[key]
		is, there := after[key]
		switch {
		case before.lost(after, was):
			// It went, or was changed, with a column.
		case there:
			for _, what := range altered(was, is) {
				list = append(list, breach{key, what})
			}
		case was.Parent != "" && before.has(was.Parent) && !after.has(was.Parent):
			// It went with what it belongs to.
		default:
			list = append(list, breach{key, "is gone"})
		}
	}
	for _, key := range slices.Sorted(maps.Keys(after)) {
		if !before.has(key) {
			if what := before.minds(after[key]); what != "" {
				list = append(list, breach{key, what})
			}
		}
	}
	return list
}

func (s schema) has(key string) bool { _, ok := s[key]; return ok }

// lost says whether a constraint or an index is of a column that is gone.
func (s schema) lost(after schema, o object) bool {
	return slices.ContainsFunc(columns(o), func(key string) bool { return s.has(key) && !after.has(key) })
}

// columns gives the keys of the columns that a constraint or an index is of.
func columns(o object) (keys []string) {
	_, table, _ := strings.Cut(o.Parent, " ")
	for name := range strings.SplitSeq(o.Attrs["columns"], ",") {
		if name != "" {
			keys = append(keys, "column "+table+"."+name)
		}
	}
	return keys
}

// altered says what has changed in an object that code may rely on.
func altered(was, is object) (list []string) {
	for _, name := range slices.Sorted(maps.Keys(was.Attrs)) {
		old, now := was.Attrs[name], is.Attrs[name]
		relaxed := strings.HasPrefix(was.Key, "column ") && (name == "not null" && now == "false" || name == "has default" && now == "true")
		if old != now && name != "columns" && !relaxed {
			list = append(list, fmt.Sprintf("%s: %s, was %s", name, now, old))
		}
	}
	return list
}

// minds says why code that knows s minds something new; "": it does not.
func (s schema) minds(o object) string {
	kind, _, _ := strings.Cut(o.Key, " ")
	old := s.has(o.Parent)
	onlyNew := len(columns(o)) > 0 && !slices.ContainsFunc(columns(o), s.has)
	switch {
	case kind == "column" && old && o.Attrs["not null"] == "true" && o.Attrs["has default"] == "false" && o.Attrs["generated"] == "":
		return "is new, not null, and has no default"
	case kind == "constraint" && old && !onlyNew:
		return "is a new constraint of columns that there were"
	case kind == "constraint" && !old && s.deletes(o.Attrs["refuses to delete from"]):
		return "refuses to delete rows that could be deleted"
	case kind == "index" && old && o.Attrs["unique"] == "true" && !onlyNew:
		return "is a new unique index of columns that there were"
	case kind == "policy" && old && o.Attrs["permissive"] == "false":
		return "is a new restrictive policy"
	case kind == "function":
		for key, other := range s {
			if strings.HasPrefix(key, "function ") && other.Attrs["name"] == o.Attrs["name"] {
				return "is a second function of that name: calls may be ambiguous"
			}
		}
	}
	return ""
}

// deletes says whether anybody may delete rows of a table.
func (s schema) deletes(table string) bool {
	for key, o := range s {
		if o.Parent == table && table != "" && strings.HasPrefix(key, "grant DELETE ") {
			return true
		}
	}
	return false
}

// future is a schema to break. A transaction that is rolled back does, so that one database serves all cases.
const future = `
CREATE TYPE mood AS ENUM ('fine', 'bad');
CREATE TABLE shelves (id uuid PRIMARY KEY, name text NOT NULL, note text, size int NOT NULL DEFAULT 1, CONSTRAINT sized CHECK (size > 0), CONSTRAINT shelves_name UNIQUE (name));
ALTER TABLE shelves ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY everybody ON shelves TO beaconpost_api USING (true) WITH CHECK (true);
GRANT SELECT, UPDATE, DELETE ON shelves TO beaconpost_api;
GRANT UPDATE (note) ON shelves TO beaconpost_ingest;
CREATE INDEX shelves_size ON shelves (size);
CREATE UNIQUE INDEX shelves_note ON shelves (note);
CREATE FUNCTION tidy(shelf uuid, hard boolean DEFAULT false) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
CREATE TRIGGER touched BEFORE UPDATE ON shelves FOR EACH ROW EXECUTE FUNCTION touch();
CREATE VIEW names AS SELECT id, name FROM shelves;
CREATE SEQUENCE numbers;
CREATE TABLE logs (id uuid NOT NULL, at timestamptz NOT NULL) PARTITION BY RANGE (id);
CREATE TABLE halls (id uuid PRIMARY KEY);
`

func TestBreaches(t *testing.T) {
	t.Parallel()
	b := setup(t, 1)
	for migration, want := range map[string]string{
		// Expands.
		`ALTER TABLE shelves ADD COLUMN colour text`:                                                                     "",
		`ALTER TABLE shelves ADD COLUMN colour text NOT NULL DEFAULT 'red' CHECK (colour <> '')`:                         "",
		`ALTER TABLE shelves ADD COLUMN twice int GENERATED ALWAYS AS (size * 2) STORED`:                                 "",
		`ALTER TABLE shelves ALTER COLUMN name DROP NOT NULL`:                                                            "",
		`ALTER TABLE shelves ALTER COLUMN note SET DEFAULT ''`:                                                           "",
		`CREATE TABLE books (id uuid PRIMARY KEY, shelf uuid REFERENCES shelves ON DELETE CASCADE)`:                      "",
		`CREATE TABLE rooms (id uuid PRIMARY KEY, hall uuid REFERENCES halls)`:                                           "", // whose rows nobody may delete
		`CREATE INDEX shelves_again ON shelves (name, size)`:                                                             "",
		`CREATE FUNCTION tidier(shelf uuid) RETURNS int LANGUAGE sql AS 'SELECT 2'`:                                      "",
		`CREATE OR REPLACE FUNCTION tidy(shelf uuid, hard boolean DEFAULT false) RETURNS int LANGUAGE sql AS 'SELECT 2'`: "",
		`GRANT INSERT ON shelves TO beaconpost_api`:                                                                      "",
		`ALTER TYPE mood ADD VALUE 'worse'`:                                                                              "",
		`CREATE OR REPLACE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN old; END'`:                 "",
		`CREATE TABLE logs_1 PARTITION OF logs DEFAULT; DROP TABLE logs_1`:                                               "",
		// Takes away.
		`DROP VIEW names; DROP TABLE shelves`:                    "table shelves is gone; view names is gone",
		`ALTER TABLE shelves RENAME TO racks`:                    "table shelves is gone",
		`ALTER TABLE shelves DROP COLUMN note`:                   "column shelves.note is gone",
		`ALTER TABLE shelves RENAME COLUMN size TO width`:        "column shelves.size is gone",
		`DROP FUNCTION tidy`:                                     "function tidy(shelf uuid, hard boolean) is gone",
		`DROP VIEW names`:                                        "view names is gone",
		`DROP SEQUENCE numbers`:                                  "sequence numbers is gone",
		`DROP TRIGGER touched ON shelves`:                        "trigger shelves.touched is gone",
		`ALTER TABLE shelves DISABLE TRIGGER touched`:            "trigger shelves.touched enabled: D, was O",
		`DROP POLICY everybody ON shelves`:                       "policy shelves.everybody is gone",
		`ALTER POLICY everybody ON shelves USING (size > 1)`:     "policy shelves.everybody using: (size > 1), was true",
		`ALTER POLICY everybody ON shelves TO beaconpost_ingest`: "policy shelves.everybody roles: beaconpost_ingest, was beaconpost_api",
		`REVOKE UPDATE ON shelves FROM beaconpost_api`:           "grant UPDATE to beaconpost_api on table shelves is gone",
		`REVOKE UPDATE (note) ON shelves FROM beaconpost_ingest`: "grant UPDATE to beaconpost_ingest on column shelves.note is gone",
		`REVOKE EXECUTE ON FUNCTION tidy FROM PUBLIC`:            "grant EXECUTE to PUBLIC on function tidy(shelf uuid, hard boolean) is gone",
		`REVOKE USAGE ON SCHEMA public FROM beaconpost_api`:      "grant USAGE to beaconpost_api on schema public is gone",
		`DROP INDEX shelves_size`:                                "index shelves_size is gone",
		`ALTER TABLE shelves DROP CONSTRAINT shelves_name`:       "constraint shelves.shelves_name is gone",
		`ALTER TABLE shelves ALTER COLUMN size DROP DEFAULT`:     "column shelves.size has default: false, was true",
		`DROP TYPE mood`:                                         "type mood is gone",
		`ALTER TYPE mood RENAME VALUE 'bad' TO 'sad'`:            "label mood.bad is gone",
		`ALTER TABLE shelves DISABLE ROW LEVEL SECURITY`:         "table shelves row security: false, was true",
		`ALTER TABLE shelves NO FORCE ROW LEVEL SECURITY`:        "table shelves forced row security: false, was true",
		`DROP TABLE logs; CREATE TABLE logs (id uuid NOT NULL, at timestamptz NOT NULL) PARTITION BY RANGE (at)`: "table logs partitions: RANGE (at), was RANGE (id)",
		// Changes.
		`ALTER TABLE shelves ALTER COLUMN note TYPE varchar(10)`:                                                                             "column shelves.note type: character varying(10), was text",
		`ALTER TABLE shelves ALTER COLUMN note TYPE text COLLATE "C"`:                                                                        `column shelves.note type: text COLLATE "C", was text`,
		`DROP FUNCTION tidy; CREATE FUNCTION tidy(shelf uuid, hard boolean DEFAULT false) RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint'`: "function tidy(shelf uuid, hard boolean) result: bigint, was integer",
		`DROP FUNCTION tidy; CREATE FUNCTION tidy(shelf uuid, hard boolean) RETURNS int LANGUAGE sql AS 'SELECT 1'`:                          "function tidy(shelf uuid, hard boolean) arguments: shelf uuid, hard boolean, was shelf uuid, hard boolean DEFAULT false",
		`ALTER FUNCTION tidy SECURITY DEFINER`:                                                                                               "function tidy(shelf uuid, hard boolean) security definer: true, was false",
		`CREATE OR REPLACE VIEW names AS SELECT id, upper(name) AS name FROM shelves`:                                                        "",
		// Adds what old code does not obey.
		`ALTER TABLE shelves ADD COLUMN colour text NOT NULL`:                               "column shelves.colour is new, not null, and has no default",
		`ALTER TABLE shelves ALTER COLUMN note SET NOT NULL`:                                "column shelves.note not null: true, was false",
		`ALTER TABLE shelves ADD CONSTRAINT short CHECK (length(name) < 9) NOT VALID`:       "constraint shelves.short is a new constraint of columns that there were",
		`ALTER TABLE shelves ADD COLUMN most int, ADD CONSTRAINT bound CHECK (size < most)`: "constraint shelves.bound is a new constraint of columns that there were",
		`ALTER TABLE shelves DROP CONSTRAINT sized, ADD CONSTRAINT sized CHECK (size > 1)`:  "constraint shelves.sized definition: CHECK ((size > 1)), was CHECK ((size > 0))",
		`CREATE UNIQUE INDEX shelves_one ON shelves (size)`:                                 "index shelves_one is a new unique index of columns that there were",
		`CREATE TABLE books (id uuid PRIMARY KEY, shelf uuid REFERENCES shelves)`:           "constraint books.books_shelf_fkey refuses to delete rows that could be deleted",
		`CREATE POLICY nobody ON shelves AS RESTRICTIVE USING (false)`:                      "policy shelves.nobody is a new restrictive policy",
		`CREATE FUNCTION tidy(shelf uuid) RETURNS int LANGUAGE sql AS 'SELECT 1'`:           "function tidy(shelf uuid) is a second function of that name: calls may be ambiguous",
	} {
		tx, err := b.root.Begin(t.Context())
		require.NoError(t, err)
		exec := func(sql string) {
			_, err := tx.Exec(t.Context(), sql)
			require.NoError(t, err, sql)
		}
		exec(future)
		before := readSchema(t, tx.Conn())
		exec(migration)
		var got []string
		for _, breach := range breaches(before, readSchema(t, tx.Conn())) {
			got = append(got, breach.Key+" "+breach.What)
		}
		assert.Equal(t, want, strings.Join(got, "; "), migration)
		require.NoError(t, tx.Rollback(t.Context()))
	}
}
