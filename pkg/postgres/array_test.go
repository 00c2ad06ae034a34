package postgres_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/postgres"
)

// ask runs a query of one row and one column.
func ask[T any](b *bench, sql string, args ...any) (got T, err error) {
	p := &postgres.Pipeline{}
	p.Queue(sql, func(rows pgx.Rows) (err error) {
		got, err = pgx.CollectExactlyOneRow(rows, pgx.RowTo[T])
		return err
	}, args...)
	err = b.Run(b.t.Context(), p)
	return got, err
}

func of[T any](values ...T) (int, func(int) T) {
	return len(values), func(i int) T { return values[i] }
}

// What the server reads is compared with what it writes for the same value.
func TestArraysArriveAsTheyWereMeant(t *testing.T) {
	t.Parallel()
	b := setup(t, 2)
	id := uuid.MustParse("0190d3c4-0f35-7b6a-9d2e-0123456789ab")
	at := time.Date(2026, 11, 23, 20, 15, 30, 123456789, time.FixedZone("", 3600))
	for name, tt := range map[string]struct {
		cast  string
		array postgres.Array
		want  string
	}{
		"uuid":         {"uuid[]", postgres.UUIDs(of(id, uuid.Nil)), "{" + id.String() + ",00000000-0000-0000-0000-000000000000}"},
		"no uuid":      {"uuid[]", postgres.UUIDs(of[uuid.UUID]()), "{}"},
		"null uuid":    {"uuid[]", postgres.NullUUIDs(of(&id, nil)), "{" + id.String() + ",NULL}"},
		"text":         {"text[]", postgres.Texts(of("", "a", "ä,\"{")), `{"",a,"ä,\"{"}`},
		"null text":    {"text[]", postgres.NullTexts(of("", "a")), "{NULL,a}"},
		"bytes":        {"bytea[]", postgres.NullBytes(of(nil, []byte{}, []byte{0, 255})), `{NULL,"\\x","\\x00ff"}`},
		"int":          {"int[]", postgres.Ints(of(0, -1, 1<<31-1)), "{0,-1,2147483647}"},
		"null int":     {"int[]", postgres.NullInts(of(0, -1)), "{NULL,-1}"},
		"bigint":       {"bigint[]", postgres.BigInts(of(int64(-1<<63), 1<<63-1)), "{-9223372036854775808,9223372036854775807}"},
		"bool":         {"bool[]", postgres.Bools(of(true, false)), "{t,f}"},
		"time":         {"timestamptz[]", postgres.Times(of(at, time.Unix(0, 0), time.Time{})), `{"2026-11-23 19:15:30.123456+00","1970-01-01 00:00:00+00",infinity}`},
		"used as long": {"text[]", postgres.Texts(300, func(int) string { return "x" }), "{x" + strings.Repeat(",x", 299) + "}"},
	} {
		for range 2 { // the second execution uses the prepared statement
			got, err := ask[string](b, `SELECT ($1::`+tt.cast+`)::text FROM (SELECT set_config('TimeZone', 'UTC', true)) x`, tt.array)
			require.NoError(t, err, name)
			require.Equal(t, tt.want, got, name)
		}
	}
}

func TestAnArrayOfTheWrongTypeIsRefusedHere(t *testing.T) {
	t.Parallel()
	b := setup(t, 1)
	_, err := ask[string](b, `SELECT ($1::text[])::text`, postgres.Ints(of(1)))
	require.ErrorContains(t, err, "encode")
	_, err = ask[string](b, `SELECT ($1::int[])::text`, postgres.Ints(of(1)))
	require.NoError(t, err, "the connection goes on")
}

func TestUUIDsComeBack(t *testing.T) {
	t.Parallel()
	b := setup(t, 1)
	one, two := uuid.New(), uuid.New()
	got, err := ask[[]uuid.UUID](b, `SELECT $1::uuid[]`, postgres.UUIDs(of(one, two)))
	require.NoError(t, err)
	require.Equal(t, []uuid.UUID{one, two}, got)
	got, err = ask[[]uuid.UUID](b, `SELECT '{}'::uuid[]`)
	require.NoError(t, err)
	require.Empty(t, got)
	_, err = ask[[]uuid.UUID](b, `SELECT $1::uuid[]`, postgres.NullUUIDs(of(&one, nil)))
	require.ErrorContains(t, err, "without nulls")
	single, err := ask[uuid.UUID](b, `SELECT $1::uuid`, one)
	require.NoError(t, err)
	require.Equal(t, one, single)
	_, err = ask[uuid.UUID](b, `SELECT NULL::uuid`)
	require.ErrorContains(t, err, "not null")
	none, err := ask[*uuid.UUID](b, `SELECT NULL::uuid`)
	require.NoError(t, err)
	require.Nil(t, none)
	some, err := ask[*uuid.UUID](b, `SELECT $1::uuid`, &one)
	require.NoError(t, err)
	require.Equal(t, &one, some)
}
