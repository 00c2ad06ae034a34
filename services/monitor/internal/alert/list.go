package alert

import (
	"fmt"
	"strings"
	"time"
)

// group writes the message for more than one incident, the worst first.
func group(kind Kind, worst []Report, now time.Time) Message {
	monitors := fmt.Sprintf("%d monitors", len(worst))
	head := monitors + " are " + states(worst) + "."
	if kind == Resolve {
		head = monitors + " have recovered."
	}
	entries := make([]entry, 0, MaxListed)
	for _, r := range worst[:min(len(worst), MaxListed)] {
		entries = append(entries, r.entry(kind, now))
	}
	more := ""
	if n := len(worst) - len(entries); n > 0 {
		more = fmt.Sprintf("… and %d more.", n)
	}
	return Message{
		Subject: tag(kind, worst[0].state()) + " " + monitors + ": " + names(worst),
		Text:    listText(head, entries, more), HTML: listHTML(head, entries, more),
	}
}

// states says in what states they are. The worst is first, so that the last one tells whether there is another.
func states(worst []Report) string {
	first, last := worst[0].state(), worst[len(worst)-1].state()
	if first == last {
		return first
	}
	return first + " or " + last
}

func names(worst []Report) string {
	list := make([]string, 0, named+1)
	for _, r := range worst[:min(len(worst), named)] {
		list = append(list, line(r.Monitor, maxTitle/2))
	}
	text := strings.Join(list, ", ")
	if n := len(worst) - named; n > 0 {
		text += fmt.Sprintf(" and %d more", n)
	}
	return text
}

// entry is one incident in a list.
type entry struct {
	title string
	lines []string
	link  string
}

func (r Report) entry(kind Kind, now time.Time) entry {
	when := fmt.Sprintf("%s since %s (%s)", r.state(), stamp(r.OpenedAt), spell(r.lasted(now)))
	if kind == Resolve {
		when = fmt.Sprintf("was %s for %s, until %s", r.state(), spell(r.lasted(now)), stamp(r.ResolvedAt))
	}
	e := entry{title: r.title(), lines: []string{when}, link: line(r.Link, maxText)}
	for _, text := range []string{r.why(), r.Regions.String(), "incident " + r.Incident.String()} {
		if text != "" {
			e.lines = append(e.lines, text)
		}
	}
	return e
}

func listText(head string, entries []entry, more string) string {
	var b strings.Builder
	b.WriteString(head + "\n")
	for _, e := range entries {
		b.WriteString("\n- " + e.title + "\n")
		for _, l := range e.lines {
			b.WriteString("  " + l + "\n")
		}
		if e.link != "" {
			b.WriteString("  " + e.link + "\n")
		}
	}
	if more != "" {
		b.WriteString("\n" + more + "\n")
	}
	return b.String()
}

func listHTML(head string, entries []entry, more string) string {
	var b strings.Builder
	b.WriteString(paragraph(head) + "<ul>\n")
	for _, e := range entries {
		b.WriteString("<li><b>" + escape(e.title) + "</b>")
		for _, l := range e.lines {
			b.WriteString("<br>" + escape(l))
		}
		if e.link != "" {
			b.WriteString("<br>" + anchor(e.link))
		}
		b.WriteString("</li>\n")
	}
	b.WriteString("</ul>\n")
	if more != "" {
		b.WriteString(paragraph(more))
	}
	return document(b.String())
}
