package alert

import (
	"fmt"
	"net/mail"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/beaconpost/beaconpost/pkg/fault"
)

// The limits of channels and policies.
const (
	MaxRecipients   = 20
	MaxMonitors     = 1000
	MaxTags         = 50
	MaxSteps        = 10
	MaxStepChannels = 20
	MaxFailures     = 1000
	MaxWait         = 7 * 24 * time.Hour // of a trigger, a step or a reminder
	MinReminder     = time.Minute
	MaxGroupFor     = 10 * time.Minute

	maxName    = 200
	maxTag     = 100
	maxAddress = 254 // RFC 5321: a path has 256, with its brackets
)

// Check says whether c can be stored. All problems come in one fault.
func (c Channel) Check() error {
	var p problems
	p.name(c.Name)
	switch {
	case c.Kind != Email:
		p.add("kind", "Expected email.")
	case len(c.Email.To) == 0 || len(c.Email.To) > MaxRecipients:
		p.add("email.to", "Expected 1 to %d addresses.", MaxRecipients)
	}
	seen := map[string]bool{}
	for i, to := range c.Email.To {
		field := fmt.Sprintf("email.to.%d", i)
		switch same := strings.ToLower(to); {
		case !IsAddress(to):
			p.add(field, "Expected an address such as ops@example.com, without a name, in ASCII.")
		case seen[same]:
			p.add(field, "The address appears twice.")
		default:
			seen[same] = true
		}
	}
	return p.fault("invalid_channel")
}

// IsAddress says whether mail can be sent to the address everywhere: ASCII, nothing quoted, a domain instead of an IP address, no display name.
func IsAddress(address string) bool {
	parsed, err := mail.ParseAddress(address)
	if err != nil || parsed.Address != address || len(address) > maxAddress {
		return false
	}
	odd := func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),:;<>[\]`, r) }
	return !strings.ContainsFunc(address, odd)
}

// Check says whether p can be stored. All problems come in one fault. Whether its channels and monitors exist is not looked at.
func (p Policy) Check() error {
	var found problems
	found.name(p.Name)
	found.match(p.Match)
	if p.Trigger.Failures < 0 || p.Trigger.Failures > MaxFailures {
		found.add("trigger.failures", "Expected 0 to %d.", MaxFailures)
	}
	found.wait("trigger.after", p.Trigger.After)
	found.steps(p.Steps)
	if p.Reminder != 0 && (p.Reminder < MinReminder || p.Reminder > MaxWait) {
		found.add("reminder", "Expected 0 (none) or a duration from %s to %s.", spell(MinReminder), spell(MaxWait))
	}
	if p.GroupFor < 0 || p.GroupFor > MaxGroupFor {
		found.add("group_for", "Expected 0 (messages do not wait for others) to %s.", spell(MaxGroupFor))
	}
	return found.fault("invalid_alert_policy")
}

// problems collects what is wrong with one input.
type problems []fault.Detail

func (p *problems) add(field, format string, args ...any) {
	*p = append(*p, fault.Detail{Field: field, Message: fmt.Sprintf(format, args...)})
}

func (p *problems) fault(code fault.Code) error {
	if len(*p) == 0 {
		return nil
	}
	err := fault.Invalid(code, (*p)[0].Field, (*p)[0].Message)
	if len(*p) > 1 {
		err.Details = *p
	}
	return err
}

func (p *problems) name(name string) {
	if strings.TrimSpace(name) == "" || utf8.RuneCountInString(name) > maxName || !utf8.ValidString(name) || strings.ContainsRune(name, 0) {
		p.add("name", "Expected 1 to %d characters.", maxName)
	}
}

func (p *problems) match(m Match) {
	if len(m.Monitors) > MaxMonitors {
		p.add("match.monitors", "Expected at most %d; tags choose more.", MaxMonitors)
	}
	if len(m.Tags) > MaxTags {
		p.add("match.tags", "Expected at most %d.", MaxTags)
	}
	for i, tag := range m.Tags {
		if tag == "" || len(tag) > maxTag || !utf8.ValidString(tag) || strings.ContainsRune(tag, 0) {
			p.add(fmt.Sprintf("match.tags.%d", i), "Expected 1 to %d bytes.", maxTag)
		}
	}
}

func (p *problems) wait(field string, d time.Duration) {
	if d < 0 || d > MaxWait {
		p.add(field, "Expected a duration from 0 to %s.", spell(MaxWait))
	}
}

func (p *problems) steps(steps []Step) {
	if len(steps) == 0 || len(steps) > MaxSteps {
		p.add("steps", "Expected 1 to %d steps.", MaxSteps)
		return
	}
	var seen []uuid.UUID
	for i, s := range steps {
		field := fmt.Sprintf("steps.%d.", i)
		p.wait(field+"delay", s.Delay)
		if i > 0 && s.Delay <= steps[i-1].Delay {
			p.add(field+"delay", "Expected more than the delay of the step before.")
		}
		if len(s.Channels) == 0 || len(s.Channels) > MaxStepChannels {
			p.add(field+"channels", "Expected 1 to %d channels.", MaxStepChannels)
		}
		for _, channel := range s.Channels {
			if slices.Contains(seen, channel) {
				p.add(field+"channels", "A channel is told once; for more, set a reminder.")
				break
			}
			seen = append(seen, channel)
		}
	}
}
