package postgres_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/migrations"
	"github.com/beaconpost/beaconpost/pkg/postgres/pgcluster"
	"github.com/beaconpost/beaconpost/pkg/postgres/pgtest"
)

// baseline is the last migration that was made before there was anybody to upgrade. Those after it expand, or say what they contract.
const baseline = 17

// contracts finds lines of a migration such as
//
//	-- contract: v1.4.0 column deliveries.lane
//
// which say since which release no code needs something, or all code obeys it, so that the code of the release before this one does not mind.
var contracts = regexp.MustCompile(`(?m)^-- contract: (\S+) (.+)$`)

var release = regexp.MustCompile(`^v\d+\.\d+\.\d+$`)

// unsaid gives the breaches that a migration does not say, and what it says wrongly.
func unsaid(found []breach, sql string) (problems []string) {
	said := map[string]bool{}
	for _, m := range contracts.FindAllStringSubmatch(sql, -1) {
		since, key := m[1], strings.TrimSpace(m[2])
		said[key] = true
		if !release.MatchString(since) {
			problems = append(problems, fmt.Sprintf("contract of %s: since which release? got %q", key, since))
		}
		if !slices.ContainsFunc(found, func(b breach) bool { return b.Key == key }) {
			problems = append(problems, fmt.Sprintf("contract of %s: nothing is done to it", key))
		}
	}
	for _, b := range found {
		if !said[b.Key] {
			problems = append(problems, fmt.Sprintf("%s %s: code of the release before would break", b.Key, b.What))
		}
	}
	return problems
}

func TestUnsaid(t *testing.T) {
	t.Parallel()
	found := []breach{{"column deliveries.lane", "is gone"}, {"table lanes", "is gone"}}
	require.Empty(t, unsaid(found, "-- Why.\n-- contract: v1.4.0 column deliveries.lane\n-- contract: v1.4.0 table lanes\n\n-- +goose Up\n"))
	require.Equal(t, []string{"table lanes is gone: code of the release before would break"}, unsaid(found, "-- contract: v1.4.0 column deliveries.lane\n"))
	require.Equal(t, []string{`contract of table lanes: since which release? got "lately"`}, unsaid(found[1:], "-- contract: lately table lanes"))
	require.Equal(t, []string{"contract of table lanes: nothing is done to it"}, unsaid(nil, "-- contract: v1.4.0 table lanes"))
	require.Empty(t, unsaid(nil, "nothing"))
}

type migration struct {
	version int64
	file    string
	sql     string
}

func allMigrations(t *testing.T) (list []migration) {
	t.Helper()
	files, err := fs.Glob(migrations.Files(), "sql/*.sql")
	require.NoError(t, err)
	for _, file := range files {
		text, err := fs.ReadFile(migrations.Files(), file)
		require.NoError(t, err)
		number, _, _ := strings.Cut(path.Base(file), "_")
		version, err := strconv.ParseInt(number, 10, 64)
		require.NoError(t, err)
		list = append(list, migration{version, path.Base(file), string(text)})
	}
	return list
}

// Each migration by itself, on a real Postgres: what code of the release before needs is still there, and asks no more of it.
func TestMigrationsExpand(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	name := db.Name + "_steps"
	exec := func(sql string) {
		conn, err := pgx.Connect(context.Background(), db.URL(pgcluster.Superuser))
		require.NoError(t, err)
		defer conn.Close(context.Background())
		_, err = conn.Exec(context.Background(), sql)
		require.NoError(t, err)
	}
	exec("CREATE DATABASE " + name + " OWNER " + pgcluster.RoleOwner)
	t.Cleanup(func() { exec("DROP DATABASE " + name + " WITH (FORCE)") })
	url, err := pgcluster.RoleURL(db.OwnerURL, pgcluster.RoleOwner, name)
	require.NoError(t, err)
	conn := connect(t, url)

	before := schema{}
	history := map[int64][]string{}
	for _, m := range allMigrations(t) {
		require.NoError(t, migrations.UpTo(t.Context(), url, m.version))
		after := readSchema(t, conn)
		if m.version > baseline {
			require.Empty(t, unsaid(breaches(before, after), m.sql), m.file)
		} else if m.version > 1 {
			for _, b := range breaches(before, after) {
				history[m.version] = append(history[m.version], b.Key+" "+b.What)
			}
		}
		before = after
	}
	// That it finds what there is to find, with what was done before the baseline.
	require.Equal(t, []string{
		"constraint delivery_attempts.delivery_attempts_pkey definition: PRIMARY KEY (tenant_id, delivery_id, id), was PRIMARY KEY (tenant_id, id)",
		"index delivery_attempts_by_delivery is gone",
	}, history[7])
	require.Equal(t, []string{
		"grant INSERT to beaconpost_api on table deliveries is gone",
		"grant INSERT to beaconpost_api on table idempotency_keys is gone",
		"grant INSERT to beaconpost_api on table webhook_events is gone",
	}, history[8])
	require.Contains(t, history[4], "table deliveries row security: true, was false")
	require.Empty(t, history[13])
}

// What has been applied somewhere is never changed: it would not be applied again. A new migration adds its line, which is what sha256sum prints.
func TestMigrationsStayAsTheyWere(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("testdata/migrations.sha256")
	require.NoError(t, err)
	var want, have []string
	for line := range strings.Lines(string(text)) {
		want = append(want, strings.TrimSpace(line))
	}
	for _, m := range allMigrations(t) {
		sum := sha256.Sum256([]byte(m.sql))
		have = append(have, hex.EncodeToString(sum[:])+"  "+m.file)
	}
	require.Equal(t, want, have)
}
