package httpapi

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/beaconpost/beaconpost/pkg/fault"
	"github.com/beaconpost/beaconpost/services/monitor/internal/calendar"
	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
	"github.com/beaconpost/beaconpost/services/monitor/internal/monitor"
)

// Limits of a monitor's settings, beside those of its spec.
const (
	nameMost      = 200 // characters
	tagsMost      = 50
	tagMost       = 64 // characters
	regionsMost   = 20
	thresholdMost = 20
	timeoutLeast  = 100 * time.Millisecond
	timeoutMost   = time.Minute
)

// regionForm is what a region may be called: it is part of subjects at the broker.
const regionForm = `^[a-z0-9-]{1,32}$`

// problems collects what is wrong with a body.
type problems []fault.Detail

func (p *problems) require(holds bool, field, format string, args ...any) {
	if !holds {
		*p = append(*p, fault.Detail{Field: field, Message: fmt.Sprintf(format, args...)})
	}
}

// found adds the problems that an error tells of; field is used if it names none.
func (p *problems) found(err error, field string) {
	if err == nil {
		return
	}
	f := fault.From(err)
	if f.Message == "" {
		*p = append(*p, fault.Detail{Field: field, Message: err.Error()})
		return
	}
	first := fault.Detail{Field: or(f.Field, field), Message: f.Message}
	*p = append(*p, first)
	for _, d := range f.Details {
		if d != first {
			*p = append(*p, d)
		}
	}
}

// fault gives one fault for all of them.
func (p *problems) fault(code fault.Code) error {
	list := *p
	if len(list) == 0 {
		return nil
	}
	err := fault.Invalid(code, list[0].Field, list[0].Message)
	if len(list) > 1 {
		err.Details = list
	}
	return err
}

// checkMonitor says whether a monitor can be watched as it is described.
func (h *Handlers) checkMonitor(m *monitor.Monitor, slo *SLOSettings) error {
	var p problems
	p.found(m.Spec.Check(), "")
	hidden := m.Spec.StillHidden()
	p.require(hidden == "", hidden, "Expected the secret itself: none is stored for this target.")
	if m.Spec.Assert != "" {
		p.found(h.CheckAssertion(m.Spec.Assert), "assert")
	}
	if m.Spec.Period != nil {
		e, err := calendar.ParseExpectation(*m.Spec.Period)
		p.found(err, "expected")
		p.require(err != nil || !e.Next(time.Now()).IsZero(), "expected", "Expected a time that is yet to come: this one is over.")
	}
	p.require(isName(m.Name), "name", "Expected 1 to %d characters.", nameMost)
	p.found(calendar.CheckInterval(m.Interval), "interval")
	checkDurations(&p, m)
	p.require(m.FailureThreshold >= 1 && m.FailureThreshold <= thresholdMost, "failure_threshold", "Expected 1 to %d.", thresholdMost)
	p.require(m.RecoveryThreshold >= 1 && m.RecoveryThreshold <= thresholdMost, "recovery_threshold", "Expected 1 to %d.", thresholdMost)
	p.require(slo == nil || slo.Target > 0 && slo.Target < 1, "slo.target", "Expected a share of time between 0 and 1, such as 0.999.")
	checkRegions(&p, m.Regions)
	checkTags(&p, m.Tags)
	return p.fault("invalid_monitor")
}

func checkDurations(p *problems, m *monitor.Monitor) {
	p.require(m.Timeout >= timeoutLeast && m.Timeout <= timeoutMost, "timeout", "Expected %s to %s.", timeoutLeast, timeoutMost)
	p.require(m.Timeout < m.Interval, "timeout", "Expected less than the interval, which is %s.", m.Interval)
	p.require(m.Timeout%time.Millisecond == 0, "timeout", "Expected whole milliseconds.")
	p.require(m.Degraded >= 0 && (m.Degraded == 0 || m.Degraded < m.Timeout), "degraded_after", "Expected less than the timeout, which is %s: what takes longer is down.", m.Timeout)
	p.require(m.Degraded%time.Millisecond == 0, "degraded_after", "Expected whole milliseconds.")
}

func checkRegions(p *problems, regions []string) {
	p.require(len(regions) <= regionsMost, "regions", "Expected at most %d.", regionsMost)
	for i, region := range regions {
		field := fmt.Sprintf("regions.%d", i)
		p.require(regexp.MustCompile(regionForm).MatchString(region), field, "Expected 1 to 32 small letters, digits and hyphens.")
		p.require(!slices.Contains(regions[:i], region), field, "The region appears twice.")
	}
}

func checkTags(p *problems, tags []string) {
	p.require(len(tags) <= tagsMost, "tags", "Expected at most %d.", tagsMost)
	for i, tag := range tags {
		field := fmt.Sprintf("tags.%d", i)
		p.require(isText(tag, tagMost), field, "Expected 1 to %d characters.", tagMost)
		p.require(!slices.Contains(tags[:i], tag), field, "The tag appears twice.")
	}
}

func isName(text string) bool { return isText(text, nameMost) && strings.TrimSpace(text) != "" }

// isText says whether a text has 1 to most characters, all of which can be stored.
func isText(text string, most int) bool {
	return text != "" && utf8.RuneCountInString(text) <= most && utf8.ValidString(text) && !strings.ContainsRune(text, 0)
}

// sameKind refuses to make a monitor another kind of thing: what was found of it would mean something else.
func sameKind(m *monitor.Monitor, kind check.Kind) error {
	if m.Spec.Kind == kind {
		return nil
	}
	return fault.Invalid("invalid_monitor", "kind", fmt.Sprintf("The kind cannot be changed: it is %s. Create another monitor.", m.Spec.Kind))
}
