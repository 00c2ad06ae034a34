package alert_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/beaconpost/beaconpost/services/monitor/internal/alert"
)

func drawPolicy(t *rapid.T) *alert.Policy {
	second := func(most int, name string) time.Duration {
		return time.Duration(rapid.IntRange(0, most).Draw(t, name)) * time.Second
	}
	p := &alert.Policy{
		Trigger:   alert.Trigger{Failures: rapid.IntRange(0, 3).Draw(t, "failures"), After: second(20, "after")},
		Reminder:  second(15, "reminder"),
		OnResolve: rapid.Bool().Draw(t, "on resolve"),
	}
	delay := second(10, "first delay")
	for range rapid.IntRange(1, 3).Draw(t, "steps") {
		var channels []uuid.UUID
		for range rapid.IntRange(1, 3).Draw(t, "channels") { // also the same again, as no policy that was checked has it
			channels = append(channels, uuid.UUID{byte(rapid.IntRange(1, 6).Draw(t, "channel"))})
		}
		p.Steps = append(p.Steps, alert.Step{Delay: delay, Channels: channels})
		delay += second(20, "delay") + time.Second
	}
	return p
}

// model is one incident and one policy. What Next says is checked against what the channels have got.
type model struct {
	t         *rapid.T
	policy    *alert.Policy
	incident  alert.Incident
	progress  alert.Progress
	next, now time.Time
	fired     map[uuid.UUID]time.Time
	last      map[uuid.UUID]time.Time // that a channel was told, or reminded
	resolved  map[uuid.UUID]int
	onResolve bool
	log       []string
}

func newModel(t *rapid.T, p *alert.Policy) *model {
	return &model{
		t: t, policy: p, incident: alert.Incident{ID: uuid.UUID{9}, OpenedAt: noon}, now: noon,
		fired: map[uuid.UUID]time.Time{}, last: map[uuid.UUID]time.Time{}, resolved: map[uuid.UUID]int{},
	}
}

func (m *model) look() {
	text, err := json.Marshal(m.progress)
	require.NoError(m.t, err)
	var stored alert.Progress
	require.NoError(m.t, json.Unmarshal(text, &stored))
	require.Equal(m.t, m.progress, stored, "progress survives being stored")

	wasTriggered := !stored.TriggeredAt.IsZero()
	list, progress, next := alert.Next(m.policy, m.incident, stored, m.now)
	require.True(m.t, next.IsZero() || next.After(m.now), "next is in the future")
	require.True(m.t, next.IsZero() || m.incident.ResolvedAt.IsZero() && m.policy != nil, "there is something to come")
	if !wasTriggered && !progress.TriggeredAt.IsZero() {
		m.onResolve = m.policy.OnResolve
		require.False(m.t, progress.TriggeredAt.After(m.now))
	}
	m.progress, m.next = progress, next
	for _, d := range list {
		require.NotEmpty(m.t, d.Channels)
		for _, channel := range d.Channels {
			m.got(d, channel)
		}
		m.log = append(m.log, fmt.Sprint(m.now.Sub(noon), d))
	}
	m.complete()
}

func (m *model) got(d alert.Due, channel uuid.UUID) {
	open := m.incident.ResolvedAt.IsZero()
	acknowledged := !m.incident.AcknowledgedAt.IsZero()
	switch d.Kind {
	case alert.Fire, alert.Escalate:
		require.True(m.t, open, "what is over alarms nobody")
		require.NotContains(m.t, m.fired, channel, "at most once")
		require.Equal(m.t, d.Kind == alert.Fire, d.Step == 0)
		require.Contains(m.t, m.policy.Steps[d.Step].Channels, channel)
		require.False(m.t, acknowledged && d.Kind == alert.Escalate, "no escalation of what is known")
		require.False(m.t, m.now.Before(m.progress.TriggeredAt.Add(m.policy.Steps[d.Step].Delay)), "not too early")
		m.fired[channel], m.last[channel] = m.now, m.now
	case alert.Remind:
		require.True(m.t, open && !acknowledged, "no reminder of what is known or over")
		require.Contains(m.t, m.fired, channel)
		require.GreaterOrEqual(m.t, m.now.Sub(m.last[channel]), m.policy.Reminder)
		m.last[channel] = m.now
	case alert.Resolve:
		require.False(m.t, open)
		m.resolved[channel]++
	}
}

// complete checks that nobody who should know by now was forgotten.
func (m *model) complete() {
	if !m.incident.ResolvedAt.IsZero() {
		for channel := range m.fired {
			require.Equal(m.t, m.onResolve, m.resolved[channel] == 1)
		}
		for channel, n := range m.resolved {
			require.Equal(m.t, 1, n)
			require.Contains(m.t, m.fired, channel)
		}
		return
	}
	require.Empty(m.t, m.resolved)
	if m.policy == nil || m.progress.TriggeredAt.IsZero() {
		return
	}
	for i, s := range m.policy.Steps {
		for _, channel := range s.Channels {
			known := i > 0 && !m.incident.AcknowledgedAt.IsZero()
			if !known && !m.now.Before(m.progress.TriggeredAt.Add(s.Delay)) {
				require.Contains(m.t, m.fired, channel)
			}
			at, told := m.last[channel]
			if told && m.policy.Reminder > 0 && m.incident.AcknowledgedAt.IsZero() {
				require.Less(m.t, m.now.Sub(at), m.policy.Reminder)
			}
		}
	}
}

func TestRandomHistories(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(t, drawPolicy(t))
		t.Repeat(map[string]func(*rapid.T){
			"time passes": func(t *rapid.T) {
				m.now = m.now.Add(time.Duration(rapid.IntRange(1, 20e3).Draw(t, "ms")) * time.Millisecond)
			},
			"to the next moment": func(*rapid.T) {
				if m.next.After(m.now) {
					m.now = m.next
				}
			},
			"look":    func(*rapid.T) { m.look() },
			"failure": func(*rapid.T) { m.incident.Failures++ },
			"success": func(*rapid.T) { m.incident.Failures = 0 },
			"flaps":   func(t *rapid.T) { m.incident.Flapping = rapid.Bool().Draw(t, "flapping") },
			"acknowledged": func(*rapid.T) {
				if m.incident.AcknowledgedAt.IsZero() {
					m.incident.AcknowledgedAt = m.now
				}
			},
			"resolved": func(t *rapid.T) {
				if m.incident.ResolvedAt.IsZero() && rapid.IntRange(0, 4).Draw(t, "rarely") == 0 {
					m.incident.ResolvedAt = m.now
				}
			},
			"edited":  func(t *rapid.T) { m.policy = drawPolicy(t) },
			"deleted": func(*rapid.T) { m.policy = nil },
		})
	})
}

// Who looks at changes and at the moments that Next asks for sees the same, at the same times, as who looks every second.
func TestWhoLooksWhenAskedMissesNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := drawPolicy(t)
		always, sometimes := newModel(t, p), newModel(t, p)
		for second := range 90 {
			now, changed := noon.Add(time.Duration(second)*time.Second), second == 0
			change := func(f func(*model)) {
				f(always)
				f(sometimes)
				changed = true
			}
			switch rapid.IntRange(0, 60).Draw(t, "what happens") {
			case 0, 1, 2, 3, 4:
				change(func(m *model) { m.incident.Failures++ })
			case 5:
				change(func(m *model) { m.incident.AcknowledgedAt = now })
			case 6:
				change(func(m *model) { m.incident.ResolvedAt = now })
			case 7:
				edited := drawPolicy(t)
				change(func(m *model) { m.policy = edited })
			}
			always.now, sometimes.now = now, now
			always.look()
			if changed || !sometimes.next.IsZero() && !now.Before(sometimes.next) {
				sometimes.look()
			}
		}
		require.Equal(t, always.log, sometimes.log)
		require.Equal(t, always.progress, sometimes.progress)
	})
}
