package calendar

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// Years that calendar events can name.
const (
	firstYear = 1970
	lastYear  = 2199
)

// field is which numbers a part of a calendar event matches: any without spans.
type field struct{ spans []span }

// span is from, from+step, … up to to, which is the greatest number there is if it is open.
type span struct {
	from, to, step int
	open           bool
}

func (f field) matches(n int) bool {
	return len(f.spans) == 0 || slices.ContainsFunc(f.spans, func(s span) bool { return n >= s.from && n <= s.to && (n-s.from)%s.step == 0 })
}

// next is the first number from n on that the field matches, up to most; -1: none.
func (f field) next(n, most int) int {
	for ; n <= most; n++ {
		if f.matches(n) {
			return n
		}
	}
	return -1
}

// event is a calendar event as systemd.time(7) has it: a time on a clock that is never put forward or back. It implements cron.Schedule for times in UTC.
type event struct {
	weekdays             [7]bool // all false: any
	year, month, day     field
	fromEnd              bool // day counts from the end of the month: 1 is the last one
	hour, minute, second field
}

// Next implements cron.Schedule. It gives zero if there is none.
func (e *event) Next(after time.Time) time.Time {
	t := after.Truncate(time.Second).Add(time.Second)
	for date := t.Truncate(day); ; {
		if date = e.date(date); date.IsZero() {
			return time.Time{}
		}
		from := time.Duration(0)
		if date.Before(t) {
			from = t.Sub(date)
		}
		if at, ok := e.clock(from); ok {
			return date.Add(at)
		}
		date = date.Add(day)
	}
}

// date gives the first day from one on that the event matches.
func (e *event) date(t time.Time) time.Time {
	for t.Year() <= lastYear {
		switch {
		case !e.year.matches(t.Year()):
			t = time.Date(t.Year()+1, 1, 1, 0, 0, 0, 0, time.UTC)
		case !e.month.matches(int(t.Month())):
			t = time.Date(t.Year(), t.Month()+1, 1, 0, 0, 0, 0, time.UTC)
		case !e.matchesDay(t):
			t = t.Add(day)
		default:
			return t
		}
	}
	return time.Time{}
}

func (e *event) matchesDay(t time.Time) bool {
	if e.weekdays != [7]bool{} && !e.weekdays[t.Weekday()] {
		return false
	}
	if !e.fromEnd {
		return e.day.matches(t.Day())
	}
	last := time.Date(t.Year(), t.Month()+1, 0, 0, 0, 0, 0, time.UTC).Day()
	if len(e.day.spans) == 0 {
		return true
	}
	left := last - t.Day() + 1
	return slices.ContainsFunc(e.day.spans, func(s span) bool {
		steps := left - s.from
		if s.open { // counted down: ~07/2 is the seventh last day, the fifth, …
			steps = s.to - left
		}
		return left <= s.to && left >= s.from && steps%s.step == 0
	})
}

// clock gives the first time of day from one on that the event matches.
func (e *event) clock(from time.Duration) (time.Duration, bool) {
	hour, minute, second := int(from/time.Hour), int(from/time.Minute)%60, int(from/time.Second)%60
	for h := e.hour.next(hour, 23); h >= 0; h = e.hour.next(h+1, 23) {
		if h > hour {
			minute, second = 0, 0
		}
		for m := e.minute.next(minute, 59); m >= 0; m = e.minute.next(m+1, 59) {
			if h > hour || m > minute {
				second = 0
			}
			if s := e.second.next(second, 59); s >= 0 {
				return time.Duration(h)*time.Hour + time.Duration(m)*time.Minute + time.Duration(s)*time.Second, true
			}
		}
	}
	return 0, false
}

const expectedEvent = "Expected a calendar event of systemd, in whole seconds, such as Mon..Fri 02:30, *-*-01 04:00:00 or daily."

// events are those that have a name.
var events = map[string]string{ //nolint:gochecknoglobals // a table
	"minutely": "*-*-* *:*:00", "hourly": "*-*-* *:00:00", "daily": "*-*-* 00:00:00", "weekly": "Mon *-*-* 00:00:00", "monthly": "*-*-01 00:00:00",
	"yearly": "*-01-01 00:00:00", "annually": "*-01-01 00:00:00", "anually": "*-01-01 00:00:00", "quarterly": "*-01,04,07,10-01 00:00:00",
	"semiannually": "*-01,07-01 00:00:00", "semi-annually": "*-01,07-01 00:00:00", "biannually": "*-01,07-01 00:00:00", "bi-annually": "*-01,07-01 00:00:00",
}

// parseEvent reads a calendar event: [weekdays] [date] [time] [zone]. zone is "" if it has none. message is for people.
func parseEvent(text string) (e *event, zone, message string) {
	words := strings.Fields(text)
	if len(words) == 0 || len(text) > 200 {
		return nil, "", expectedEvent
	}
	if last := words[len(words)-1]; len(words) > 1 && isZone(last) {
		zone, words = last, words[:len(words)-1]
	}
	if named, ok := events[strings.ToLower(words[0])]; ok && len(words) == 1 {
		words = strings.Fields(named)
	}
	e = &event{}
	rest := words
	if weekdays, ok := parseWeekdays(rest[0]); ok {
		e.weekdays, rest = weekdays, rest[1:]
	}
	dated := len(rest) > 0 && !strings.Contains(rest[0], ":")
	if dated {
		if !e.parseDate(rest[0]) {
			return nil, "", expectedEvent
		}
		rest = rest[1:]
	}
	clock := "00:00:00"
	if len(rest) > 0 {
		clock, rest = rest[0], rest[1:]
	}
	if len(rest) > 0 || !e.parseClock(clock) {
		return nil, "", expectedEvent
	}
	return e, zone, ""
}

// isZone tells a time zone from the other words of an event: these have digits, * or the name of a day, and no letter beside.
func isZone(word string) bool {
	if _, ok := parseWeekdays(word); ok {
		return false
	}
	if strings.EqualFold(word, "UTC") {
		return true
	}
	_, named := events[strings.ToLower(word)]
	first := word[0] | 0x20
	return !named && first >= 'a' && first <= 'z'
}

func parseWeekdays(text string) (days [7]bool, ok bool) {
	for part := range strings.SplitSeq(text, ",") {
		first, last, ranged := strings.Cut(part, "..")
		from, ok := weekday(first)
		if !ok {
			return days, false
		}
		to := from
		if ranged {
			if to, ok = weekday(last); !ok || to < from {
				return days, false
			}
		}
		for d := from; d <= to; d++ {
			days[d%7] = true
		}
	}
	return days, true
}

// weekday gives 1 for Monday to 7 for Sunday.
func weekday(name string) (int, bool) {
	for d := time.Monday; d <= time.Saturday+1; d++ {
		full := (d % 7).String()
		if strings.EqualFold(name, full) || strings.EqualFold(name, full[:3]) {
			return int(d), true
		}
	}
	return 0, false
}

// parseDate reads year-month-day, month-day or, with ~ in place of the last -, one whose days count from the end.
func (e *event) parseDate(text string) bool {
	var days string
	if rest, last, ok := strings.Cut(text, "~"); ok {
		e.fromEnd, text, days = true, rest, last
	} else if i := strings.LastIndexByte(text, '-'); i >= 0 {
		text, days = text[:i], text[i+1:]
	} else {
		return false
	}
	year, month, ok := strings.Cut(text, "-")
	if !ok {
		year, month = "*", year
	}
	if !e.year.parse(year, firstYear, lastYear) || !e.month.parse(month, 1, 12) || !e.day.parse(days, 1, 31) {
		return false
	}
	for i, s := range e.day.spans {
		if e.fromEnd && s.open { // it goes on to the end of the month, which is 1
			e.day.spans[i] = span{from: 1, to: s.from, step: s.step, open: true}
		}
	}
	return true
}

// parseClock reads hour:minute or hour:minute:second.
func (e *event) parseClock(text string) bool {
	parts := strings.Split(text, ":")
	if len(parts) == 2 {
		parts = append(parts, "00")
	}
	return len(parts) == 3 && e.hour.parse(parts[0], 0, 23) && e.minute.parse(parts[1], 0, 59) && e.second.parse(parts[2], 0, 59)
}

// parse reads *, or a list of numbers, from..to, each of these with /step.
func (f *field) parse(text string, least, most int) bool {
	if text == "*" {
		return true
	}
	for part := range strings.SplitSeq(text, ",") {
		s, ok := parseSpan(part, least, most)
		if !ok {
			return false
		}
		f.spans = append(f.spans, s)
	}
	return true
}

func parseSpan(text string, least, most int) (s span, ok bool) {
	numbers, step, stepped := strings.Cut(text, "/")
	first, last, ranged := strings.Cut(numbers, "..")
	s.step = 1
	if s.from, ok = parseNumber(first, least, most); !ok {
		return s, false
	}
	s.to = s.from
	if stepped {
		s.to, s.open = most, true
		if s.step, ok = parseNumber(step, 1, most); !ok {
			return s, false
		}
	}
	if ranged {
		s.open = false
		if s.to, ok = parseNumber(last, s.from, most); !ok {
			return s, false
		}
	}
	return s, true
}

func parseNumber(text string, least, most int) (int, bool) {
	if text == "" || len(text) > 4 || strings.Trim(text, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.Atoi(text)
	return n, err == nil && n >= least && n <= most
}
