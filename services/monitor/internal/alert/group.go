package alert

import (
	"bytes"
	"cmp"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/beaconpost/beaconpost/pkg/tenant"
)

// Notification is a message that waits: that a channel is told of an incident.
type Notification struct {
	ID       uuid.UUID
	Tenant   tenant.ID
	Channel  uuid.UUID
	Kind     Kind
	Incident uuid.UUID
	DueAt    time.Time
	GroupFor time.Duration // it waits for others, at most so long
}

// Batch is what becomes one message: notifications of one tenant, channel and kind, the first due first. It has at least one.
type Batch []Notification

// Group says which of the notifications that wait are sent now, and when to ask again unless there are more before; zero: none waits.
//
// A batch is closed when one of its notifications has waited for its GroupFor, and takes what became due until then. What is told of an incident
// later does not overtake what is told before, such as the end the beginning: a batch that waits is closed early for that. Batches of a channel
// come in the order in which they have to be sent.
func Group(pending []Notification, now time.Time) (ready []Batch, next time.Time) {
	list, sent := windows(pending), order{}
	for more := true; more; {
		more = false
		list = slices.DeleteFunc(list, func(w window) bool {
			if now.Before(w.end) && !sent.overtakes(w.batch) {
				return false
			}
			sent.note(w.batch)
			ready, more = append(ready, w.batch), true
			return true
		})
	}
	for _, w := range list {
		if next.IsZero() || w.end.Before(next) {
			next = w.end
		}
	}
	return inOrder(ready), next
}

// window is a batch that takes more until end.
type window struct {
	batch Batch
	end   time.Time
}

func windows(pending []Notification) []window {
	sorted := slices.Clone(pending)
	slices.SortFunc(sorted, func(a, b Notification) int {
		return cmp.Or(byChannel(a, b), byKind(a, b), a.DueAt.Compare(b.DueAt), bytes.Compare(a.ID[:], b.ID[:]))
	})
	var list []window
	for _, n := range sorted {
		end := n.DueAt.Add(max(n.GroupFor, 0))
		last := len(list) - 1
		if last < 0 || cmp.Or(byChannel(list[last].batch[0], n), byKind(list[last].batch[0], n)) != 0 || n.DueAt.After(list[last].end) {
			list = append(list, window{batch: Batch{n}, end: end})
			continue
		}
		list[last].batch = append(list[last].batch, n)
		if end.Before(list[last].end) {
			list[last].end = end
		}
	}
	return list
}

func byChannel(a, b Notification) int {
	return cmp.Or(bytes.Compare(a.Tenant[:], b.Tenant[:]), bytes.Compare(a.Channel[:], b.Channel[:]))
}

func byKind(a, b Notification) int { return cmp.Compare(a.Kind.rank(), b.Kind.rank()) }

// rank is a kind's place in what is told of one incident.
func (k Kind) rank() int { return slices.Index([]Kind{Fire, Escalate, Remind, Resolve}, k) }

// story is what a channel is told of one incident.
type story struct {
	tenant            tenant.ID
	channel, incident uuid.UUID
}

func (n Notification) story() story { return story{n.Tenant, n.Channel, n.Incident} }

// order knows the last kind of every story that is sent.
type order map[story]int

func (o order) note(b Batch) {
	for _, n := range b {
		o[n.story()] = max(o[n.story()], n.Kind.rank())
	}
}

func (o order) overtakes(b Batch) bool {
	return slices.ContainsFunc(b, func(n Notification) bool { return n.Kind.rank() < o[n.story()] })
}

// inOrder sorts by time, so that the end of an incident comes before the beginning of the next, but no batch before an earlier kind of the same
// story: batches reach over time, and one that begins sooner may hold the end of what begins in another.
func inOrder(list []Batch) []Batch {
	slices.SortStableFunc(list, func(a, b Batch) int { return byKind(a[0], b[0]) })
	type placed struct {
		batch Batch
		at    time.Time
	}
	all, told := make([]placed, 0, len(list)), map[story]time.Time{}
	for _, b := range list {
		at := b[0].DueAt
		for _, n := range b {
			at = latest(at, told[n.story()])
		}
		for _, n := range b {
			told[n.story()] = at
		}
		all = append(all, placed{b, at})
	}
	slices.SortStableFunc(all, func(a, b placed) int { return cmp.Or(byChannel(a.batch[0], b.batch[0]), a.at.Compare(b.at)) })
	for i, p := range all {
		list[i] = p.batch
	}
	return list
}
