package verdict_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/notice"
	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
	"github.com/beaconpost/beaconpost/services/monitor/internal/verdict"
)

const (
	up   = verdict.Up
	slow = verdict.Degraded
	down = verdict.Down

	unknown     = verdict.Unknown
	maintenance = verdict.Maintenance
	paused      = verdict.Paused
)

var (
	noon    = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	monitor = uuid.MustParse("0192f0c1-2345-7abc-8def-0123456789ab")
	three   = verdict.Rules{Monitor: monitor, Regions: []string{"a", "b", "c"}, FailureThreshold: 3, RecoveryThreshold: 2, Interval: time.Minute, Hold: 5 * time.Minute}
	single  = verdict.Rules{Monitor: monitor, Regions: []string{"a"}, FailureThreshold: 3, RecoveryThreshold: 2, Interval: time.Minute}
)

// at is a slot's time, or later by parts of an interval.
func at(slot float64) time.Time { return noon.Add(time.Duration(slot * float64(time.Minute))) }

func window(from, to float64) verdict.Window { return verdict.Window{From: at(from), To: at(to)} }

// monitored is a monitor on its way.
type monitored struct {
	t *testing.T
	verdict.Rules
	s   verdict.State
	now time.Time
	all verdict.Effects
}

func monitorOf(t *testing.T, r verdict.Rules) *monitored {
	return &monitored{t: t, Rules: r, s: verdict.Begin(at(-1)), now: at(-1)}
}

func (m *monitored) did(s verdict.State, e verdict.Effects) verdict.Effects {
	m.s = s
	m.all.Changes = append(m.all.Changes, e.Changes...)
	m.all.Incidents = append(m.all.Incidents, e.Incidents...)
	m.all.Events = append(m.all.Events, e.Events...)
	return e
}

func report(region string, slot int, outcome byte, confirmation int) verdict.Report {
	rep := verdict.Report{Region: region, Slot: check.Slot{Number: 1000 + int64(slot), At: at(float64(slot))}, Confirmation: confirmation, Outcome: check.Up}
	switch outcome {
	case 'd':
		rep.Outcome, rep.Cause, rep.Detail = check.Down, check.CauseStatus, "503"
	case 's':
		rep.Outcome, rep.Cause, rep.Detail = check.Degraded, check.CauseSlow, "2s"
	case '-':
		rep.Outcome, rep.Cause = check.NotChecked, check.CauseEgress
	}
	return rep
}

func (m *monitored) report(rep verdict.Report) verdict.Effects {
	m.now = rep.Slot.At.Add(time.Second)
	return m.did(m.Report(m.s, rep, m.now))
}

// slots reports for each region one outcome per slot from a slot on: u, s(low), d, - (not checked) or a space (nothing).
func (m *monitored) slots(from int, regions ...string) {
	for i := range regions[0] {
		for r, outcomes := range regions {
			if outcomes[i] != ' ' {
				m.report(report(m.Regions[r], from+i, outcomes[i], 0))
			}
		}
	}
}

func (m *monitored) look(slot float64) time.Time {
	m.now = at(slot)
	s, e, next := m.Look(m.s, m.now)
	m.did(s, e)
	return next
}

// ledger is what the statuses were, with the slots at which they began.
type entry struct {
	Status verdict.Status
	Slot   float64
}

func (m *monitored) ledger() []entry {
	var list []entry
	for _, c := range m.all.Changes {
		list = append(list, entry{c.To, c.At.Sub(noon).Minutes()})
	}
	return list
}

func (m *monitored) told() []string {
	var list []string
	for _, e := range m.all.Events {
		list = append(list, e.Type)
	}
	return list
}

// What regions say, slot by slot from 0 on, and what follows.
func TestVerdicts(t *testing.T) {
	t.Parallel()
	const tick = 1.0 / 60e6 // a microsecond
	fired, over := []string{"monitor.down", "incident.opened"}, []string{"incident.resolved", "monitor.up"}
	for name, tt := range map[string]struct {
		rules   verdict.Rules
		regions []string
		want    []entry
		told    []string
	}{
		"the first good result":               {single, []string{"u"}, []entry{{up, 0}}, nil},
		"the first bad ones":                  {single, []string{"ddd"}, []entry{{down, 0}}, fired},
		"too few bad ones":                    {single, []string{"dd"}, nil, nil},
		"a slow one is a bad one":             {single, []string{"ss"}, nil, nil},
		"slow from the start":                 {single, []string{"sss"}, []entry{{slow, 0}}, []string{"monitor.degraded"}},
		"down, dated back":                    {single, []string{"uuddd"}, []entry{{up, 0}, {down, 2}}, fired},
		"a good one between":                  {single, []string{"uddudd"}, []entry{{up, 0}}, nil},
		"slow ones between are not up":        {single, []string{"uddsdd"}, []entry{{up, 0}, {slow, 1}}, []string{"monitor.degraded"}},
		"recovery takes two":                  {single, []string{"udddudu"}, []entry{{up, 0}, {down, 1}}, fired},
		"recovery, dated back":                {single, []string{"udddduu"}, []entry{{up, 0}, {down, 1}, {up, 5}}, append(fired[:2:2], over...)},
		"degraded resolves":                   {single, []string{"udddss"}, []entry{{up, 0}, {down, 1}, {slow, 4}}, append(fired[:2:2], "incident.resolved", "monitor.degraded")},
		"degraded, then up":                   {single, []string{"usssuu"}, []entry{{up, 0}, {slow, 1}, {up, 4}}, []string{"monitor.degraded", "monitor.up"}},
		"degraded, then down":                 {single, []string{"usssddd"}, []entry{{up, 0}, {slow, 1}, {down, 4}}, append([]string{"monitor.degraded"}, fired...)},
		"our own fault":                       {single, []string{"u-----"}, []entry{{up, 0}, {unknown, 3}}, nil},
		"our own fault does not help":         {single, []string{"ud--dd"}, []entry{{up, 0}, {unknown, 4}}, nil},
		"our own fault between":               {single, []string{"udd-d"}, []entry{{up, 0}, {down, 1}}, fired},
		"one of three is too few":             {three, []string{"uuu", "   ", "   "}, nil, nil},
		"two of three":                        {three, []string{"u", "u", " "}, []entry{{up, 0}}, nil},
		"one of three is down":                {three, []string{"uddddd", "uuuuuu", "uuuuuu"}, []entry{{up, 0}}, nil},
		"two of three: since the second":      {three, []string{"uddddd", "uuuddd", "uuuuuu"}, []entry{{up, 0}, {down, 3}}, fired},
		"three of three: since the second":    {three, []string{"uddddddd", "uudddddd", "uuuddddd"}, []entry{{up, 0}, {down, 2}}, fired},
		"down and slow are not up":            {three, []string{"uddddd", "uuusss", "uuuuuu"}, []entry{{up, 0}, {slow, 3}}, []string{"monitor.degraded"}},
		"half of those that report":           {three, []string{"udddd", "uuuuu", "     "}, []entry{{up, 0}}, nil},
		"most of those that report":           {three, []string{"udddd", "udddd", "     "}, []entry{{up, 0}, {down, 1}}, fired},
		"recovery: since half were not":       {three, []string{"uddduuuu", "udddduuu", "uuuuuuuu"}, []entry{{up, 0}, {down, 1}, {up, 4}}, append(fired[:2:2], over...)},
		"down, then slow in most":             {three, []string{"udddsss", "udddddd", "uuuuuuu"}, []entry{{up, 0}, {down, 1}, {slow, 4}}, append(fired[:2:2], "incident.resolved", "monitor.degraded")},
		"a silent region does not count":      {three, []string{"udddddd", "uuuuuuu", "u      "}, []entry{{up, 0}}, nil},
		"silence is no recovery":              {single, []string{"uddd      ud"}, []entry{{up, 0}, {down, 1}, {unknown, 6}}, fired},
		"after silence a good one is too few": {single, []string{"uddd      ududuu"}, []entry{{up, 0}, {down, 1}, {unknown, 6}, {up, 14}}, append(fired[:2:2], over...)},
		"after silence, down again":           {single, []string{"uddd      ddd"}, []entry{{up, 0}, {down, 1}, {unknown, 6}, {down, 10}}, fired},
		"after silence, failures start anew":  {single, []string{"udd      dd"}, []entry{{up, 0}, {unknown, 5}}, nil},
		"degraded and down in the same slot":  {three, []string{"uddddd", "usssss", "udddsd"}, []entry{{up, 0}, {slow, 1}, {down, 1 + tick}}, append([]string{"monitor.degraded"}, fired...)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := monitorOf(t, tt.rules)
			m.slots(0, tt.regions...)
			got := m.ledger()
			require.Len(t, got, len(tt.want), "%v", got)
			for i, want := range tt.want {
				require.Equal(t, want.Status, got[i].Status, "%v", got)
				require.InDelta(t, want.Slot, got[i].Slot, tick/10, "%v", got)
			}
			require.Equal(t, tt.told, m.told())
		})
	}
}

func TestCauses(t *testing.T) {
	t.Parallel()
	m := monitorOf(t, three)
	m.slots(0, "u", "u", "u")
	for slot := 1; slot <= 3; slot++ {
		for region, cause := range map[string]check.Cause{"a": check.CauseTimeout, "b": check.CauseConnect, "c": check.CauseConnect} {
			rep := report(region, slot, 'd', 0)
			rep.Cause, rep.Detail = cause, "from "+region
			m.report(rep)
		}
	}
	require.Equal(t, down, m.s.Status)
	last := m.all.Changes[len(m.all.Changes)-1]
	require.NotEmpty(t, last.Detail)
	require.Equal(t, last.Cause, m.all.Incidents[0].Cause)
	require.Equal(t, last.Cause, m.all.Events[0].Cause)
	require.Equal(t, m.all.Incidents[0].ID, m.s.Incident)
	require.Equal(t, uuid.Version(7), m.s.Incident.Version())
	require.Equal(t, "monitor.down", m.all.Events[0].Type)
	require.Equal(t, m.s.Incident, m.all.Events[0].Incident)
}

// What is counted of slots, for each result in turn: checked, missed, late.
func TestSlots(t *testing.T) {
	t.Parallel()
	type count struct{ checked, missed, late int }
	m := monitorOf(t, single)
	for i, tt := range []struct {
		slot, confirmation int
		outcome            byte
		want               count
	}{
		{5, 0, 'u', count{1, 0, 0}},
		{5, 0, 'u', count{}}, // again
		{4, 0, 'd', count{}}, // before the first one nothing was promised
		{6, 0, '-', count{1, 0, 0}},
		{9, 0, 'u', count{1, 2, 0}},
		{7, 0, 'd', count{0, -1, 1}},
		{7, 0, 'd', count{}},
		{6, 0, 'u', count{}},
		{10, 1, 'd', count{}}, // a confirmation is no slot's own
		{10, 0, 'd', count{1, 0, 0}},
		{110, 0, 'u', count{1, 99, 0}},
		{50, 0, 'd', count{0, -1, 1}},
		{12, 0, 'd', count{}}, // too late to know
		{8, 0, 'u', count{}},
	} {
		before := m.s
		e := m.report(report("a", tt.slot, tt.outcome, tt.confirmation))
		require.Equal(t, tt.want, count{e.Checked, e.Missed, e.Late}, i)
		if tt.want.checked == 0 && tt.confirmation == 0 {
			require.Equal(t, before.Regions["a"].Failures, m.s.Regions["a"].Failures, "%d: nothing else", i)
		}
	}
	require.Empty(t, m.report(report("x", 111, 'u', 0)), "of no region of the monitor")
}

func TestConfirmations(t *testing.T) {
	t.Parallel()
	slot := check.Slot{Number: 1001, At: at(1)}
	ask := func(region string, confirmation int, after time.Duration) verdict.Ask {
		return verdict.Ask{Region: region, Slot: slot, Confirmation: confirmation, After: after}
	}
	const later = 10 * time.Second
	confirmed := three
	confirmed.Confirm, confirmed.FailureThreshold = true, 2
	alone := single
	alone.Confirm = true
	for name, tt := range map[string]struct {
		rules   verdict.Rules
		reports []verdict.Report
		asks    [][]verdict.Ask
		want    verdict.Status
	}{
		"not wanted": {single, []verdict.Report{report("a", 1, 'd', 0)}, [][]verdict.Ask{nil}, up},
		"one region: again and again": {alone, []verdict.Report{report("a", 1, 'd', 0), report("a", 1, 'd', 1), report("a", 1, 'd', 1), report("a", 1, 'd', 2)},
			[][]verdict.Ask{{ask("a", 1, later)}, {ask("a", 2, later)}, nil, nil}, down},
		"it was nothing":  {alone, []verdict.Report{report("a", 1, 'd', 0), report("a", 1, 'u', 1)}, [][]verdict.Ask{{ask("a", 1, later)}, nil}, up},
		"slow is no news": {alone, []verdict.Report{report("a", 1, 's', 0)}, [][]verdict.Ask{nil}, up},
		"our own fault":   {alone, []verdict.Report{report("a", 1, '-', 0)}, [][]verdict.Ask{nil}, up},
		"others at once": {confirmed, []verdict.Report{report("a", 1, 'd', 0), report("b", 1, 'd', 0), report("b", 1, 'd', 1), report("a", 1, 'd', 1)},
			[][]verdict.Ask{{ask("b", 1, 0), ask("c", 1, 0), ask("a", 1, later)}, nil, nil, nil}, down},
		"the confirmation before the slot's own": {confirmed, []verdict.Report{report("a", 1, 'd', 0), report("b", 1, 'd', 1), report("b", 1, 'd', 0), report("a", 1, 'd', 1)},
			[][]verdict.Ask{{ask("b", 1, 0), ask("c", 1, 0), ask("a", 1, later)}, {ask("b", 2, later)}, nil, nil}, down},
		"others say up": {confirmed, []verdict.Report{report("a", 1, 'd', 0), report("b", 1, 'u', 1), report("c", 1, 'u', 1), report("a", 1, 'd', 1)},
			[][]verdict.Ask{{ask("b", 1, 0), ask("c", 1, 0), ask("a", 1, later)}, nil, nil, nil}, up},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := monitorOf(t, tt.rules)
			for _, region := range m.Regions {
				m.report(report(region, 0, 'u', 0))
			}
			for i, rep := range tt.reports {
				require.Equal(t, tt.asks[i], m.report(rep).Ask, i)
			}
			require.Equal(t, tt.want, m.s.Status)
			if tt.want == down {
				require.Equal(t, at(1), m.s.Since, "the slot's time")
			}
		})
	}
	for interval, want := range map[time.Duration]time.Duration{time.Second: time.Second, 12 * time.Second: 4 * time.Second, time.Hour: 10 * time.Second} {
		alone.Interval = interval
		_, e := alone.Report(verdict.Begin(noon), report("a", 1, 'd', 0), at(1))
		require.Equal(t, want, e.Ask[0].After)
	}
	alone.Interval, alone.Maintenance = time.Minute, []verdict.Window{window(0, 9)}
	_, e := alone.Report(verdict.Begin(noon), report("a", 1, 'd', 0), at(1))
	require.Empty(t, e.Ask, "nothing to hurry for")
}

func TestTheCertificateIsWarnedOfOnce(t *testing.T) {
	t.Parallel()
	m := monitorOf(t, three)
	m.Maintenance = []verdict.Window{window(1, 2)}
	ends := func(region string, slot int, days int) int {
		rep := report(region, slot, 's', 0)
		rep.Cause, rep.CertEnds = check.CauseCertificateEnding, noon.AddDate(0, 0, days)
		return len(m.report(rep).Events)
	}
	require.Equal(t, []int{0, 1, 0, 1, 0, 0, 1}, []int{
		ends("a", 1, 9),                  // maintenance
		ends("a", 2, 9), ends("b", 2, 9), // once
		ends("c", 2, 12), ends("a", 3, 9), ends("c", 3, 12), // regions may see two
		ends("c", 9, 90), // the next one
	})
}

func TestEventTypes(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{
		verdict.MonitorDown, verdict.MonitorDegraded, verdict.MonitorUp, verdict.CertificateExpiring, verdict.HeartbeatMissed, verdict.IncidentOpened, verdict.IncidentResolved,
	} {
		require.True(t, notice.Reserved(kind), kind)
	}
}

func TestAStateWithoutABeginning(t *testing.T) {
	t.Parallel()
	s, e := single.Report(verdict.State{}, report("a", 0, 'u', 0), at(0.5))
	require.Equal(t, up, s.Status)
	require.Len(t, e.Changes, 2)
	require.Equal(t, verdict.Change{To: unknown, At: at(0)}, e.Changes[0])
	var back verdict.State
	text, err := json.Marshal(s)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &back))
	require.Equal(t, s, back)
}

// A slot of three regions, read and stored once.
func BenchmarkReport(b *testing.B) {
	s := verdict.Begin(noon)
	for slot := 0; b.Loop(); slot++ {
		for _, region := range three.Regions {
			s, _ = three.Report(s, report(region, slot, "uuuuuuud"[slot%8], 0), at(float64(slot)))
		}
		text, err := json.Marshal(s)
		require.NoError(b, err)
		s = verdict.State{}
		require.NoError(b, json.Unmarshal(text, &s))
	}
}
