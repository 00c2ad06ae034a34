package verdict_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
	"github.com/beaconpost/beaconpost/services/monitor/internal/verdict"
)

// model is a monitor, what is stored of it, and what its record must be true to, whatever happens in whatever order.
type model struct {
	t     *rapid.T
	rules verdict.Rules
	now   time.Time
	s     verdict.State

	said    map[string]*spoken
	reports []verdict.Report // since the last edit
	status  verdict.Status   // the present one of the ledger
	since   time.Time
	changes int64
	open    uuid.UUID
	told    verdict.Status
}

// spoken is what a region said, counted from nothing but its reports.
type spoken struct {
	last     time.Time // slot of the newest result that says something; zero: none
	silent   bool
	own      map[int64]bool // slots with a result
	first    int64
	newest   int64
	answered int
	failures int
	answers  int
	down     bool
	counted  int64 // checked + missed + late
}

func (m *model) forget(clock time.Time) {
	for _, g := range m.said {
		if !g.last.IsZero() && !clock.Before(g.last.Add(max(3*m.rules.Interval, 30*time.Second))) {
			g.silent, g.failures, g.answers, g.down = true, 0, 0, false
		}
	}
}

// stored checks what every step has to be true to, and stores it.
func (m *model) stored(s verdict.State, e verdict.Effects) {
	for _, c := range e.Changes {
		require.Equal(m.t, m.status, c.From, "contiguous")
		require.NotEqual(m.t, c.From, c.To)
		require.True(m.t, c.At.After(m.since), "in order: %s after %s", c.At, m.since)
		require.False(m.t, c.At.After(m.now.Add(time.Millisecond)), "not in the future")
		m.status, m.since = c.To, c.At
		m.changes++
	}
	for _, in := range e.Incidents {
		if in.Resolved {
			require.Equal(m.t, m.open, in.ID)
			m.open = uuid.Nil
			continue
		}
		require.Equal(m.t, uuid.Nil, m.open, "one at a time")
		m.open = in.ID
	}
	for _, event := range e.Events {
		switch event.Type {
		case verdict.MonitorUp, verdict.MonitorDegraded, verdict.MonitorDown:
			now := map[string]verdict.Status{verdict.MonitorUp: up, verdict.MonitorDegraded: slow, verdict.MonitorDown: down}[event.Type]
			require.NotEqual(m.t, m.told, now, "told once")
			m.told = now
		default:
		}
	}
	require.Equal(m.t, m.status, s.Status)
	require.Equal(m.t, m.since, s.Since)
	require.Equal(m.t, m.changes, s.Version)
	require.Equal(m.t, m.open, s.Incident)
	require.Equal(m.t, s.Incident != uuid.Nil, s.Told == down)
	if s.Status != maintenance && s.Status != paused {
		require.Equal(m.t, s.Verdict, s.Status)
		require.True(m.t, s.Status != down || s.Incident != uuid.Nil)
		require.True(m.t, s.Status != up && s.Status != slow || s.Incident == uuid.Nil)
	}
	var back verdict.State
	text, err := json.Marshal(s)
	require.NoError(m.t, err)
	require.NoError(m.t, json.Unmarshal(text, &back))
	require.Equal(m.t, s, back, "nothing is lost when it is stored")
	m.agrees(s)
	m.s = s
}

// agrees compares the verdict with what was counted.
func (m *model) agrees(s verdict.State) {
	var reporting, downs int
	for name, g := range m.said {
		if g.last.IsZero() || g.silent || !slices.Contains(m.rules.Regions, name) {
			continue
		}
		reporting++
		if g.down {
			downs++
		}
	}
	quorum := reporting > 0 && 2*reporting >= len(m.rules.Regions)
	if s.Status == paused {
		require.Equal(m.t, unknown, s.Verdict)
		return
	}
	require.Equal(m.t, quorum && 2*downs > reporting, s.Verdict == down && s.HoldFrom.IsZero() && m.decided(s), "%d of %d: %+v", downs, reporting, s)
	require.True(m.t, quorum || s.Verdict == unknown, "too few")
}

// decided says whether a verdict of down is what regions say, not what it was before some of them began to speak.
func (m *model) decided(s verdict.State) bool {
	n, d := 0, 0
	for _, g := range s.Regions {
		if !g.From.IsZero() {
			n++
			if g.Verdict == down {
				d++
			}
		}
	}
	return 2*d > n
}

func (m *model) report(rep verdict.Report) {
	elsewhere := rep
	elsewhere.Region = "elsewhere"
	reference, _ := m.rules.Report(m.s, elsewhere, m.now) // only what time changes
	s, e := m.rules.Report(m.s, rep, m.now)
	again, none := m.rules.Report(s, rep, m.now)
	require.Equal(m.t, s, again, "twice is once")
	require.Empty(m.t, none)
	if s.Status != paused {
		m.forget(earlier(rep.Slot.At, m.now))
		m.count(rep, e)
	}
	if rep.Outcome == check.NotChecked {
		require.Equal(m.t, []any{reference.Status, reference.Verdict, reference.Incident, reference.HoldFrom}, []any{s.Status, s.Verdict, s.Incident, s.HoldFrom}, "our own fault")
	}
	for _, ask := range e.Ask {
		require.Equal(m.t, check.Down, rep.Outcome)
		require.True(m.t, m.rules.Confirm && s.Verdict != down && s.Status != maintenance)
		require.LessOrEqual(m.t, ask.Confirmation, m.rules.FailureThreshold*2, "an end")
		require.False(m.t, ask.Region == rep.Region && ask.After == 0)
	}
	m.stored(s, e)
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// count follows a report by the rules as they are written in the package's comment.
func (m *model) count(rep verdict.Report, e verdict.Effects) {
	g := m.said[rep.Region]
	if g == nil {
		g = &spoken{own: map[int64]bool{}}
		m.said[rep.Region] = g
	}
	n := rep.Slot.Number
	if rep.Confirmation == 0 {
		g.counted += int64(e.Checked + e.Missed + e.Late)
		newest := len(g.own) == 0 || n > g.newest
		if newest {
			require.Equal(m.t, 1, e.Checked)
			if len(g.own) == 0 {
				g.first = n
			}
			g.newest = n
		} else {
			late := n > g.first && !g.own[n] && g.newest-n < 64
			require.Equal(m.t, late, e.Late == 1, "%d of %d to %d", n, g.first, g.newest)
		}
		require.Equal(m.t, g.newest-g.first+1, g.counted, "every slot is counted once")
		g.own[n] = g.own[n] || newest || e.Late == 1
		if !newest {
			return
		}
	} else {
		require.Equal(m.t, [3]int{}, [3]int{e.Checked, e.Missed, e.Late})
	}
	if rep.Outcome == check.NotChecked || rep.Slot.At.Before(g.last) {
		return
	}
	if rep.Slot.At.After(g.last) {
		g.answered = 0
	}
	if rep.Confirmation > 0 && rep.Confirmation <= g.answered {
		return
	}
	if rep.Confirmation > 0 {
		g.answered = rep.Confirmation
	}
	g.last, g.silent = rep.Slot.At, false
	if rep.Outcome == check.Down {
		g.failures, g.answers = g.failures+1, 0
		g.down = g.down || g.failures >= m.rules.FailureThreshold
	} else {
		g.failures, g.answers = 0, g.answers+1
		g.down = g.down && g.answers < m.rules.RecoveryThreshold
	}
}

func (m *model) slot(back int64) check.Slot {
	n := m.now.UnixNano()/int64(m.rules.Interval) - back
	return check.Slot{Number: n, At: time.Unix(0, n*int64(m.rules.Interval)).UTC()}
}

func (m *model) edit() {
	s, e := m.rules.Edited(m.s, m.now)
	for name, g := range m.said {
		if !slices.Contains(m.rules.Regions, name) || s.Status == paused {
			delete(m.said, name)
			continue
		}
		last := g.last
		if !last.IsZero() {
			last = m.now
		}
		m.said[name] = &spoken{last: last, silent: g.silent, own: map[int64]bool{}, failures: g.failures, answers: g.answers, down: g.down}
	}
	m.reports = nil
	m.stored(s, e)
}

func (m *model) look() {
	s, e, next := m.rules.Look(m.s, m.now)
	m.forget(m.now)
	m.stored(s, e)
	again, none, same := m.rules.Look(s, m.now)
	require.Equal(m.t, s, again)
	require.Empty(m.t, none)
	require.Equal(m.t, next, same)
	require.True(m.t, next.IsZero() || next.After(m.now), "%s is not after %s", next, m.now)
	before := m.now.Add(time.Hour)
	if !next.IsZero() {
		before = next.Add(-time.Microsecond)
	}
	if before.After(m.now) {
		s, e, _ = m.rules.Look(m.s, before)
		require.Equal(m.t, m.s, s, "nothing changes before")
		require.Empty(m.t, e)
	}
}

// recovers checks that good results from all regions end everything, whatever was before.
func (m *model) recovers() {
	m.rules.Paused, m.rules.Maintenance = false, nil
	m.edit()
	for range m.rules.RecoveryThreshold + int(m.rules.Hold/m.rules.Interval) + 3 {
		m.now = m.now.Add(m.rules.Interval)
		for _, region := range m.rules.Regions {
			m.report(verdict.Report{Region: region, Slot: m.slot(0), Outcome: check.Up})
		}
	}
	require.Equal(m.t, up, m.s.Status)
	require.Equal(m.t, uuid.Nil, m.s.Incident)
}

func TestRandomHistories(t *testing.T) {
	t.Parallel()
	outcomes := []check.Outcome{check.Up, check.Up, check.Degraded, check.Down, check.Down, check.Down, check.NotChecked}
	rapid.Check(t, func(t *rapid.T) {
		regions := []string{"a", "b", "c", "d", "e"}
		m := &model{t: t, now: noon.Add(123 * time.Millisecond), said: map[string]*spoken{}, rules: verdict.Rules{
			Monitor: monitor, Regions: regions[:rapid.IntRange(1, 5).Draw(t, "regions")], FailureThreshold: rapid.IntRange(1, 4).Draw(t, "failures"),
			RecoveryThreshold: rapid.IntRange(1, 3).Draw(t, "recovery"), Interval: time.Minute, Confirm: rapid.Bool().Draw(t, "confirm"), Hold: 3 * time.Minute,
		}}
		m.s = verdict.Begin(m.now)
		m.status, m.since = m.s.Status, m.s.Since
		slot := func(t *rapid.T, outcomes ...check.Outcome) {
			m.now = m.now.Add(m.rules.Interval)
			for _, region := range m.rules.Regions {
				outcome := rapid.SampledFrom(outcomes).Draw(t, "outcome")
				rep := verdict.Report{Region: region, Slot: m.slot(0), Outcome: outcome, Cause: check.Cause(fmt.Sprint("because of ", outcome))}
				m.reports = append(m.reports, rep)
				m.report(rep)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"a slot":      func(t *rapid.T) { slot(t, outcomes...) },
			"a bad slot":  func(t *rapid.T) { slot(t, check.Down, check.Down, check.Degraded, check.NotChecked) },
			"a down slot": func(t *rapid.T) { slot(t, check.Down) },
			"a good slot": func(t *rapid.T) { slot(t, check.Up) },
			"a result": func(t *rapid.T) {
				rep := verdict.Report{
					Region: rapid.SampledFrom(m.rules.Regions).Draw(t, "region"), Slot: m.slot(rapid.Int64Range(0, 4).Draw(t, "back")), Outcome: rapid.SampledFrom(outcomes).Draw(t, "outcome"),
					Confirmation: max(rapid.IntRange(-2, 2).Draw(t, "confirmation"), 0), Cause: check.CauseConnect,
				}
				m.reports = append(m.reports, rep)
				m.report(rep)
			},
			"an old result again": func(t *rapid.T) {
				if len(m.reports) > 0 {
					m.report(rapid.SampledFrom(m.reports).Draw(t, "report"))
				}
			},
			"time passes": func(t *rapid.T) {
				most := rapid.SampledFrom([]time.Duration{time.Second, m.rules.Interval, 10 * m.rules.Interval, 100 * m.rules.Interval}).Draw(t, "most")
				m.now = m.now.Add(time.Duration(rapid.Int64Range(1, int64(most)).Draw(t, "time")))
			},
			"look": func(*rapid.T) { m.look() },
			"paused or not": func(*rapid.T) {
				m.rules.Paused = !m.rules.Paused
				m.edit()
			},
			"edited": func(t *rapid.T) {
				m.rules.FailureThreshold, m.rules.RecoveryThreshold = rapid.IntRange(1, 4).Draw(t, "failures"), rapid.IntRange(1, 3).Draw(t, "recovery")
				first := rapid.IntRange(0, 4).Draw(t, "first region")
				m.rules.Regions = regions[first : first+rapid.IntRange(1, 5-first).Draw(t, "regions")]
				m.rules.Interval = rapid.SampledFrom([]time.Duration{10 * time.Second, time.Minute, 5 * time.Minute}).Draw(t, "interval")
				m.edit()
			},
			"maintenance": func(t *rapid.T) {
				from := m.now.Add(time.Duration(rapid.Int64Range(-5, 5).Draw(t, "from")) * time.Minute)
				m.rules.Maintenance = append(slices.Clone(m.rules.Maintenance), verdict.Window{From: from, To: from.Add(time.Duration(rapid.Int64Range(1, 9).Draw(t, "for")) * time.Minute)})
			},
			"no maintenance": func(*rapid.T) { m.rules.Maintenance = nil },
			"recovers": func(t *rapid.T) {
				if rapid.IntRange(0, 5).Draw(t, "rarely") == 0 {
					m.recovers()
				}
			},
		})
	})
}
