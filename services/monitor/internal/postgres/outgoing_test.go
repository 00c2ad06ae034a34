package postgres

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/services/monitor/internal/alert"
	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
	"github.com/beaconpost/beaconpost/services/monitor/internal/ledger"
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
