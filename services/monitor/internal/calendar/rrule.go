package calendar

import (
	"strings"
	"time"

	"github.com/teambition/rrule-go"
)

const (
	maxRule         = 500
	maxRuleInterval = 1000 // days, weeks, months or years
)

// recurring reads a rule whose first occurrence is not before start, a local time as in wall. Rules may name days only: the time of the day is start's.
// That leaves at most one occurrence a day, and out what the library does not end or survive.
func recurring(text string, start time.Time, loc *time.Location, length time.Duration) (plan, error) {
	option, message := parseRule(text, loc)
	if message != "" {
		return invalid("rrule", message)
	}
	option.Dtstart = start
	rule, err := rrule.NewRRule(*option)
	if err != nil {
		return invalid("rrule", "Expected an RRULE of RFC 5545: "+err.Error()+".")
	}
	if !happens(rule) {
		return invalid("rrule", "Expected an RRULE that has a day; this one has none.")
	}
	return plan{length: length, starts: func(after time.Time) func() time.Time {
		next := near(*option, wall(after, loc)).Iterator()
		return func() time.Time {
			for {
				local, ok := next()
				if !ok {
					return time.Time{}
				}
				if at := unwall(local, loc, false); at.After(after) {
					return at
				}
			}
		}
	}}, nil
}

func happens(rule *rrule.RRule) bool {
	_, ok := rule.Iterator()()
	return ok
}

// near gives the rule as of shortly before a time, where that is the same rule: one that has been followed for years is not followed from its beginning.
func near(option rrule.ROption, at time.Time) *rrule.RRule {
	period := day * time.Duration(max(option.Interval, 1))
	if option.Freq == rrule.WEEKLY {
		period *= 7
	}
	if periods := at.Sub(option.Dtstart)/period - 2; periods > 0 && option.Count == 0 && (option.Freq == rrule.DAILY || option.Freq == rrule.WEEKLY) {
		option.Dtstart = option.Dtstart.Add(periods * period)
	}
	rule, _ := rrule.NewRRule(option) // it was checked
	return rule
}

const expectedRule = "Expected an RRULE of RFC 5545 such as FREQ=WEEKLY;BYDAY=SU, with FREQ of DAILY, WEEKLY, MONTHLY or YEARLY."

// parseRule gives a message for people if the text is no rule that is understood.
func parseRule(text string, loc *time.Location) (option *rrule.ROption, message string) {
	text = strings.TrimPrefix(strings.ToUpper(strings.TrimSpace(text)), "RRULE:")
	if len(text) > maxRule || strings.ContainsAny(text, "\r\n") {
		return nil, expectedRule
	}
	parts := map[string]string{}
	for part := range strings.SplitSeq(text, ";") {
		name, value, _ := strings.Cut(part, "=")
		if _, twice := parts[name]; twice {
			return nil, "Expected " + name + " once."
		}
		parts[name] = value
	}
	option, err := rrule.StrToROption(text)
	if err != nil || option.Freq > rrule.DAILY {
		return nil, expectedRule
	}
	if message := checkRule(option, parts); message != "" {
		return nil, message
	}
	switch until := parts["UNTIL"]; {
	case strings.HasSuffix(until, "Z"):
		option.Until = wall(option.Until, loc)
	case len(until) == len(rrule.DateFormat): // that day too
		option.Until = option.Until.Add(day - time.Second)
	}
	return option, ""
}

// checkRule leaves out what RFC 5545 does not allow, what says the time of the day, and what the library cannot do.
func checkRule(option *rrule.ROption, parts map[string]string) string {
	has := func(name string) bool { _, ok := parts[name]; return ok }
	numbered := false
	for _, weekday := range option.Byweekday {
		n := weekday.N()
		numbered = numbered || n != 0
		if most := 5; (option.Freq == rrule.MONTHLY || has("BYMONTH")) && (n > most || n < -most) {
			return "Expected BYDAY to number at most five weekdays of a month."
		}
	}
	yearly := option.Freq == rrule.YEARLY
	switch {
	case has("DTSTART") || has("BYHOUR") || has("BYMINUTE") || has("BYSECOND"):
		return "Expected only days: when a window begins says start."
	case has("BYEASTER"):
		return expectedRule
	case has("COUNT") && has("UNTIL"):
		return "Expected COUNT or UNTIL, not both."
	case has("COUNT") && (option.Count < 1 || option.Count > 10000):
		return "Expected COUNT from 1 to 10000."
	case has("INTERVAL") && (option.Interval < 1 || option.Interval > maxRuleInterval):
		return "Expected INTERVAL from 1 to 1000."
	case numbered && option.Freq != rrule.MONTHLY && !yearly, numbered && has("BYWEEKNO"):
		return "Expected numbered weekdays with FREQ of MONTHLY or YEARLY only, and not with BYWEEKNO."
	case (has("BYWEEKNO") || has("BYYEARDAY")) && !yearly:
		return "Expected BYWEEKNO and BYYEARDAY with FREQ=YEARLY only."
	case has("BYMONTHDAY") && option.Freq == rrule.WEEKLY:
		return "Expected no BYMONTHDAY with FREQ=WEEKLY."
	case has("BYSETPOS") && len(option.Byweekday)+len(option.Bymonthday)+len(option.Byyearday)+len(option.Byweekno)+len(option.Bymonth) == 0:
		return "Expected BYSETPOS beside another BY part."
	}
	return ""
}
