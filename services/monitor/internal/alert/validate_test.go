package alert_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/fault"
	"github.com/beaconpost/beaconpost/services/monitor/internal/alert"
)

func TestDefaults(t *testing.T) {
	t.Parallel()
	p := alert.Defaults()
	require.Equal(t, 30*time.Second, p.GroupFor)
	require.True(t, p.OnResolve)
	require.NoError(t, policy().Check())
}

func TestPolicyCheck(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change func(*alert.Policy)
		field  string // "": it is valid
	}{
		"the most": {func(p *alert.Policy) {
			p.Trigger = alert.Trigger{Failures: 1000, After: alert.MaxWait}
			p.Match = alert.Match{Monitors: make([]uuid.UUID, 1000), Tags: []string{strings.Repeat("x", 100)}}
			p.Reminder, p.GroupFor, p.Name = alert.MaxWait, alert.MaxGroupFor, strings.Repeat("ä", 200)
		}, ""},
		"the least":           {func(p *alert.Policy) { *p = alert.Policy{Name: "x", Steps: p.Steps[:1]} }, ""},
		"no name":             {func(p *alert.Policy) { p.Name = " " }, "name"},
		"long name":           {func(p *alert.Policy) { p.Name = strings.Repeat("x", 201) }, "name"},
		"NUL":                 {func(p *alert.Policy) { p.Name = "a\x00" }, "name"},
		"many monitors":       {func(p *alert.Policy) { p.Match.Monitors = make([]uuid.UUID, 1001) }, "match.monitors"},
		"many tags":           {func(p *alert.Policy) { p.Match.Tags = strings.Split(strings.Repeat("x", 51), "") }, "match.tags"},
		"empty tag":           {func(p *alert.Policy) { p.Match.Tags = []string{"a", ""} }, "match.tags.1"},
		"long tag":            {func(p *alert.Policy) { p.Match.Tags = []string{strings.Repeat("x", 101)} }, "match.tags.0"},
		"failures":            {func(p *alert.Policy) { p.Trigger.Failures = -1 }, "trigger.failures"},
		"after":               {func(p *alert.Policy) { p.Trigger.After = -1 }, "trigger.after"},
		"after a month":       {func(p *alert.Policy) { p.Trigger.After = 30 * 24 * time.Hour }, "trigger.after"},
		"no steps":            {func(p *alert.Policy) { p.Steps = nil }, "steps"},
		"many steps":          {func(p *alert.Policy) { p.Steps = make([]alert.Step, 11) }, "steps"},
		"negative delay":      {func(p *alert.Policy) { p.Steps[0].Delay = -1 }, "steps.0.delay"},
		"delays not rising":   {func(p *alert.Policy) { p.Steps[2].Delay = p.Steps[1].Delay }, "steps.2.delay"},
		"step for nobody":     {func(p *alert.Policy) { p.Steps[1].Channels = nil }, "steps.1.channels"},
		"step for many":       {func(p *alert.Policy) { p.Steps[1].Channels = distinct(21) }, "steps.1.channels"},
		"channel twice":       {func(p *alert.Policy) { p.Steps[2].Channels = []uuid.UUID{ops} }, "steps.2.channels"},
		"reminder too often":  {func(p *alert.Policy) { p.Reminder = time.Second }, "reminder"},
		"reminder too seldom": {func(p *alert.Policy) { p.Reminder = alert.MaxWait + 1 }, "reminder"},
		"group for an hour":   {func(p *alert.Policy) { p.GroupFor = time.Hour }, "group_for"},
		"group for less":      {func(p *alert.Policy) { p.GroupFor = -1 }, "group_for"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			requireFault(t, with(tt.change).Check(), "invalid_alert_policy", tt.field)
		})
	}
	err := fault.From(alert.Policy{GroupFor: -1}.Check())
	require.Len(t, err.Details, 3, "all at once")
}

func distinct(n int) []uuid.UUID {
	list := make([]uuid.UUID, n)
	for i := range list {
		list[i] = uuid.New()
	}
	return list
}

func requireFault(t *testing.T, err error, code fault.Code, field string) {
	t.Helper()
	if field == "" {
		require.NoError(t, err)
		return
	}
	require.Error(t, err)
	require.Equal(t, code, fault.CodeOf(err))
	require.Equal(t, field, fault.From(err).Field)
	require.Equal(t, fault.KindInvalid, fault.KindOf(err))
}

func TestChannelCheck(t *testing.T) {
	t.Parallel()
	email := func(to ...string) alert.Channel {
		return alert.Channel{Name: "ops", Kind: alert.Email, Email: alert.EmailOptions{To: to}}
	}
	many := make([]string, 21)
	for i := range many {
		many[i] = fmt.Sprintf("a%d@example.com", i)
	}
	require.NoError(t, email(many[:20]...).Check())
	for name, tt := range map[string]struct {
		channel alert.Channel
		field   string
	}{
		"another kind": {alert.Channel{Name: "ops", Kind: "pager"}, "kind"},
		"no name":      {alert.Channel{Kind: alert.Email, Email: alert.EmailOptions{To: many[:1]}}, "name"},
		"nobody":       {email(), "email.to"},
		"many":         {email(many...), "email.to"},
		"twice":        {email("ops@example.com", "OPS@example.com"), "email.to.1"},
		"not one":      {email("ops@example.com", "ops"), "email.to.1"},
	} {
		requireFault(t, tt.channel.Check(), "invalid_channel", tt.field)
		require.NotEmpty(t, name)
	}
}

func TestIsAddress(t *testing.T) {
	t.Parallel()
	for _, ok := range []string{"ops@example.com", "o'p+s.x_y-z@a-b.example.com", "a@localhost", strings.Repeat("x", 64) + "@example.com"} {
		require.True(t, alert.IsAddress(ok), ok)
	}
	for _, bad := range []string{
		"", "ops", "@example.com", "ops@", "Ops <ops@example.com>", "<ops@example.com>", `"o p"@example.com`, "ops@[127.0.0.1]", "öps@example.com", "ops@exämple.com",
		"a@example.com, b@example.com", "a@example.com\r\nRCPT TO:<b@example.com>", "a@example.com\n", " a@example.com", "a@b@example.com", "a@example.com (x)",
		"group: a@example.com;", strings.Repeat("x", 250) + "@example.com",
	} {
		require.False(t, alert.IsAddress(bad), bad)
	}
}
