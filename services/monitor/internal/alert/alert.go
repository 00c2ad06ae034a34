// Package alert owns who is told of an incident, when and how often, and what the message says.
//
// It sends nothing (package mail does), keeps nothing and opens no incident. Signed webhooks need no channel: every transition is an event of
// the tenant and goes to its endpoints anyway.
//
// For one incident and one policy:
//
//	        open for After, or                a step's Delay is over:            Reminder is over:
//	        Failures, or flapping             its channels are told, once        those that were told are, again
//	waiting ─────────────────────▶ triggered ───────────────────────▶ telling ◀──────────────────────────────────┐
//	   │                               │                              │  │  └───────────────────────────────────┘
//	   │ resolved                      │ resolved                     │  │ acknowledged: no reminder, no step but the first
//	   ▼                               ▼                              │  ▼
//	  over, nobody is told ◀───────────┘                              │ known
//	                                                          resolved│  │ resolved
//	                                                                  ▼  ▼
//	                                                                  over: those that were told are told the end, once
//
// Reopening makes another incident. Next is a pure function of the policy, the incident, what was done so far (Progress) and the time: whoever
// calls it whenever the incident changes and at the moments it asks for misses nothing, and calling it more often changes nothing. Progress
// has to be stored in one transaction with what is due, or a channel is told twice or never.
//
// What is due is a Notification per channel. Group gathers those of monitors that fail together; Compose writes the message.
package alert

import (
	"slices"
	"time"

	"github.com/google/uuid"
)

// Email is the kind of a channel that sends mail.
const Email = "email"

// Channel is a way to tell people.
type Channel struct {
	ID    uuid.UUID
	Name  string
	Kind  string
	Email EmailOptions // of kind Email
}

// EmailOptions say whom a mail goes to: bare addresses. All see each other in the header.
type EmailOptions struct {
	To []string
}

// Policy says who is told of the incidents of some monitors. Start from Defaults.
type Policy struct {
	ID        uuid.UUID
	Name      string
	Match     Match
	Trigger   Trigger
	Steps     []Step        // one after the other; a channel is told by the first that names it
	Reminder  time.Duration // since a channel was last told, as long as the incident is open and not acknowledged; 0: never
	GroupFor  time.Duration // messages wait so long for others of the same kind; 0: they do not wait
	OnResolve bool          // the end is told too
}

// DefaultGroupFor is for policies that do not say, and for what is told after a policy was deleted.
const DefaultGroupFor = 30 * time.Second

// Defaults is what a policy has unless it says otherwise.
func Defaults() Policy { return Policy{GroupFor: DefaultGroupFor, OnResolve: true} }

// Match chooses monitors: those that are named and those that have one of the tags. Empty chooses all.
type Match struct {
	Monitors []uuid.UUID
	Tags     []string
}

// Has says whether the monitor is among the chosen. Tags are compared as they are.
func (m Match) Has(monitor uuid.UUID, tags []string) bool {
	if len(m.Monitors) == 0 && len(m.Tags) == 0 {
		return true
	}
	return slices.Contains(m.Monitors, monitor) || slices.ContainsFunc(m.Tags, func(tag string) bool { return slices.Contains(tags, tag) })
}

// Trigger says when an incident is worth telling. With both fields, whichever comes first; with none, at once.
type Trigger struct {
	Failures int           // consecutive ones, beyond those that opened the incident; 0: they do not matter
	After    time.Duration // that the incident is open; 0: at once, or never if Failures is set
}

// Step tells channels unless the incident is over, or was acknowledged (this does not hold back the first step).
type Step struct {
	Delay    time.Duration // since the trigger
	Channels []uuid.UUID
}
