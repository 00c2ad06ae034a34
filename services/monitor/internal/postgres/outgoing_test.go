package postgres

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/tenant"
	"github.com/beaconpost/beaconpost/services/monitor/internal/alert"
	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
	"github.com/beaconpost/beaconpost/services/monitor/internal/ledger"
	"github.com/beaconpost/beaconpost/services/monitor/internal/monitor"
	"github.com/beaconpost/beaconpost/services/monitor/internal/verdict"
)

func (b *tenancyBench) notify(spec string, incidents int) (channel uuid.UUID) {
	b.t.Helper()
	channel = uuid.New()
	b.exec(`INSERT INTO alert_channels (tenant_id, id, name, kind, spec) VALUES ($1, $2, 'x', 'email', $3)`, b.acme.UUID(), channel, spec)
	for range incidents {
		id, _ := uuid.NewV7()
		b.exec(`
INSERT INTO notifications (tenant_id, id, channel_id, policy_id, incident_id, kind, due_at, group_ms, next_at)
VALUES ($1, $2, $3, $4, $5, 'fire', now(), 0, now() - interval '1 second')`, b.acme.UUID(), id, channel, uuid.New(), uuid.New())
	}
	return channel
}

// What is stored of one channel cannot be read: it stood first in every pass, and nobody else was told anything.
func TestAChannelThatCannotBeReadKeepsNobodyWaiting(t *testing.T) {
	b := openTenancy(t)
	broken := b.notify(`{"to": 5}`, 1)
	b.exec(`UPDATE notifications SET next_at = now() - interval '1 minute' WHERE channel_id = $1`, broken)
	sound := b.notify(`{"to": ["ops@example.com"]}`, 1)
	out, err := b.background.Claim(t.Context())
	require.NoError(t, err)
	require.Len(t, out, 1)
	require.Equal(t, sound, out[0].Channel.ID)
	require.Equal(t, "t", b.text(`SELECT CASE WHEN next_at > now() + interval '59 minutes' AND status = 'pending' THEN 't' ELSE 'f' END FROM notifications WHERE channel_id = $1`, broken))
}

// All that is claimed at once must be sent before the claims end.
func TestNoMoreIsClaimedThanCanBeSent(t *testing.T) {
	b := openTenancy(t)
	for range claimMost + 4 {
		b.notify(`{"to": ["ops@example.com"]}`, 1)
	}
	for _, want := range []int{claimMost, 4, 0} {
		out, err := b.background.Claim(t.Context())
		require.NoError(t, err)
		require.Len(t, out, want)
	}
	one := b.notify(`{"to": ["ops@example.com"]}`, 3)
	b.exec(`UPDATE notifications SET attempts = 1, batch = id WHERE channel_id = $1`, one)
	for range claimMost - 1 {
		b.notify(`{"to": ["ops@example.com"]}`, 1)
	}
	b.exec(`UPDATE notifications SET next_at = now() WHERE channel_id = $1`, one)
	out, err := b.background.Claim(t.Context())
	require.NoError(t, err)
	require.Len(t, out, claimMost)
}

// A policy that is made while something is down is for that too, once.
func TestANewPolicyTakesUpOpenIncidents(t *testing.T) {
	t.Parallel()
	b := openTenancy(t)
	id := b.monitor("shop")
	channel := alert.Channel{ID: newID(), Name: "x", Kind: alert.Email}
	channel.Email.To = []string{"ops@example.com"}
	require.NoError(t, b.store.CreateChannel(t.Context(), b.acme, channel))
	for n := range 4 {
		b.record(b.finding(id, time.Now().Add(time.Duration(n-4)*30*time.Second), check.Down))
	}
	require.NoError(t, b.store.Open(t.Context(), b.acme, &ledger.Incident{ID: newID(), Title: "by hand", Severity: "minor"}))
	over := ledger.Incident{ID: newID(), Title: "over", Severity: "minor"}
	require.NoError(t, b.store.Open(t.Context(), b.acme, &over))
	b.exec(`UPDATE incidents SET resolved_at = now() WHERE id = $1`, over.ID)
	policy := alert.Policy{ID: newID(), Name: "x", Steps: []alert.Step{{Channels: []uuid.UUID{channel.ID}}}}
	require.NoError(t, b.store.CreatePolicy(t.Context(), b.acme, policy))
	for range 2 {
		require.NoError(t, b.background.JoinAlerts(t.Context()))
		_, err := b.background.Alert(t.Context())
		require.NoError(t, err)
	}
	require.Equal(t, "shop is down, by hand", b.text(`SELECT string_agg(i.title, ', ' ORDER BY i.title DESC) FROM notifications n JOIN incidents i ON i.id = n.incident_id WHERE n.kind = 'fire'`))
}

// pending puts messages of a channel into the queue, each of an incident of its own; tried are those that were tried and wait to be tried again.
func (b *tenancyBench) pending(owner tenant.ID, channel uuid.UUID, n int, incident *uuid.UUID, tried bool) {
	b.t.Helper()
	b.exec(`
INSERT INTO notifications (tenant_id, id, channel_id, policy_id, incident_id, kind, due_at, group_ms, next_at, attempts)
SELECT $1, gen_random_uuid(), $2, gen_random_uuid(), coalesce($4, gen_random_uuid()), CASE WHEN $5 THEN 'fire' ELSE 'remind' END,
    now() - interval '1 hour' + n * interval '1 second', 0, CASE WHEN $5 THEN now() + interval '1 hour' ELSE now() - interval '1 minute' END, CASE WHEN $5 THEN 1 ELSE 0 END
FROM generate_series(1, $3::int) n`, owner.UUID(), channel, n, incident, tried)
}

func (b *tenancyBench) mailChannel(owner tenant.ID) uuid.UUID {
	b.t.Helper()
	id := newID()
	b.exec(`INSERT INTO alert_channels (tenant_id, id, name, kind, spec) VALUES ($1, $2, 'x', 'email', '{"to": ["ops@example.com"]}')`, owner.UUID(), id)
	return id
}

func (b *tenancyBench) claim() (byTenant map[tenant.ID]int, out []Outgoing) {
	b.t.Helper()
	out, err := b.background.Claim(b.t.Context())
	require.NoError(b.t, err)
	byTenant = map[tenant.ID]int{}
	for _, o := range out {
		byTenant[o.Batch[0].Tenant]++
	}
	return byTenant, out
}

// Channels of one tenant have thousands of messages behind one that waits to be tried again. They cost the others nothing.
func TestChannelsThatAreStuckHoldUpNobody(t *testing.T) {
	t.Parallel()
	b := openTenancy(t)
	for range 5 {
		channel, incident := b.mailChannel(b.acme), newID()
		b.pending(b.acme, channel, 1, &incident, true)
		b.pending(b.acme, channel, 1005, &incident, false)
	}
	b.pending(b.evil, b.mailChannel(b.evil), 1, nil, false)
	got, _ := b.claim()
	require.Equal(t, map[tenant.ID]int{b.evil: 1}, got)
	b.claim() // the last ones
	require.Equal(t, "0", b.text(`SELECT count(*)::text FROM notifications WHERE status = 'pending' AND next_at <= now() AND attempts = 0`))
}

func TestTenantsTakeTurns(t *testing.T) {
	t.Parallel()
	b := openTenancy(t)
	for range 30 {
		b.pending(b.acme, b.mailChannel(b.acme), 5, nil, false)
	}
	b.pending(b.evil, b.mailChannel(b.evil), 1, nil, false)
	got, out := b.claim()
	require.Equal(t, 1, got[b.evil])
	require.Len(t, out, SendParallel)
}

// What is claimed together is sent at the same time: the end of an incident is not.
func TestTheEndIsNotClaimedWithTheBeginning(t *testing.T) {
	t.Parallel()
	b := openTenancy(t)
	channel, incident := b.mailChannel(b.acme), newID()
	for _, kind := range []string{"fire", "resolve"} {
		b.pending(b.acme, channel, 1, &incident, false)
		b.exec(`UPDATE notifications SET kind = $1 WHERE kind = 'remind'`, kind)
	}
	_, out := b.claim()
	require.Len(t, out, 1)
	require.Equal(t, alert.Fire, out[0].Batch[0].Kind)
	_, again := b.claim()
	require.Empty(t, again, "it is being sent")
	_, err := b.background.Settle(t.Context(), out[0], "", false, nil)
	require.NoError(t, err)
	_, out = b.claim()
	require.Len(t, out, 1)
	require.Equal(t, alert.Resolve, out[0].Batch[0].Kind)
}

func TestMessagesGoToWhereTheirChannelLeadsNow(t *testing.T) {
	t.Parallel()
	b := openTenancy(t)
	channel := alert.Channel{ID: newID(), Name: "x", Kind: alert.Email}
	lead := func(to ...string) { channel.Email.To = to }
	lead("a@example.com", "b@example.com")
	require.NoError(t, b.store.CreateChannel(t.Context(), b.acme, channel))
	b.pending(b.acme, channel.ID, 1, nil, false)
	claim := func(want ...string) Outgoing {
		t.Helper()
		b.exec(`UPDATE notifications SET next_at = now() - interval '1 second' WHERE status = 'pending'`)
		_, out := b.claim()
		require.Len(t, out, 1)
		require.ElementsMatch(t, want, out[0].Channel.Email.To)
		return out[0]
	}
	settle := func(o Outgoing, problem string, remaining ...string) string {
		t.Helper()
		status, err := b.background.Settle(t.Context(), o, problem, problem != "", remaining)
		require.NoError(t, err)
		return status
	}
	settle(claim("a@example.com", "b@example.com"), "the relay is down")
	lead("b@example.com", "c@example.com")
	require.NoError(t, b.store.ReplaceChannel(t.Context(), b.acme, channel))
	o := claim("b@example.com", "c@example.com")
	require.False(t, o.Partly)
	require.Equal(t, "pending", settle(o, "b is refused, c is full", "c@example.com"))
	o = claim("c@example.com")
	require.True(t, o.Partly)
	require.Equal(t, "sent", settle(o, ""))
	require.Equal(t, "b is refused, c is full", b.text(`SELECT last_error FROM notifications`), "it is not said that b was told")

	b.pending(b.acme, channel.ID, 1, nil, false)
	settle(claim("b@example.com", "c@example.com"), "b is full", "b@example.com")
	lead("c@example.com")
	require.NoError(t, b.store.ReplaceChannel(t.Context(), b.acme, channel))
	claim()
}

func TestWhatNobodyCouldSendIsGivenUp(t *testing.T) {
	t.Parallel()
	b := openTenancy(t)
	channel := b.mailChannel(b.acme)
	b.pending(b.acme, channel, 2, nil, false)
	b.exec(`UPDATE notifications SET due_at = now() - interval '80 hours' WHERE id = (SELECT id FROM notifications LIMIT 1)`)
	_, out := b.claim()
	require.Len(t, out, 1, "not what is that old")
	require.NoError(t, b.background.GiveUp(t.Context()))
	require.Equal(t, "failed: It could not be sent for three days., pending: ", b.text(`SELECT string_agg(status || ': ' || coalesce(last_error, ''), ', ' ORDER BY status) FROM notifications`))
}

// alertOn makes a policy for a channel and an incident of a monitor.
func (b *tenancyBench) alertOn(monitor uuid.UUID, policy alert.Policy) {
	b.t.Helper()
	policy.ID, policy.Name = newID(), "x"
	policy.Steps = []alert.Step{{Channels: []uuid.UUID{b.mailChannel(b.acme)}}}
	require.NoError(b.t, b.store.CreatePolicy(b.t.Context(), b.acme, policy))
	for n := range 4 {
		b.record(b.finding(monitor, time.Now().Add(time.Duration(n-4)*30*time.Second), check.Down))
	}
}

func (b *tenancyBench) alert() {
	b.t.Helper()
	_, err := b.background.Alert(b.t.Context())
	require.NoError(b.t, err)
}

// While one reminder waits there is not another.
func TestRemindersDoNotPileUp(t *testing.T) {
	t.Parallel()
	b := openTenancy(t)
	b.alertOn(b.monitor("shop"), alert.Policy{Reminder: time.Minute})
	b.alert()
	for n := range 5 {
		b.exec(`UPDATE alert_progress SET look_at = now(), progress = jsonb_set(progress, '{told,0}', progress->'told'->0 || jsonb_build_object('at', $1::timestamptz, 'reminded_at', $1::timestamptz))`,
			time.Now().Add(-time.Hour+time.Duration(n)*time.Second))
		b.alert()
	}
	require.Equal(t, "fire 1, remind 1", b.text(`SELECT string_agg(kind || ' ' || n, ', ' ORDER BY kind) FROM (SELECT kind, count(*) AS n FROM notifications GROUP BY kind) x`))
	require.NotEqual(t, "0", b.text(`SELECT progress->'told'->0->>'reminders' FROM alert_progress`))
}

// A monitor that gets a policy's tag while it is down is told of.
func TestANewTagIsForTheOpenIncidentToo(t *testing.T) {
	t.Parallel()
	b := openTenancy(t)
	id := b.monitor("shop")
	b.alertOn(id, alert.Policy{Match: alert.Match{Tags: []string{"web"}}})
	b.alert()
	require.Equal(t, "0", b.text(`SELECT count(*)::text FROM notifications`))
	_, err := b.store.Update(t.Context(), b.acme, id, func(m *monitor.Monitor) error { m.Tags = []string{"web"}; return nil })
	require.NoError(t, err)
	b.alert()
	require.Equal(t, "1", b.text(`SELECT count(*)::text FROM notifications`))
}

// Failures of heartbeats, and of incidents by hand, cannot be counted: a policy that waits for some does not wait.
func TestPoliciesThatCountAreForHeartbeatsToo(t *testing.T) {
	t.Parallel()
	b := openTenancy(t)
	id := b.monitor("backup")
	b.exec(`UPDATE monitors SET kind = 'heartbeat', token = repeat('x', 32), spec = '{"kind": "heartbeat", "expected": {"every": "24h"}}'`)
	require.NoError(t, b.store.CreatePolicy(t.Context(), b.acme, alert.Policy{
		ID: newID(), Name: "x", Trigger: alert.Trigger{Failures: 3}, Match: alert.Match{Monitors: []uuid.UUID{id}}, Steps: []alert.Step{{Channels: []uuid.UUID{b.mailChannel(b.acme)}}},
	}))
	require.NoError(t, b.background.Beat(t.Context(), strings.Repeat("x", 32), verdict.Beat{Kind: verdict.BeatFail}, ""))
	require.NoError(t, b.store.Open(t.Context(), b.acme, &ledger.Incident{ID: newID(), Monitor: &id, Title: "by hand", Severity: "minor"}))
	b.alert()
	require.Equal(t, "2", b.text(`SELECT count(*)::text FROM notifications`))
}
