package postgres

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/uuid7"
)

// idAt is one that was made at a time.
func idAt(at time.Time) uuid.UUID {
	id := uuid.New()
	floor := uuid7.Floor(at)
	copy(id[:6], floor[:6])
	return id
}

func TestWhatIsOldIsDeleted(t *testing.T) {
	t.Parallel()
	b := openTenancy(t)
	monitor, now := b.monitor("shop"), time.Now().UTC().Truncate(time.Microsecond)
	b.exec(`DELETE FROM monitor_intervals`)
	ago := func(days int) time.Time { return now.AddDate(0, 0, -days) }
	for _, i := range []struct {
		name           string
		opened, closed int // days ago; closed 0: it is open
		untold         string
	}{{"old", 500, 499, "{}"}, {"old, open", 500, 0, "{}"}, {"old, over since yesterday", 500, 1, "{}"}, {"old, untold", 500, 499, "{incident.resolved}"}, {"new", 3, 2, "{}"}} {
		id := idAt(ago(i.opened))
		var resolved *time.Time
		if i.closed > 0 {
			at := ago(i.closed)
			resolved = &at
		}
		b.exec(`INSERT INTO incidents (tenant_id, id, manual, title, opened_at, resolved_at, untold) VALUES ($1, $2, true, $3, $4, $5, $6)`, b.acme.UUID(), id, i.name, ago(i.opened), resolved, i.untold)
		b.exec(`INSERT INTO incident_notes (tenant_id, id, incident_id, author, text) VALUES ($1, $2, $3, 'a', 'b')`, b.acme.UUID(), newID(), id)
		b.exec(`INSERT INTO alert_progress (tenant_id, incident_id, policy_id) VALUES ($1, $2, $3)`, b.acme.UUID(), id, newID())
		for _, n := range []struct {
			status string
			days   int
		}{{"sent", 95}, {"failed", 95}, {"pending", 95}, {"sent", 1}} {
			b.exec(`INSERT INTO notifications (tenant_id, id, channel_id, policy_id, incident_id, kind, due_at, group_ms, status, next_at) VALUES ($1, $2, $3, $3, $4, 'fire', now(), 0, $5, now())`,
				b.acme.UUID(), idAt(ago(n.days)), newID(), id, n.status)
		}
	}
	for _, i := range [][2]int{{500, 450}, {450, 399}, {399, 0}} {
		var ended *time.Time
		if i[1] > 0 {
			at := ago(i[1])
			ended = &at
		}
		b.exec(`INSERT INTO monitor_intervals (tenant_id, monitor_id, started_at, ended_at, status) VALUES ($1, $2, $3, $4, 'up')`, b.acme.UUID(), monitor, ago(i[0]), ended)
	}
	more, err := b.background.Purge(t.Context(), now, 0, 0)
	require.NoError(t, err)
	require.False(t, more, "0 keeps all")
	more, err = b.background.Purge(t.Context(), now, 90*day, 400*day)
	require.NoError(t, err)
	require.True(t, more)
	more, err = b.background.Purge(t.Context(), now, 90*day, 400*day)
	require.NoError(t, err)
	require.False(t, more)
	require.Equal(t, "new|old, open|old, over since yesterday|old, untold", b.text(`SELECT string_agg(title, '|' ORDER BY title) FROM incidents`))
	require.Equal(t, "4", b.text(`SELECT count(*)::text FROM incident_notes`))
	require.Equal(t, "4", b.text(`SELECT count(*)::text FROM alert_progress`))
	require.Equal(t, "pending 4, sent 4", b.text(`SELECT string_agg(status || ' ' || n, ', ' ORDER BY status) FROM (SELECT status, count(*) AS n FROM notifications GROUP BY status) x`))
	require.Equal(t, "2", b.text(`SELECT count(*)::text FROM monitor_intervals`), "what reaches into the time that is kept stays")
}
