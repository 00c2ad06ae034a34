package postgres

import (
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
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
