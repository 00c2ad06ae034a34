package alert

import (
	"slices"
	"time"

	"github.com/google/uuid"
)

// Incident is what the rules look at. Zero times: not yet.
type Incident struct {
	ID             uuid.UUID
	Monitor        uuid.UUID
	OpenedAt       time.Time
	AcknowledgedAt time.Time
	ResolvedAt     time.Time
	Failures       int // consecutive ones until now, beyond those that opened it
	// Flapping: the monitor goes up and down. It will not fail often enough in a row, so that this counts as often enough.
	Flapping bool
	// Uncounted: its failures cannot be counted, as of heartbeats and of incidents by hand, so that any number is reached.
	Uncounted bool
}

// Kind says why a channel is told.
type Kind string

// The kinds, in the order in which a channel can get them. Escalate is the fire of a later step.
const (
	Fire     Kind = "fire"
	Escalate Kind = "escalate"
	Remind   Kind = "remind"
	Resolve  Kind = "resolve"
)

// Due is a message for some channels.
type Due struct {
	Kind     Kind
	Step     int // of Fire (0) and Escalate
	Channels []uuid.UUID
}

// Progress is what was done for one incident and one policy. The zero value is the beginning.
type Progress struct {
	TriggeredAt time.Time `json:"triggered_at,omitzero"`
	OnResolve   bool      `json:"on_resolve,omitempty"` // as the policy was at the trigger
	Told        []Told    `json:"told,omitempty"`       // in order
	Over        bool      `json:"over,omitempty"`       // nothing will be due any more
}

// Told is what a channel got.
type Told struct {
	Channel    uuid.UUID `json:"channel"`
	Step       int       `json:"step"`
	At         time.Time `json:"at"`
	Reminders  int       `json:"reminders,omitempty"`
	RemindedAt time.Time `json:"reminded_at,omitzero"`
}

// Next says what is due now, what is remembered of it, and when to ask again unless the incident or the policy changes before; zero: not before.
// It is asked once after every change of the incident.
//
// policy is as it is now, nil if it was deleted or does not match the monitor any more. A channel that was added to a step in the past is told
// at once. Who was told is told the end, whatever became of the policy.
func Next(policy *Policy, incident Incident, progress Progress, now time.Time) ([]Due, Progress, time.Time) {
	n := step{policy: policy, incident: incident, Progress: progress, now: now}
	n.Told = slices.Clone(n.Told)
	switch {
	case n.Over:
	case !incident.ResolvedAt.IsZero():
		n.resolve()
	case policy == nil:
	case n.triggered():
		n.tell()
		n.remind()
	}
	return n.due, n.Progress, n.next
}

// step is one call of Next.
type step struct {
	Progress
	policy   *Policy
	incident Incident
	now      time.Time
	due      []Due
	next     time.Time
}

// ask has Next asked at a moment that has not come.
func (n *step) ask(at time.Time) {
	if n.next.IsZero() || at.Before(n.next) {
		n.next = at
	}
}

// resolve tells the end. What was never told is over without a word, although its time may have come meanwhile.
func (n *step) resolve() {
	n.Over = true
	if !n.OnResolve || len(n.Told) == 0 {
		return
	}
	d := Due{Kind: Resolve}
	for _, told := range n.Told {
		d.Channels = append(d.Channels, told.Channel)
	}
	n.due = append(n.due, d)
}

// triggered says whether the incident is worth telling, from now on or from before. Its moment does not depend on when somebody looks.
func (n *step) triggered() bool {
	if !n.TriggeredAt.IsZero() {
		return true
	}
	trigger := n.policy.Trigger
	open := n.incident.OpenedAt.Add(trigger.After)
	timed := trigger.After > 0 || trigger.Failures == 0
	switch {
	case timed && !n.now.Before(open):
		n.TriggeredAt = open
	case trigger.Failures > 0 && (n.incident.Failures >= trigger.Failures || n.incident.Flapping || n.incident.Uncounted):
		n.TriggeredAt = n.now
	case timed:
		n.ask(open)
		return false
	default:
		return false
	}
	n.OnResolve = n.policy.OnResolve
	return true
}

func (n *step) acknowledged() bool { return !n.incident.AcknowledgedAt.IsZero() }

// tell goes through the steps. It is the channels that are remembered, not the number of a step: steps can be edited meanwhile.
func (n *step) tell() {
	for i, s := range n.policy.Steps {
		if i > 0 && n.acknowledged() {
			return
		}
		at := n.TriggeredAt.Add(s.Delay)
		d := Due{Kind: Escalate, Step: i}
		if i == 0 {
			d.Kind = Fire
		}
		for _, channel := range s.Channels {
			switch {
			case slices.ContainsFunc(n.Told, func(told Told) bool { return told.Channel == channel }):
			case n.now.Before(at):
				n.ask(at)
			default:
				d.Channels = append(d.Channels, channel)
				n.Told = append(n.Told, Told{Channel: channel, Step: i, At: n.now})
			}
		}
		if len(d.Channels) > 0 {
			n.due = append(n.due, d)
		}
	}
}

// remind goes through those that were told and still are in the policy. However late it is, one reminder is enough.
func (n *step) remind() {
	if n.policy.Reminder <= 0 || n.acknowledged() {
		return
	}
	d := Due{Kind: Remind}
	for i := range n.Told {
		told := &n.Told[i]
		if !n.policy.names(told.Channel) {
			continue
		}
		if at := latest(told.At, told.RemindedAt).Add(n.policy.Reminder); n.now.Before(at) {
			n.ask(at)
			continue
		}
		d.Channels = append(d.Channels, told.Channel)
		told.Reminders++
		told.RemindedAt = n.now
		n.ask(n.now.Add(n.policy.Reminder))
	}
	if len(d.Channels) > 0 {
		n.due = append(n.due, d)
	}
}

// names says whether a step tells the channel.
func (p *Policy) names(channel uuid.UUID) bool {
	return slices.ContainsFunc(p.Steps, func(s Step) bool { return slices.Contains(s.Channels, channel) })
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
