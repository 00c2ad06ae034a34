package alert

import (
	"fmt"
	"html"
	"net/url"
	"strings"
	"time"
	"unicode"
)

// line makes one line of a text that anybody may have written: no control characters, which could begin a header or a line of its own, nothing
// that turns the direction of writing, no more than so many characters.
func line(text string, most int) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r) || unicode.In(r, unicode.Zl, unicode.Zp):
			return ' '
		case unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r):
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, "�"))
	text = strings.Join(strings.Fields(text), " ")
	if runes := []rune(text); len(runes) > most {
		return strings.TrimRight(string(runes[:most-1]), " ") + "…"
	}
	return text
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// spell gives a duration in its two largest units, such as "3d 4h" or "5m 3s".
func spell(d time.Duration) string {
	d = max(d, 0).Truncate(time.Second)
	const day = 24 * time.Hour
	units := []struct {
		size time.Duration
		name string
	}{{day, "d"}, {time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}}
	for i, u := range units {
		n := d / u.size
		if n == 0 {
			continue
		}
		text := fmt.Sprintf("%d%s", n, u.name)
		if i+1 < len(units) {
			if rest := (d % u.size) / units[i+1].size; rest > 0 {
				text += fmt.Sprintf(" %d%s", rest, units[i+1].name)
			}
		}
		return text
	}
	return "0s"
}

const labelLink = "Link"

// table is labels and texts; every text is one line already.
type table [][2]string

// add leaves out what is not known.
func (t *table) add(label, text string) {
	if text != "" {
		*t = append(*t, [2]string{label, text})
	}
}

func (t table) text() string {
	var b strings.Builder
	for _, row := range t {
		fmt.Fprintf(&b, "%-10s %s\n", row[0]+":", row[1])
	}
	return b.String()
}

func (t table) html() string {
	var b strings.Builder
	b.WriteString("<table>\n")
	for _, row := range t {
		cell := escape(row[1])
		if row[0] == labelLink {
			cell = anchor(row[1])
		}
		b.WriteString(`<tr><th align="left" valign="top">` + escape(row[0]) + "</th><td>" + cell + "</td></tr>\n")
	}
	b.WriteString("</table>\n")
	return b.String()
}

func escape(text string) string { return html.EscapeString(text) }

func paragraph(text string) string { return "<p>" + escape(text) + "</p>\n" }

// anchor links to an http or https URL; anything else stays text. Only what the operator wrote is linked, never what a target said.
func anchor(link string) string {
	u, err := url.Parse(link)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return escape(link)
	}
	return `<a href="` + escape(link) + `">` + escape(link) + "</a>"
}

func document(body string) string {
	return "<!DOCTYPE html>\n<html><head><meta charset=\"utf-8\"></head><body style=\"font-family:sans-serif\">\n" + body + "</body></html>\n"
}
