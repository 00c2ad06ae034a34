package postgres

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
	"github.com/beaconpost/beaconpost/services/monitor/internal/verdict"
)

// countUsage counts what was stored by now. Transactions of other tests, on the same server, hold it up for a while.
func (b *tenancyBench) countUsage() {
	b.t.Helper()
	stored := time.Now()
	require.Eventually(b.t, func() bool {
		for more := true; more; {
			var err error
			more, err = b.background.Usage().Round(b.t.Context(), 50*time.Millisecond)
			require.NoError(b.t, err)
		}
		behind, err := b.background.Usage().Behind(b.t.Context())
		require.NoError(b.t, err)
		return behind < time.Since(stored)
	}, 90*time.Second, 10*time.Millisecond)
}

func (b *tenancyBench) usageRows() string {
	b.t.Helper()
	return b.text(`SELECT coalesce(string_agg(concat_ws(' ', CASE tenant_id WHEN '` + b.acme.String() + `' THEN 'acme' ELSE 'evil' END, checks, notifications), ', ' ORDER BY tenant_id <> '` + b.acme.String() + `', hour), '')
FROM (SELECT tenant_id, max(hour) AS hour, sum(checks) AS checks, sum(notifications) AS notifications FROM monitor_usage GROUP BY tenant_id) u`)
}

func TestChecksAndNotificationsAreCounted(t *testing.T) {
	t.Parallel()
	b := openTenancy(t)
	b.exec(`SELECT beaconpost_ensure_monitor_partitions((now() AT TIME ZONE 'UTC')::date - 2, (now() AT TIME ZONE 'UTC')::date)`) // a database of today has yesterday's
	id := b.monitor("shop")
	now := time.Now()
	up, late := b.finding(id, now, check.Up), b.finding(id, now.Add(-26*time.Hour), check.Up) // Postgres was away for a day
	down := b.finding(id, now.Add(-30*time.Second), check.Down)
	confirmation := b.finding(id, now.Add(-30*time.Second), check.Up)
	confirmation.Confirmation = 1
	b.record(up)
	b.record(up) // once more, which is nothing
	b.record(late)
	b.record(down)
	b.record(confirmation)
	b.record(b.finding(id, now.Add(-60*time.Second), check.NotChecked))
	b.notify(`{"to": ["ops@example.com"]}`, 3)
	b.exec(`UPDATE notifications SET status = 'failed' WHERE id = (SELECT id FROM notifications ORDER BY id LIMIT 1)`)
	b.exec(`UPDATE notifications SET status = 'sent', sent_at = now() WHERE id = (SELECT id FROM notifications ORDER BY id DESC LIMIT 1)`)
	b.exec(`INSERT INTO monitor_checks (tenant_id, id, monitor_id, slot, started_at, duration_us, lag_us, outcome, region) VALUES ($1, $2, $2, 1, now(), 1, 1, 'up', 'eu')`, b.evil.UUID(), newID())
	require.NoError(t, b.background.Usage().Summarize(t.Context()))
	b.countUsage()
	require.Equal(t, "acme 4 1, evil 1 0", b.usageRows())
	require.Equal(t, "t", b.text(`SELECT CASE WHEN min(hour) >= date_trunc('hour', now() - interval '1 hour', 'UTC') THEN 't' ELSE min(hour)::text END FROM monitor_usage`), "by the time of the record")
	b.countUsage()
	require.Equal(t, "acme 4 1, evil 1 0", b.usageRows(), "once")
}

// Whoever notes that a message was sent may wait for that, such as while an index is made anew.
func TestANotificationThatIsNotedLateIsCounted(t *testing.T) {
	t.Parallel()
	b := openTenancy(t)
	b.notify(`{"to": ["ops@example.com"]}`, 1)
	out, err := b.background.Claim(t.Context())
	require.NoError(t, err)
	require.Len(t, out, 1)
	b.exec(`BEGIN`)
	b.exec(`LOCK TABLE notifications IN SHARE MODE`)
	settled := make(chan error, 1)
	go func() {
		_, err := b.background.Settle(t.Context(), out[0], "", false, nil)
		settled <- err
	}()
	const waits = `SELECT count(*)::text FROM pg_locks WHERE NOT granted AND relation = 'notifications'::regclass AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`
	require.Eventually(t, func() bool { return b.text(waits) == "1" }, 20*time.Second, 5*time.Millisecond)
	b.countUsage()
	b.exec(`ROLLBACK`)
	require.NoError(t, <-settled)
	b.countUsage()
	require.Equal(t, "acme 0 1", b.usageRows())
}

func TestCallsOfHeartbeatsAreCounted(t *testing.T) {
	t.Parallel()
	b := openTenancy(t)
	b.monitor("backup")
	b.exec(`UPDATE monitors SET kind = 'heartbeat', token = repeat('x', 32), spec = '{"kind": "heartbeat", "expected": {"every": "24h"}}'`)
	for _, kind := range []verdict.BeatKind{verdict.BeatStart, verdict.BeatSuccess} { // a start says nothing yet
		require.NoError(t, b.background.Beat(t.Context(), strings.Repeat("x", 32), verdict.Beat{Kind: kind}, ""))
	}
	b.countUsage()
	require.Equal(t, "acme 1 0", b.usageRows())
}

func TestChecksThatWereNotCountedAreKept(t *testing.T) {
	t.Parallel()
	b := openTenancy(t)
	b.exec(`SELECT beaconpost_ensure_monitor_partitions((now() AT TIME ZONE 'UTC')::date - 6, (now() AT TIME ZONE 'UTC')::date)`)
	old := time.Now().AddDate(0, 0, -5)
	b.exec(`UPDATE usage_progress SET counted_until = date_trunc('hour', $1::timestamptz, 'UTC')`, old)
	b.exec(`INSERT INTO monitor_checks (tenant_id, id, monitor_id, slot, started_at, duration_us, lag_us, outcome, region, recorded_at) VALUES ($1, $2, $2, 1, now(), 1, 1, 'up', 'eu', $3)`, b.acme.UUID(), idAt(old), old)
	keep := Retention{Checks: 72 * time.Hour, Fives: 72 * time.Hour, Hours: 72 * time.Hour}
	_, err := b.background.Maintain(t.Context(), keep)
	require.NoError(t, err)
	require.Equal(t, "1", b.text(`SELECT count(*)::text FROM monitor_checks`))
	b.countUsage()
	_, err = b.background.Maintain(t.Context(), keep)
	require.NoError(t, err)
	require.Equal(t, "0", b.text(`SELECT count(*)::text FROM monitor_checks`))
	require.Equal(t, "acme 1 0", b.usageRows())
	require.NoError(t, b.background.Usage().DropOld(t.Context(), 96*time.Hour))
	require.Empty(t, b.usageRows())
}
