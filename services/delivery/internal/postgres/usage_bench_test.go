package postgres

import (
	"context"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/postgres"
	"github.com/beaconpost/beaconpost/pkg/postgres/pgtest"
	"github.com/beaconpost/beaconpost/pkg/stream"
)

const benchTenants = "10000"

// An hour as it looks when all of it was delivered, in the order in which it was stored. A few tenants have most of it. $1 is its beginning, $2 the number of events.
const storeHour = `
WITH input AS MATERIALIZED (
    SELECT t.id AS tenant_id, ms, (lpad(to_hex(ms), 12, '0') || '7' || substr(h, 1, 3) || '8' || substr(h, 4, 15))::uuid AS event_id,
        (lpad(to_hex(ms), 12, '0') || '7' || substr(h, 2, 3) || '9' || substr(h, 6, 15))::uuid AS delivery_id, (lpad(to_hex(ms + 3), 12, '0') || '7' || substr(h, 3, 3) || 'a' || substr(h, 8, 15))::uuid AS attempt_id
    FROM (
        SELECT floor(` + benchTenants + ` * power(random(), 2))::int AS k, (extract(epoch FROM $1::timestamptz) * 1000)::bigint + (g * 3600000.0 / $2::int)::bigint AS ms, md5(random()::text) AS h FROM generate_series(0, $2::int - 1) g
    ) x JOIN bench_tenants t ON t.n = x.k ORDER BY ms
), events AS (
    INSERT INTO webhook_events (tenant_id, id, event_type, payload, recorded_at, fanout)
    SELECT tenant_id, event_id, 'order.paid', convert_to(repeat('{"order":"12345678"}', 12), 'UTF8'), to_timestamp(ms / 1000.0), 1 FROM input
), deliveries AS (
    INSERT INTO deliveries (tenant_id, id, event_id, endpoint_id, status, attempts, next_attempt_at, last_status, completed_at)
    SELECT tenant_id, delivery_id, event_id, tenant_id, 'delivered', 1, 'infinity', 200, to_timestamp(ms / 1000.0) FROM input
)
INSERT INTO delivery_attempts (tenant_id, id, delivery_id, number, started_at, duration_us, status_code, response_truncated, recorded_at)
SELECT tenant_id, attempt_id, delivery_id, 1, to_timestamp(ms / 1000.0), 2000, 200, false, to_timestamp((ms + 3) / 1000.0) FROM input`

// BenchmarkUsage counts an hour of a day with many events of ten thousand tenants, five minutes at a time; the metric is the time of an hour. With
// BEACONPOST_BENCH_EVENTS=10000000 it is what docs/adr/0015-usage.md is about, and takes ten minutes to prepare.
func BenchmarkUsage(b *testing.B) {
	events := 240_000
	if text := os.Getenv("BEACONPOST_BENCH_EVENTS"); text != "" {
		var err error
		events, err = strconv.Atoi(text)
		require.NoError(b, err)
	}
	day := time.Now().UTC().Truncate(24*time.Hour).AddDate(0, 0, -1)
	conn, counting := prepareDay(b, day, events)
	b.ResetTimer()
	for range b.N {
		_, err := conn.Exec(b.Context(), `UPDATE usage_progress SET counted_until = $1, sealed_at = now() - interval '1 hour', sealed_xid = '1'`, day.Add(12*time.Hour))
		require.NoError(b, err)
		for range 12 {
			more, err := counting(b.Context())
			require.NoError(b, err)
			require.True(b, more)
		}
	}
}

func prepareDay(b *testing.B, day time.Time, events int) (*pgx.Conn, func(context.Context) (bool, error)) {
	b.Helper()
	database := pgtest.New(b)
	db, err := postgres.Open(b.Context(), postgres.Config{URL: database.AppURL})
	require.NoError(b, err)
	b.Cleanup(db.Close)
	conn, err := pgx.Connect(b.Context(), database.URL("postgres"))
	require.NoError(b, err)
	b.Cleanup(func() { _ = conn.Close(context.Background()) })
	exec := func(sql string, args ...any) {
		b.Helper()
		_, err := conn.Exec(b.Context(), sql, args...)
		require.NoError(b, err)
	}
	exec(`SET synchronous_commit = off`)
	exec(`CREATE TABLE bench_tenants AS SELECT n, gen_random_uuid() AS id FROM generate_series(0, ` + benchTenants + ` - 1) n`)
	exec(`ANALYZE bench_tenants`)
	for hour := range 24 {
		exec(storeHour, day.Add(time.Duration(hour)*time.Hour), events/24)
	}
	for _, table := range []string{"webhook_events", "deliveries", "delivery_attempts"} {
		exec("VACUUM ANALYZE " + table)
	}
	store, err := NewStore(db, nil, Defaults{Announce: func(...stream.DeliveryReady) {}}, zerolog.Nop())
	require.NoError(b, err)
	return conn, func(ctx context.Context) (bool, error) { return store.Usage().Round(ctx, time.Minute) }
}
