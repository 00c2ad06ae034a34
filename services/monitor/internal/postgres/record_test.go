package postgres

import (
	"context"
	"encoding/base64"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/postgres"
	"github.com/beaconpost/beaconpost/pkg/secretbox"
	"github.com/beaconpost/beaconpost/pkg/stream"
	"github.com/beaconpost/beaconpost/services/monitor/internal/calendar"
	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
	"github.com/beaconpost/beaconpost/services/monitor/internal/ledger"
	"github.com/beaconpost/beaconpost/services/monitor/internal/monitor"
	"github.com/beaconpost/beaconpost/services/monitor/internal/verdict"
)

// finding is one of a monitor as it is stored.
func (b *tenancyBench) finding(id uuid.UUID, at time.Time, outcome check.Outcome) *monitor.Finding {
	b.t.Helper()
	key := monitor.Key{Tenant: b.acme, ID: id}
	found, err := b.background.Load(b.t.Context(), []monitor.Key{key})
	require.NoError(b.t, err)
	require.NotNil(b.t, found[key])
	slot := found[key].Schedule().Slot(at)
	return &monitor.Finding{Monitor: found[key], Region: found[key].Regions[0], Slot: slot, Result: check.Result{Outcome: outcome, StartedAt: at}}
}

func (b *tenancyBench) text(sql string, args ...any) (text string) {
	b.t.Helper()
	b.inBackground(func(ctx context.Context, q postgres.Querier) error { return q.QueryRow(ctx, sql, args...).Scan(&text) })
	return text
}

// whileChanged has fn wait for a monitor's state, which a transaction of its tenant holds that changes the monitor and is committed then. It gives fn's error.
func (b *tenancyBench) whileChanged(id uuid.UUID, change string, fn func() error) error {
	b.t.Helper()
	held, hold, committed, done := make(chan struct{}), make(chan struct{}), make(chan error, 1), make(chan error, 1)
	go func() {
		committed <- b.store.db.InTenant(b.t.Context(), b.acme, func(ctx context.Context, q postgres.Querier) error {
			defer close(held)
			if _, err := q.Exec(ctx, change, b.acme.UUID(), id); err != nil {
				return err
			}
			_, err := q.Exec(ctx, lookNow, b.acme.UUID(), id)
			held <- struct{}{}
			<-hold
			return err
		})
	}()
	release := sync.OnceFunc(func() { close(hold) })
	defer release()
	<-held
	go func() { done <- fn() }()
	require.Eventually(b.t, func() bool {
		return b.text(`SELECT count(*)::text FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE a.datname = current_database() AND NOT l.granted`) != "0"
	}, 10*time.Second, 10*time.Millisecond)
	release()
	require.NoError(b.t, <-committed)
	return <-done
}

// A result waits for the lock of a state while somebody pauses the monitor: it must not overwrite what that asked for.
func TestAPauseIsNotLostToAResult(t *testing.T) {
	t.Parallel()
	b := openTenancy(t)
	id := b.monitor("shop")
	first := b.finding(id, time.Now().Add(-time.Minute), check.Up)
	_, err := b.background.Record(t.Context(), []*monitor.Finding{first})
	require.NoError(t, err)
	second := b.finding(id, time.Now(), check.Up)
	err = b.whileChanged(id, `UPDATE monitors SET paused = true, version = version + 1, updated_at = now() WHERE tenant_id = $1 AND id = $2`, func() error {
		_, err := b.background.Record(t.Context(), []*monitor.Finding{second})
		return err
	})
	require.NoError(t, err)
	_, _, err = b.background.Look(t.Context())
	require.NoError(t, err)
	require.Equal(t, "paused", b.text(`SELECT status FROM monitor_states WHERE monitor_id = $1`, id))
}

// What nobody checked for hours is in the hours too.
func TestMissedSlotsOfHoursAreCounted(t *testing.T) {
	t.Parallel()
	b := openTenancy(t)
	id, now := b.monitor("shop"), time.Now()
	for _, ago := range []time.Duration{10 * time.Hour, 0} {
		_, err := b.background.Record(t.Context(), []*monitor.Finding{b.finding(id, now.Add(-ago), check.Up)})
		require.NoError(t, err)
		require.NoError(t, b.background.RollUp(t.Context(), now, RolledBack, 48*time.Hour))
	}
	const missed = `SELECT coalesce(sum(missed), 0)::text FROM monitor_rollups WHERE monitor_id = $1 AND step = '5m' AND bucket < date_trunc('hour', now(), 'UTC')`
	fives := b.text(missed, id)
	require.NotEqual(t, "0", fives)
	require.Equal(t, fives, b.text(`SELECT sum(missed)::text FROM monitor_rollups WHERE monitor_id = $1 AND step = '1h'`, id))
}

// Texts of targets are stored, whatever is in them.
func TestAZeroByteDoesNotKeepAMonitorUp(t *testing.T) {
	t.Parallel()
	b := openTenancy(t)
	id := b.monitor("shop")
	for n := range 3 {
		f := b.finding(id, time.Now().Add(time.Duration(n-3)*time.Minute), check.Down)
		f.Cause, f.Detail = check.CauseTLS, "a name with \x00 in it"
		_, err := b.background.Record(t.Context(), []*monitor.Finding{f})
		require.NoError(t, err)
	}
	require.Equal(t, "down", b.text(`SELECT status FROM monitor_states WHERE monitor_id = $1`, id))
}

// Windows that recur often leave the others their effect.
func TestManyWindowsAllCount(t *testing.T) {
	t.Parallel()
	b := openTenancy(t)
	id, now := b.monitor("shop"), time.Now()
	for _, when := range []calendar.Window{
		{Cron: "*/10 * * * *", Duration: "1m"}, {StartsAt: now.Add(-time.Minute), EndsAt: now.Add(time.Hour)},
	} {
		require.NoError(t, b.store.CreateWindow(t.Context(), b.acme, ledger.Window{ID: uuid.Must(uuid.NewV7()), Name: "w", When: when}))
	}
	_, _, err := b.background.Look(t.Context())
	require.NoError(t, err)
	require.Equal(t, "maintenance", b.text(`SELECT status FROM monitor_states WHERE monitor_id = $1`, id))
}

func TestSecretsOfMonitorsAreSealedAgain(t *testing.T) {
	t.Parallel()
	b := openTenancy(t)
	id := b.monitor("shop")
	_, err := b.store.Update(t.Context(), b.acme, id, func(m *monitor.Monitor) error {
		m.Spec.Auth = &check.Auth{Bearer: "canary"}
		return nil
	})
	require.NoError(t, err)
	newer, err := secretbox.ParseKeyring("k2:" + base64.StdEncoding.EncodeToString([]byte("0123456789abcdef0123456789abcdef")) + ",k1:" + base64.StdEncoding.EncodeToString(make([]byte, 32)))
	require.NoError(t, err)
	store, err := NewStore(b.store.db, newer, func(...stream.DeliveryReady) {}, zerolog.Nop())
	require.NoError(t, err)
	for _, want := range []int{1, 0} {
		n, err := store.Reseal(t.Context())
		require.NoError(t, err)
		require.Equal(t, want, n)
	}
	found, err := store.Load(t.Context(), []monitor.Key{{Tenant: b.acme, ID: id}})
	require.NoError(t, err)
	require.Equal(t, "canary", found[monitor.Key{Tenant: b.acme, ID: id}].Spec.Auth.Bearer)
	require.Equal(t, "k2", b.text(`SELECT sealed_key_id FROM monitors WHERE id = $1`, id))
}

// Without the key of one monitor's secrets that one is not checked; it can be seen, changed and given new ones, and what was sealed stays until then.
func TestSecretsThatCannotBeOpenedAreNobodyElsesTrouble(t *testing.T) {
	t.Parallel()
	b, ctx := openTenancy(t), t.Context()
	id := b.monitor("shop")
	b.monitor("other")
	change := func(by func(m *monitor.Monitor)) Watched {
		w, err := b.store.Update(ctx, b.acme, id, func(m *monitor.Monitor) error { by(m); return nil })
		require.NoError(t, err)
		return w
	}
	change(func(m *monitor.Monitor) { m.Spec.Auth = &check.Auth{Bearer: "canary"} })
	b.exec(`UPDATE monitors SET sealed_key_id = 'lost' WHERE id = $1`, id)
	list, err := b.store.List(ctx, b.acme, Filter{Limit: 10})
	require.NoError(t, err)
	require.Len(t, list, 2)
	require.True(t, list[1].Locked)
	require.False(t, list[0].Locked)
	found, err := b.background.Load(ctx, []monitor.Key{{Tenant: b.acme, ID: id}})
	require.NoError(t, err)
	require.Empty(t, found, "it is not checked")

	require.True(t, change(func(m *monitor.Monitor) { m.Paused = true }).Locked)
	_, err = b.store.Update(ctx, b.acme, id, func(m *monitor.Monitor) error { m.Spec.URL = "https://evil.example/"; return nil })
	requireCode(t, "secrets_locked", err) // the old secrets would be sent there when their key is back
	b.exec(`UPDATE monitors SET sealed_key_id = 'k1' WHERE id = $1`, id)
	w := change(func(m *monitor.Monitor) { m.Paused = false })
	require.False(t, w.Locked)
	require.Equal(t, "canary", w.Spec.Auth.Bearer)

	b.exec(`UPDATE monitors SET sealed_key_id = 'lost' WHERE id = $1`, id)
	w = change(func(m *monitor.Monitor) { m.Spec.Auth = &check.Auth{Bearer: "new"} })
	require.False(t, w.Locked)
	require.Equal(t, "new", w.Spec.Auth.Bearer)
	w = change(func(m *monitor.Monitor) { m.Spec.Auth = nil })
	require.Nil(t, w.Spec.Auth)
}

// A call that came while its monitor was being deleted kept the incident open for ever.
func TestACallDoesNotOutliveItsMonitor(t *testing.T) {
	t.Parallel()
	b := openTenancy(t)
	id := b.monitor("backup")
	b.exec(`UPDATE monitors SET kind = 'heartbeat', token = repeat('x', 32), spec = '{"kind": "heartbeat", "expected": {"every": "24h"}}'`)
	call := func() error {
		return b.background.Beat(t.Context(), strings.Repeat("x", 32), verdict.Beat{Kind: verdict.BeatFail}, "")
	}
	require.NoError(t, call())
	require.Error(t, b.whileChanged(id, deleteMonitor, call))
	_, _, err := b.background.Look(t.Context())
	require.NoError(t, err)
	require.Equal(t, "0", b.text(`SELECT count(*)::text FROM incidents WHERE resolved_at IS NULL`))
}

// Windows of every minute, or of every other, cover what they say, hours ahead too.
func TestWindowsOfEveryMinuteAreKnown(t *testing.T) {
	t.Parallel()
	b := openTenancy(t)
	now := time.Date(2026, 11, 24, 12, 30, 0, 0, time.UTC)
	open := func(w calendar.Window) (minutes int) {
		for at := now; at.Before(now.Add(time.Hour)); at = at.Add(time.Minute) {
			for _, i := range b.background.spans(w, w.Cron+w.Duration, now) {
				if !at.Before(i.From) && at.Before(i.To) {
					minutes++
				}
			}
		}
		return minutes
	}
	require.Equal(t, 60, open(calendar.Window{Cron: "*/2 * * * *", Duration: "2m"}))
	require.Equal(t, 60, open(calendar.Window{Cron: "* 8-17 * * *", Duration: "1m"}))
	require.Equal(t, 30, open(calendar.Window{Cron: "*/2 * * * *", Duration: "1m"}))
	require.Equal(t, 60, open(calendar.Window{Cron: "* * * * *", Duration: "168h"}))
}
