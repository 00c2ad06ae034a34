package postgres

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/fault"
	"github.com/beaconpost/beaconpost/pkg/postgres"
	"github.com/beaconpost/beaconpost/services/monitor/internal/alert"
	"github.com/beaconpost/beaconpost/services/monitor/internal/calendar"
	"github.com/beaconpost/beaconpost/services/monitor/internal/ledger"
	"github.com/beaconpost/beaconpost/services/monitor/internal/monitor"
)

func newID() uuid.UUID { return uuid.Must(uuid.NewV7()) }

func requireCode(t *testing.T, code fault.Code, err error) {
	t.Helper()
	require.Equal(t, code, fault.CodeOf(err), "%v", err)
}

func TestAForeignTenantSeesNothing(t *testing.T) {
	t.Parallel()
	b, ctx := openTenancy(t), t.Context()
	id := b.monitor("x")
	i := ledger.Incident{ID: newID(), Monitor: &id, Title: "t", Severity: "major"}
	require.NoError(t, b.store.Open(ctx, b.acme, &i))
	channel := alert.Channel{ID: newID(), Name: "c", Kind: alert.Email, Email: alert.EmailOptions{To: []string{"a@example.com"}}}
	require.NoError(t, b.store.CreateChannel(ctx, b.acme, channel))
	policy := alert.Policy{ID: newID(), Name: "p", Steps: []alert.Step{{Channels: []uuid.UUID{channel.ID}}}}
	require.NoError(t, b.store.CreatePolicy(ctx, b.acme, policy))
	window := ledger.Window{ID: newID(), Name: "w", When: calendar.Window{Cron: "0 3 * * *", Duration: "1h"}}
	require.NoError(t, b.store.CreateWindow(ctx, b.acme, window))

	r := ledger.Range{From: time.Now().Add(-time.Hour), To: time.Now()}
	for code, calls := range map[fault.Code][]func() error{
		"monitor_not_found": {
			func() error { _, err := b.store.Checks(ctx, b.evil, id, ledger.CheckFilter{Limit: 1}); return err },
			func() error { _, err := b.store.Check(ctx, b.evil, id, newID()); return err },
			func() error {
				_, err := b.store.Intervals(ctx, b.evil, id, ledger.IntervalFilter{Range: r, Limit: 1})
				return err
			},
			func() error { _, _, err := b.store.Times(ctx, b.evil, id, []ledger.Range{r}); return err },
			func() error {
				_, err := b.store.Rollups(ctx, b.evil, id, "", []ledger.Span{{Step: ledger.Fives, Range: r}})
				return err
			},
		},
		"incident_not_found": {
			func() error { _, _, _, err := b.store.Incident(ctx, b.evil, i.ID); return err },
			func() error { _, err := b.store.Acknowledge(ctx, b.evil, i.ID, "me"); return err },
			func() error { _, err := b.store.Resolve(ctx, b.evil, i.ID); return err },
			func() error {
				return b.store.AddNote(ctx, b.evil, i.ID, ledger.Note{ID: newID(), Author: "a", Text: "t"})
			},
		},
		"alert_channel_not_found": {
			func() error { _, err := b.store.Channel(ctx, b.evil, channel.ID); return err },
			func() error { return b.store.ReplaceChannel(ctx, b.evil, channel) },
			func() error { return b.store.DeleteChannel(ctx, b.evil, channel.ID) },
		},
		"alert_policy_not_found": {
			func() error { _, err := b.store.Policy(ctx, b.evil, policy.ID); return err },
			func() error { return b.store.DeletePolicy(ctx, b.evil, policy.ID) },
		},
		"unknown_alert_channel": {func() error { return b.store.ReplacePolicy(ctx, b.evil, policy) }},
		"unknown_monitor": {
			func() error {
				return b.store.Open(ctx, b.evil, &ledger.Incident{ID: newID(), Monitor: &id, Title: "t", Severity: "minor"})
			},
			func() error {
				return b.store.CreateWindow(ctx, b.evil, ledger.Window{ID: newID(), Name: "w", Monitors: []uuid.UUID{id}})
			},
		},
		"maintenance_window_not_found": {
			func() error { _, err := b.store.Window(ctx, b.evil, window.ID); return err },
			func() error { return b.store.ReplaceWindow(ctx, b.evil, window) },
			func() error { return b.store.DeleteWindow(ctx, b.evil, window.ID) },
		},
	} {
		for _, call := range calls {
			requireCode(t, code, call())
		}
	}
	incidents, err := b.store.Incidents(ctx, b.evil, ledger.IncidentFilter{Limit: 10})
	require.NoError(t, err)
	require.Empty(t, incidents)
	channels, err := b.store.Channels(ctx, b.evil, nil, 10)
	require.NoError(t, err)
	require.Empty(t, channels)
	windows, err := b.store.Windows(ctx, b.evil, nil, 10)
	require.NoError(t, err)
	require.Empty(t, windows)
}

func TestATargetIsStored(t *testing.T) {
	t.Parallel()
	b := openTenancy(t)
	id := b.monitor("x")
	for _, target := range []float64{0.995, 0, 0.5} {
		w, err := b.store.Update(t.Context(), b.acme, id, func(m *monitor.Monitor) error {
			m.SLOTarget = target
			return nil
		})
		require.NoError(t, err)
		require.InDelta(t, target, w.SLOTarget, 0)
	}
}

func TestIncidents(t *testing.T) {
	t.Parallel()
	b, ctx := openTenancy(t), t.Context()
	id := b.monitor("x")
	manual := ledger.Incident{ID: newID(), Monitor: &id, Title: "by hand", Severity: "minor", Detail: "d"}
	require.NoError(t, b.store.Open(ctx, b.acme, &manual))
	auto := newID()
	b.exec(`INSERT INTO incidents (tenant_id, id, monitor_id, title, cause, opened_at) VALUES ($1, $2, $3, 'down', 'dns', now() - interval '1 hour')`, b.acme.UUID(), auto, id)
	b.exec(`INSERT INTO alert_progress (tenant_id, incident_id, policy_id) VALUES ($1, $2, $2)`, b.acme.UUID(), auto)

	list := func(f ledger.IncidentFilter) (titles []string) {
		t.Helper()
		f.Limit = 10
		found, err := b.store.Incidents(ctx, b.acme, f)
		require.NoError(t, err)
		for _, i := range found {
			titles = append(titles, i.Title)
		}
		return titles
	}
	require.Equal(t, []string{"down", "by hand"}, list(ledger.IncidentFilter{Monitor: &id}))
	require.Equal(t, []string{"by hand"}, list(ledger.IncidentFilter{Range: ledger.Range{From: time.Now().Add(-time.Minute)}}))
	require.Equal(t, []string{"down"}, list(ledger.IncidentFilter{Range: ledger.Range{To: time.Now().Add(-time.Minute)}}))

	first, err := b.store.Acknowledge(ctx, b.acme, auto, "ann")
	require.NoError(t, err)
	again, err := b.store.Acknowledge(ctx, b.acme, auto, "bob")
	require.NoError(t, err)
	require.Equal(t, first, again, "who was first stays")
	require.Equal(t, "ann", again.AcknowledgedBy)
	var woken bool
	require.NoError(t, b.background.db.InTenant(ctx, b.acme, scanInto(`SELECT look_at <= now() + interval '1 minute' FROM alert_progress`, &woken)))
	require.True(t, woken, "policies look at it again")

	_, err = b.store.Resolve(ctx, b.acme, auto)
	requireCode(t, "incident_is_automatic", err)
	resolved, err := b.store.Resolve(ctx, b.acme, manual.ID)
	require.NoError(t, err)
	require.False(t, resolved.ResolvedAt.IsZero())
	again, err = b.store.Resolve(ctx, b.acme, manual.ID)
	require.NoError(t, err)
	require.Equal(t, resolved, again)
	_, err = b.store.Acknowledge(ctx, b.acme, manual.ID, "ann")
	requireCode(t, "incident_is_resolved", err)
	require.Equal(t, []string{"down"}, list(ledger.IncidentFilter{Open: new(true)}))
	require.Equal(t, []string{"by hand"}, list(ledger.IncidentFilter{Open: new(false)}))

	note := ledger.Note{ID: newID(), Author: "ann", Text: "rebooted"}
	require.NoError(t, b.store.AddNote(ctx, b.acme, manual.ID, note))
	got, notes, sends, err := b.store.Incident(ctx, b.acme, manual.ID)
	require.NoError(t, err)
	require.Equal(t, resolved, got)
	require.Equal(t, []ledger.Note{note}, notes)
	require.Empty(t, sends)
}

func TestChannelsAndPolicies(t *testing.T) {
	t.Parallel()
	b, ctx := openTenancy(t), t.Context()
	id := b.monitor("x")
	channel := alert.Channel{ID: newID(), Name: "c", Kind: alert.Email, Email: alert.EmailOptions{To: []string{"a@example.com"}}}
	require.NoError(t, b.store.CreateChannel(ctx, b.acme, channel))
	policy := alert.Policy{
		ID: newID(), Name: "p", Match: alert.Match{Monitors: []uuid.UUID{id}, Tags: []string{"web"}}, Trigger: alert.Trigger{Failures: 3, After: time.Minute},
		Steps: []alert.Step{{Channels: []uuid.UUID{channel.ID}}}, Reminder: time.Hour, GroupFor: 1500 * time.Millisecond, OnResolve: true,
	}
	require.NoError(t, b.store.CreatePolicy(ctx, b.acme, policy))
	got, err := b.store.Policy(ctx, b.acme, policy.ID)
	require.NoError(t, err)
	require.Equal(t, policy, got)
	policy.Name, policy.GroupFor = "q", 0
	require.NoError(t, b.store.ReplacePolicy(ctx, b.acme, policy))
	list, err := b.store.Policies(ctx, b.acme, nil, 10)
	require.NoError(t, err)
	require.Equal(t, []alert.Policy{policy}, list)

	requireCode(t, "alert_channel_in_use", b.store.DeleteChannel(ctx, b.acme, channel.ID))
	channel.Name, channel.Email.To = "d", []string{"b@example.com", "c@example.com"}
	require.NoError(t, b.store.ReplaceChannel(ctx, b.acme, channel))
	stored, err := b.store.Channel(ctx, b.acme, channel.ID)
	require.NoError(t, err)
	require.Equal(t, channel, stored)
	require.NoError(t, b.store.DeletePolicy(ctx, b.acme, policy.ID))
	requireCode(t, "alert_policy_not_found", b.store.DeletePolicy(ctx, b.acme, policy.ID))
	require.NoError(t, b.store.DeleteChannel(ctx, b.acme, channel.ID))
	requireCode(t, "alert_channel_not_found", b.store.DeleteChannel(ctx, b.acme, channel.ID))
	err = b.store.CreatePolicy(ctx, b.acme, alert.Policy{ID: newID(), Name: "p", Steps: []alert.Step{{Channels: []uuid.UUID{channel.ID}}}})
	requireCode(t, "unknown_alert_channel", err)
	require.Equal(t, "steps.0.channels.0", fault.From(err).Field)
}

func TestAWindowThatChangesIsLookedAtByTheMonitorsItCovers(t *testing.T) {
	t.Parallel()
	b, ctx := openTenancy(t), t.Context()
	b.monitor("named")
	tagged := b.monitor("tagged", "db", "x")
	b.monitor("other", "web")
	looked := func() (names []string) {
		t.Helper()
		require.NoError(t, b.background.db.InTenant(ctx, b.acme, scanInto(
			`SELECT coalesce(array_agg(m.name ORDER BY m.name), '{}') FROM monitor_states s JOIN monitors m ON m.id = s.monitor_id WHERE s.look_at IS NOT NULL`, &names)))
		b.exec(`UPDATE monitor_states SET look_at = NULL`)
		return names
	}
	looked()
	w := ledger.Window{ID: newID(), Name: "w", Tags: []string{"db", "nothing"}, When: calendar.Window{Cron: "0 3 * * *", Duration: "1h"}}
	require.NoError(t, b.store.CreateWindow(ctx, b.acme, w))
	require.Equal(t, []string{"tagged"}, looked())
	w.Tags = []string{"web"}
	require.NoError(t, b.store.ReplaceWindow(ctx, b.acme, w))
	require.Equal(t, []string{"other", "tagged"}, looked(), "those before and those after")
	got, err := b.store.Window(ctx, b.acme, w.ID)
	require.NoError(t, err)
	require.Equal(t, w, got)
	require.NoError(t, b.store.DeleteWindow(ctx, b.acme, w.ID))
	require.Equal(t, []string{"other"}, looked())
	w.ID, w.Tags = newID(), nil
	require.NoError(t, b.store.CreateWindow(ctx, b.acme, w))
	require.Equal(t, []string{"named", "other", "tagged"}, looked(), "all")
	require.NoError(t, b.store.Delete(ctx, b.acme, tagged))
}

// scanInto makes a transaction that reads one value.
func scanInto(query string, into any) func(context.Context, postgres.Querier) error {
	return func(ctx context.Context, q postgres.Querier) error { return q.QueryRow(ctx, query).Scan(into) }
}
