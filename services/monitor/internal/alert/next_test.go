package alert_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/services/monitor/internal/alert"
)

var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func at(minutes int) time.Time { return noon.Add(time.Duration(minutes) * time.Minute) }

var (
	ops  = uuid.UUID{1}
	lead = uuid.UUID{2}
	boss = uuid.UUID{3}
)

// policy tells ops after 5 minutes, lead 10 minutes later and boss 20 minutes after that; reminders are hourly.
func policy() *alert.Policy {
	p := alert.Defaults()
	p.Name = "everything"
	p.Trigger = alert.Trigger{After: 5 * time.Minute}
	p.Steps = []alert.Step{
		{Channels: []uuid.UUID{ops}},
		{Delay: 10 * time.Minute, Channels: []uuid.UUID{lead}},
		{Delay: 30 * time.Minute, Channels: []uuid.UUID{boss}},
	}
	p.Reminder = time.Hour
	return &p
}

// with gives the policy changed.
func with(change func(*alert.Policy)) *alert.Policy {
	p := policy()
	change(p)
	return p
}

func told(channel uuid.UUID, step, minute int) alert.Told {
	return alert.Told{Channel: channel, Step: step, At: at(minute)}
}

func due(kind alert.Kind, step int, channels ...uuid.UUID) alert.Due {
	return alert.Due{Kind: kind, Step: step, Channels: channels}
}

// What follows 20 minutes after noon, when the incident was opened.
func TestNext(t *testing.T) {
	t.Parallel()
	begun := func(list ...alert.Told) alert.Progress {
		return alert.Progress{TriggeredAt: at(5), OnResolve: true, Told: list}
	}
	both := begun(told(ops, 0, 5), told(lead, 1, 15))
	reminded := begun(told(ops, 0, -50), told(lead, 1, 15))
	reminded.Told[0].Reminders, reminded.Told[0].RemindedAt = 1, at(10)
	quiet := both
	quiet.OnResolve = false
	for name, tt := range map[string]struct {
		policy   *alert.Policy
		incident alert.Incident
		progress alert.Progress
		want     []alert.Due
		next     time.Time
	}{
		"at once": {
			policy: with(func(p *alert.Policy) { p.Trigger = alert.Trigger{} }),
			want:   []alert.Due{due(alert.Fire, 0, ops), due(alert.Escalate, 1, lead)}, next: at(30),
		},
		"not yet":              {policy: with(func(p *alert.Policy) { p.Trigger.After = time.Hour }), next: at(60)},
		"first step":           {policy: with(func(p *alert.Policy) { p.Trigger.After = 20 * time.Minute }), want: []alert.Due{due(alert.Fire, 0, ops)}, next: at(30)},
		"first step, delayed":  {policy: with(func(p *alert.Policy) { p.Steps = []alert.Step{{Delay: time.Hour, Channels: []uuid.UUID{ops}}} }), next: at(65)},
		"two steps, seen late": {policy: policy(), want: []alert.Due{due(alert.Fire, 0, ops), due(alert.Escalate, 1, lead)}, next: at(35)},
		"second step":          {policy: policy(), progress: begun(told(ops, 0, 5)), want: []alert.Due{due(alert.Escalate, 1, lead)}, next: at(35)},
		"nothing new":          {policy: policy(), progress: both, next: at(35)},
		"acknowledged":         {policy: policy(), incident: alert.Incident{AcknowledgedAt: at(6)}, progress: begun(told(ops, 0, 5))},
		"acknowledged before the trigger": {
			policy: policy(), incident: alert.Incident{AcknowledgedAt: at(1)}, want: []alert.Due{due(alert.Fire, 0, ops)},
		},
		"too few failures":        {policy: failures(4, 0), incident: alert.Incident{Failures: 3}},
		"too few, but long":       {policy: failures(4, 15*time.Minute), incident: alert.Incident{Failures: 3}, want: []alert.Due{due(alert.Fire, 0, ops)}, next: at(25)},
		"too few, and not long":   {policy: failures(4, time.Hour), incident: alert.Incident{Failures: 3}, next: at(60)},
		"enough failures":         {policy: failures(4, time.Hour), incident: alert.Incident{Failures: 4}, want: []alert.Due{due(alert.Fire, 0, ops)}, next: at(30)},
		"flapping":                {policy: failures(4, 0), incident: alert.Incident{Flapping: true}, want: []alert.Due{due(alert.Fire, 0, ops)}, next: at(30)},
		"flapping, not triggered": {policy: with(func(p *alert.Policy) { p.Trigger.After = time.Hour }), incident: alert.Incident{Flapping: true}, next: at(60)},
		"reminder": {
			policy: with(func(p *alert.Policy) { p.Reminder = 10 * time.Minute }), progress: reminded,
			want: []alert.Due{due(alert.Remind, 0, ops)}, next: at(25),
		},
		"reminder, much later": {
			policy: with(func(p *alert.Policy) { p.Reminder, p.Steps = 2*time.Minute, p.Steps[:2] }), progress: both,
			want: []alert.Due{due(alert.Remind, 0, ops, lead)}, next: at(22),
		},
		"no reminder when acknowledged": {
			policy: with(func(p *alert.Policy) { p.Reminder = time.Minute }), incident: alert.Incident{AcknowledgedAt: at(18)}, progress: both,
		},
		"no reminder for those that left": {
			policy: with(func(p *alert.Policy) { p.Reminder, p.Steps = time.Minute, p.Steps[:1] }), progress: begun(told(lead, 0, 5), told(ops, 0, 19)),
			want: []alert.Due{due(alert.Remind, 0, ops)}, next: at(21),
		},
		"a channel that was added": {
			policy:   with(func(p *alert.Policy) { p.Steps[0].Channels = []uuid.UUID{boss, ops}; p.Steps = p.Steps[:2] }),
			progress: both, want: []alert.Due{due(alert.Fire, 0, boss)}, next: at(65),
		},
		"deleted":                 {progress: both},
		"deleted before":          {},
		"resolved":                {policy: policy(), incident: alert.Incident{ResolvedAt: at(19)}, progress: both, want: []alert.Due{due(alert.Resolve, 0, ops, lead)}},
		"resolved, acknowledged":  {policy: policy(), incident: alert.Incident{ResolvedAt: at(19), AcknowledgedAt: at(6)}, progress: begun(told(ops, 0, 5)), want: []alert.Due{due(alert.Resolve, 0, ops)}},
		"resolved, deleted":       {incident: alert.Incident{ResolvedAt: at(19)}, progress: both, want: []alert.Due{due(alert.Resolve, 0, ops, lead)}},
		"resolved, edited":        {policy: with(func(p *alert.Policy) { p.OnResolve, p.Steps = false, nil }), incident: alert.Incident{ResolvedAt: at(19)}, progress: both, want: []alert.Due{due(alert.Resolve, 0, ops, lead)}},
		"resolved, not wanted":    {policy: policy(), incident: alert.Incident{ResolvedAt: at(19)}, progress: quiet},
		"resolved before trigger": {policy: policy(), incident: alert.Incident{ResolvedAt: at(4)}},
		"resolved, never looked":  {policy: policy(), incident: alert.Incident{ResolvedAt: at(19)}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tt.incident.OpenedAt = noon
			before, err := json.Marshal(tt.progress)
			require.NoError(t, err)
			got, after, next := alert.Next(tt.policy, tt.incident, tt.progress, at(20))
			require.Equal(t, tt.want, got)
			require.Equal(t, tt.next, next)
			require.Equal(t, !tt.incident.ResolvedAt.IsZero(), after.Over)

			unchanged, err := json.Marshal(tt.progress)
			require.NoError(t, err)
			require.JSONEq(t, string(before), string(unchanged), "what was given is left alone")
			again, same, next := alert.Next(tt.policy, tt.incident, after, at(20))
			require.Empty(t, again, "nothing is due twice")
			require.Equal(t, after, same)
			require.Equal(t, tt.next, next)
		})
	}
}

// failures has only two steps, the trigger of n failures, and no reminder.
func failures(n int, after time.Duration) *alert.Policy {
	return with(func(p *alert.Policy) {
		p.Trigger, p.Steps, p.Reminder = alert.Trigger{Failures: n, After: after}, p.Steps[:2], 0
	})
}

func TestProgressIsSmallInTheBeginning(t *testing.T) {
	t.Parallel()
	text, err := json.Marshal(alert.Progress{})
	require.NoError(t, err)
	require.JSONEq(t, `{}`, string(text))
}

func TestMatch(t *testing.T) {
	t.Parallel()
	monitor, other := uuid.New(), uuid.New()
	for name, tt := range map[string]struct {
		match alert.Match
		want  bool
	}{
		"everything":    {alert.Match{}, true},
		"named":         {alert.Match{Monitors: []uuid.UUID{other, monitor}}, true},
		"another":       {alert.Match{Monitors: []uuid.UUID{other}}, false},
		"tag":           {alert.Match{Tags: []string{"db", "prod"}}, true},
		"another tag":   {alert.Match{Tags: []string{"Prod"}}, false},
		"tag, or named": {alert.Match{Monitors: []uuid.UUID{other}, Tags: []string{"prod"}}, true},
	} {
		require.Equal(t, tt.want, tt.match.Has(monitor, []string{"prod", "eu"}), name)
	}
	require.False(t, alert.Match{Tags: []string{"prod"}}.Has(monitor, nil))
}
