package alert

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Message is what a channel is sent. Subject is one line without control characters; Text and HTML say the same.
type Message struct {
	Subject string
	Text    string
	HTML    string
	// Threads names the incidents that it is about: messages with one in common belong together.
	Threads []string
}

// Report is one incident as it is told. Its texts may come from targets: they are made harmless here.
type Report struct {
	Incident   uuid.UUID
	Monitor    string // its name
	Target     string
	Degraded   bool // slower than it should be, or its certificate ends soon; not down
	OpenedAt   time.Time
	ResolvedAt time.Time // zero: it is open
	Cause      string    // check.Cause
	Detail     string
	Regions    Regions
	Evidence   string // the first condition that was not met, in one line
	Flapping   bool
	Link       string // to the incident; "": none
}

// Regions counts what probers see.
type Regions struct {
	Failing int
	Passing int
	Silent  int // could not check
}

// MaxListed is how many incidents of a group are listed.
const MaxListed = 50

const (
	maxSubject = 200 // characters, of which a monitor's name gets
	maxTitle   = 80
	maxText    = 500
	maxTarget  = 200
	named      = 3 // monitors in the subject of a group
)

// Compose writes the message for the incidents of a batch; one that is there twice, by two policies, is told once. There is at least one.
func Compose(kind Kind, reports []Report, now time.Time) Message {
	worst := slices.Clone(reports)
	slices.SortStableFunc(worst, func(a, b Report) int { return a.compare(b, now) })
	seen := map[uuid.UUID]bool{}
	worst = slices.DeleteFunc(worst, func(r Report) bool {
		again := seen[r.Incident]
		seen[r.Incident] = true
		return again
	})
	var m Message
	switch len(worst) {
	case 0:
		return m
	case 1:
		m = single(kind, worst[0], now)
	default:
		m = group(kind, worst, now)
	}
	m.Subject = line(m.Subject, maxSubject)
	for _, r := range worst[:min(len(worst), MaxListed)] {
		m.Threads = append(m.Threads, r.Incident.String())
	}
	return m
}

// compare puts the worst first: down before degraded, seen from more of the regions, for longer.
func (r Report) compare(o Report, now time.Time) int {
	rank := func(r Report) int {
		if r.Degraded {
			return 1
		}
		return 0
	}
	return cmp.Or(
		cmp.Compare(rank(r), rank(o)),
		cmp.Compare(o.Regions.share(), r.Regions.share()),
		cmp.Compare(o.lasted(now), r.lasted(now)),
		cmp.Compare(r.Monitor, o.Monitor),
		cmp.Compare(r.Incident.String(), o.Incident.String()),
	)
}

func (r Regions) share() float64 {
	if r.Failing+r.Passing <= 0 {
		return 0
	}
	return float64(r.Failing) / float64(r.Failing+r.Passing)
}

func (r Report) lasted(now time.Time) time.Duration {
	if !r.ResolvedAt.IsZero() {
		now = r.ResolvedAt
	}
	return max(now.Sub(r.OpenedAt), 0)
}

func (r Report) state() string {
	if r.Degraded {
		return "degraded"
	}
	return "down"
}

func (r Report) title() string { return cmp.Or(line(r.Monitor, maxTitle), "a monitor without a name") }

func single(kind Kind, r Report, now time.Time) Message {
	title, lasted := r.title(), spell(r.lasted(now))
	head := fmt.Sprintf("%s is %s since %s (%s).", title, r.state(), stamp(r.OpenedAt), lasted)
	subject := tag(kind, r.state()) + " " + title
	switch kind {
	case Escalate, Remind:
		subject += ", for " + lasted
	case Resolve:
		subject += ", after " + lasted
		head = fmt.Sprintf("%s was %s for %s, from %s to %s.", title, r.state(), lasted, stamp(r.OpenedAt), stamp(r.ResolvedAt))
	case Fire:
	}
	rows := r.rows(kind)
	return Message{Subject: subject, Text: head + "\n\n" + rows.text(), HTML: document(paragraph(head) + rows.html())}
}

// rows are what is known, a label and a text each.
func (r Report) rows(kind Kind) table {
	var t table
	t.add("Target", line(r.Target, maxTarget))
	t.add("Cause", r.why())
	t.add("Regions", r.Regions.String())
	t.add("Evidence", line(r.Evidence, maxText))
	if r.Flapping {
		t.add("Flapping", "it goes up and down again and again")
	}
	if kind != Resolve && !r.ResolvedAt.IsZero() {
		t.add("Resolved", "meanwhile, "+stamp(r.ResolvedAt))
	}
	t.add("Incident", r.Incident.String())
	t.add(labelLink, line(r.Link, maxText))
	return t
}

func (r Report) why() string {
	cause, detail := line(r.Cause, maxTitle), line(r.Detail, maxText)
	if cause == "" || detail == "" {
		return cause + detail
	}
	return cause + ": " + detail
}

// String is a count for people; "" if nobody looked.
func (r Regions) String() string {
	text := ""
	if reported := r.Failing + r.Passing; reported > 0 {
		text = fmt.Sprintf("%d of %d see it", r.Failing, reported)
	}
	if r.Silent > 0 {
		if text != "" {
			text += ", "
		}
		text += fmt.Sprintf("%d could not check", r.Silent)
	}
	return text
}

// tag begins a subject.
func tag(kind Kind, state string) string {
	switch kind {
	case Escalate:
		return "[ESCALATED]"
	case Remind:
		return "[STILL " + strings.ToUpper(state) + "]"
	case Resolve:
		return "[RESOLVED]"
	case Fire:
	}
	return "[" + strings.ToUpper(state) + "]"
}
