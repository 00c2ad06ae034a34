package verdict_test

import (
	"math"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
	"github.com/beaconpost/beaconpost/services/monitor/internal/verdict"
)

func TestSilence(t *testing.T) {
	t.Parallel()
	m := monitorOf(t, three)
	require.Zero(t, m.look(-0.5), "nothing is expected of a new monitor")
	m.slots(0, "uu", "u ", "  ")
	require.Equal(t, at(3), m.look(1.5), "when the first region does not count any more")
	require.Equal(t, at(4), m.look(3))
	require.Equal(t, unknown, m.s.Status)
	require.Equal(t, at(3), m.s.Since)
	require.Zero(t, m.look(9))
	late := monitorOf(t, three)
	late.slots(0, "uu", "u ", "  ")
	late.look(9)
	require.Equal(t, m.ledger(), late.ledger(), "however late one looks")
	fast := single
	fast.Interval = 10 * time.Second
	f := monitorOf(t, fast)
	f.slots(0, "u")
	require.Equal(t, at(0.5), f.look(0.1), "three intervals")
	fast.Interval = time.Second
	f = monitorOf(t, fast)
	f.slots(0, "u")
	require.Equal(t, at(0.5), f.look(0.1), "at least 30 s")
}

// Results that waited for us are judged as if they had come in time.
func TestABacklogIsNoSilence(t *testing.T) {
	t.Parallel()
	m := monitorOf(t, three)
	for slot := range 10 {
		for _, region := range m.Regions {
			m.did(m.Report(m.s, report(region, slot, "uuuddddddd"[slot], 0), at(60)))
		}
	}
	require.Equal(t, []entry{{up, 0}, {down, 3}}, m.ledger())
	require.Equal(t, at(60), m.Next(m.s, at(60)), "it is overdue")
}

func TestMaintenance(t *testing.T) {
	t.Parallel()
	fired, over := []string{"monitor.down", "incident.opened"}, []string{"incident.resolved", "monitor.up"}
	for name, tt := range map[string]struct {
		windows []verdict.Window
		slots   string
		want    []entry
		told    []string
	}{
		"nothing happens":     {[]verdict.Window{window(1.5, 3.5)}, "uuuuuu", []entry{{up, 0}, {maintenance, 1.5}, {up, 3.5}}, nil},
		"down meanwhile":      {[]verdict.Window{window(1.5, 6.5)}, "uudduu" + "dduuu", []entry{{up, 0}, {maintenance, 1.5}, {up, 6.5}}, nil},
		"down, and up again":  {[]verdict.Window{window(1.5, 8.5)}, "uuddduuuuu", []entry{{up, 0}, {maintenance, 1.5}, {up, 8.5}}, nil},
		"still down":          {[]verdict.Window{window(1.5, 6.5)}, "uuddddddd", []entry{{up, 0}, {maintenance, 1.5}, {down, 6.5}}, fired},
		"degraded":            {[]verdict.Window{window(1.5, 6.5)}, "uusssssss", []entry{{up, 0}, {maintenance, 1.5}, {slow, 6.5}}, []string{"monitor.degraded"}},
		"down since before":   {[]verdict.Window{window(4.5, 6.5)}, "udddddddd", []entry{{up, 0}, {down, 1}, {maintenance, 4.5}, {down, 6.5}}, fired},
		"it ends meanwhile":   {[]verdict.Window{window(4.5, 8.5)}, "uddddduuuu", []entry{{up, 0}, {down, 1}, {maintenance, 4.5}, {up, 8.5}}, append(fired[:2:2], over...)},
		"it began in there":   {[]verdict.Window{window(1.5, 3.5)}, "uuuddddd", []entry{{up, 0}, {maintenance, 1.5}, {up, 3.5}, {down, 3.5}}, fired},
		"one after the other": {[]verdict.Window{window(1.5, 3.5), window(3.5, 4.5)}, "uuuuuu", []entry{{up, 0}, {maintenance, 1.5}, {up, 4.5}}, nil},
		"one in the other":    {[]verdict.Window{window(1.5, 4.5), window(2.5, 3.5)}, "uuuuuu", []entry{{up, 0}, {maintenance, 1.5}, {up, 4.5}}, nil},
		"made after the fact": {[]verdict.Window{window(-2, 0.5)}, "uu", []entry{{maintenance, -1}, {up, 0.5}}, nil},
		"silent":              {[]verdict.Window{window(1.5, 8.5)}, "uu       u", []entry{{up, 0}, {maintenance, 1.5}, {unknown, 8.5}, {up, 9}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := monitorOf(t, single)
			m.Maintenance = tt.windows
			m.slots(0, tt.slots)
			got := m.ledger()
			require.Len(t, got, len(tt.want), "%v", got)
			for i, want := range tt.want {
				require.Equal(t, want.Status, got[i].Status, "%v", got)
				require.InDelta(t, want.Slot, got[i].Slot, 1e-6, "%v", got)
			}
			require.Equal(t, tt.told, m.told())
			require.Equal(t, m.s.Told == down, m.s.Incident != uuid.Nil)
		})
	}
}

func TestWindowsThatNobodyLookedAt(t *testing.T) {
	t.Parallel()
	m := monitorOf(t, single)
	m.slots(0, "uddd")
	m.Maintenance = []verdict.Window{window(10, 12), window(5, 6), window(20, 22)}
	require.Equal(t, at(20), m.look(13))
	require.Equal(t, []entry{{up, 0}, {down, 1}, {maintenance, 5}, {unknown, 6}, {maintenance, 10}, {unknown, 12}}, m.ledger())
	m.look(20)
	require.Equal(t, maintenance, m.s.Status)
	m.Maintenance = nil
	m.look(21)
	require.Equal(t, entry{unknown, 21}, m.ledger()[7], "the window was deleted")
	require.NotEqual(t, uuid.Nil, m.s.Incident)
}

func TestPause(t *testing.T) {
	t.Parallel()
	m := monitorOf(t, single)
	m.slots(0, "uddd")
	incident := m.s.Incident
	m.Paused, m.Maintenance = true, []verdict.Window{window(5, 7)}
	require.Zero(t, m.look(4))
	require.Equal(t, paused, m.s.Status)
	m.slots(5, "uuuu")
	require.Empty(t, m.s.Regions, "results of checks that were under way")
	require.Equal(t, incident, m.s.Incident)
	m.Paused = false
	m.did(m.Edited(m.s, at(20)))
	require.Equal(t, unknown, m.s.Status)
	m.slots(21, "u")
	require.Equal(t, unknown, m.s.Status, "an open incident takes a recovery")
	m.slots(22, "u")
	require.Equal(t, []entry{{up, 0}, {down, 1}, {paused, 4}, {unknown, 20}, {up, 21}}, m.ledger())
	require.Equal(t, uuid.Nil, m.s.Incident)
	require.Zero(t, m.all.Incidents[0].At.Sub(at(1)))
	require.Equal(t, at(21), m.all.Incidents[1].At)
}

func TestEdits(t *testing.T) {
	t.Parallel()
	m := monitorOf(t, three)
	m.slots(0, "udddd", "uuuuu", "uuuuu")
	m.Regions = []string{"a", "d"}
	m.did(m.Edited(m.s, at(4.5)))
	require.Equal(t, entry{down, 4.5}, m.ledger()[1], "what is left says so: from now on")
	incident := m.s.Incident
	require.NotEqual(t, uuid.Nil, incident)

	m.Interval, m.FailureThreshold = time.Hour, 10
	m.did(m.Edited(m.s, at(4.6)))
	require.Equal(t, incident, m.s.Incident)
	require.Equal(t, down, m.s.Status)
	next := check.Slot{Number: 20, At: at(30)}
	e := m.report(verdict.Report{Region: "a", Slot: next, Outcome: check.Down})
	require.Equal(t, [3]int{1, 0, 0}, [3]int{e.Checked, e.Missed, e.Late}, "numbers of another schedule")
	old := report("a", 5, 'u', 0)
	e = m.report(old)
	require.Empty(t, e)
	require.Equal(t, down, m.s.Status)

	e = m.did(m.Deleted(m.s, at(40)))
	require.Equal(t, []verdict.Change{{From: down, To: "", At: at(40)}}, e.Changes)
	require.Equal(t, []verdict.Incident{{ID: incident, Resolved: true, At: at(40)}}, e.Incidents)
	require.Equal(t, "incident.resolved", e.Events[0].Type)
	require.Empty(t, m.did(m.Deleted(m.s, at(41))), "once")
}

func TestFlapping(t *testing.T) {
	t.Parallel()
	quick := single
	quick.FailureThreshold, quick.RecoveryThreshold, quick.Hold = 1, 1, 5*time.Minute
	m := monitorOf(t, quick)
	m.slots(0, "ududud")
	require.False(t, m.s.Flapping)
	m.slots(6, "ud")
	require.True(t, m.s.Flapping, "the fourth within minutes: %f", m.s.Flaps)
	m.slots(8, "uuuuu")
	require.Equal(t, down, m.s.Status, "not yet steady")
	require.Equal(t, at(8), m.s.HoldFrom)
	require.Equal(t, at(13), m.look(12.5))
	m.slots(13, "u")
	require.Equal(t, entry{up, 8}, m.ledger()[len(m.ledger())-1], "dated back all the same")
	require.Equal(t, at(8), m.all.Incidents[len(m.all.Incidents)-1].At)

	m.slots(14, "duuuduuuu")
	require.Equal(t, at(19), m.s.HoldFrom, "a failure starts it anew")
	m.look(24)
	require.Equal(t, entry{up, 19}, m.ledger()[len(m.ledger())-1])

	calm := m.look(30)
	require.InDelta(t, 60*math.Log2(m.s.Flaps), calm.Sub(at(14)).Minutes(), 0.01, "until the score is below 1")
	m.look(calm.Add(-time.Microsecond).Sub(noon).Minutes())
	require.True(t, m.s.Flapping)
	s, _, _ := m.Look(m.s, calm)
	require.False(t, s.Flapping)
}

func TestHoldOfThreeRegions(t *testing.T) {
	t.Parallel()
	m := monitorOf(t, three)
	m.FailureThreshold, m.RecoveryThreshold = 1, 1
	m.slots(0, "ud", "ud", "uu")
	m.s.Flapping, m.s.Flaps, m.s.FlapsAt = true, 5, at(1)
	m.slots(2, "uuuu", "dddd", "uuuu") // b is down for good: it does not disturb
	require.Equal(t, at(2), m.s.HoldFrom)
	m.slots(6, "uu", "dd", "uu")
	require.Equal(t, entry{up, 2}, m.ledger()[len(m.ledger())-1])
}

// every is a heartbeat's expectation.
type every time.Duration

func (e every) Next(after time.Time) time.Time { return after.Add(time.Duration(e)) }

func TestHeartbeats(t *testing.T) {
	t.Parallel()
	type call struct {
		slot float64
		kind verdict.BeatKind
		code int
	}
	const start, success, fail, exit, look = verdict.BeatStart, verdict.BeatSuccess, verdict.BeatFail, verdict.BeatExit, verdict.BeatKind("look")
	fired, over := []string{"monitor.down", "incident.opened"}, []string{"incident.resolved", "monitor.up"}
	missed := append([]string{"heartbeat.missed"}, fired...)
	for name, tt := range map[string]struct {
		calls []call
		want  []entry
		told  []string
		cause check.Cause
	}{
		"never called":             {[]call{{999, look, 0}}, nil, nil, ""},
		"called":                   {[]call{{0, success, 0}, {10, success, 0}, {24, success, 0}}, []entry{{up, 0}}, nil, ""},
		"missed":                   {[]call{{0, success, 0}, {14.9, look, 0}, {15, look, 0}}, []entry{{up, 0}, {down, 10}}, missed, check.CauseMissed},
		"missed, nobody looked":    {[]call{{0, success, 0}, {99, success, 0}}, []entry{{up, 0}, {down, 10}, {up, 99}}, append(missed[:3:3], over...), ""},
		"missed once, not twice":   {[]call{{0, success, 0}, {99, look, 0}, {999, look, 0}}, []entry{{up, 0}, {down, 10}}, missed, check.CauseMissed},
		"fails":                    {[]call{{0, success, 0}, {3, fail, 0}, {99, look, 0}}, []entry{{up, 0}, {down, 3}}, fired, check.CauseReported},
		"fails first of all":       {[]call{{0, fail, 0}}, []entry{{down, 0}}, fired, check.CauseReported},
		"exit codes":               {[]call{{0, exit, 0}, {3, exit, 2}, {4, exit, 0}}, []entry{{up, 0}, {down, 3}, {up, 4}}, append(fired[:2:2], over...), ""},
		"a job":                    {[]call{{0, start, 0}, {4, success, 0}, {14, start, 0}, {18, success, 0}}, []entry{{up, 4}}, nil, ""},
		"a job that does not end":  {[]call{{0, success, 0}, {2, start, 0}, {7, look, 0}}, []entry{{up, 0}, {down, 7}}, missed, check.CauseMissed},
		"a first one that doesn't": {[]call{{0, start, 0}, {5, look, 0}}, []entry{{down, 5}}, missed, check.CauseMissed},
		"a start is no success":    {[]call{{0, success, 0}, {14, start, 0}, {15, look, 0}}, []entry{{up, 0}, {down, 10}}, missed, check.CauseMissed},
		"a start while down":       {[]call{{0, fail, 0}, {1, start, 0}, {99, look, 0}}, []entry{{down, 0}}, fired, check.CauseReported},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := monitorOf(t, verdict.Rules{Monitor: monitor, Expect: every(10 * time.Minute), Grace: 5 * time.Minute})
			for _, c := range tt.calls {
				if c.kind == look {
					m.look(c.slot)
					continue
				}
				m.did(m.Beat(m.s, verdict.Beat{Kind: c.kind, ExitCode: c.code}, at(c.slot)))
			}
			require.Equal(t, tt.want, m.ledger())
			require.Equal(t, tt.told, m.told())
			require.Equal(t, tt.cause, m.s.Cause)
		})
	}
}

func TestHeartbeatsInTime(t *testing.T) {
	t.Parallel()
	beat := func(m *monitored, kind verdict.BeatKind, slot float64) verdict.Effects {
		return m.did(m.Beat(m.s, verdict.Beat{Kind: kind}, at(slot)))
	}
	m := monitorOf(t, verdict.Rules{Monitor: monitor, Expect: every(10 * time.Minute), Grace: 5 * time.Minute, Hold: time.Minute})
	require.Zero(t, m.Next(m.s, at(0)))
	beat(m, verdict.BeatStart, 0)
	require.Equal(t, at(5), m.Next(m.s, at(0)))
	require.Equal(t, 3*time.Minute, beat(m, verdict.BeatSuccess, 3).Took)
	require.Equal(t, at(18), m.look(3))
	// A machine whose clock is behind takes the next call: it counts, as if it had come right after the last.
	skewed := monitorOf(t, verdict.Rules{Monitor: monitor, Expect: every(10 * time.Minute), Grace: 5 * time.Minute})
	beat(skewed, verdict.BeatStart, 3)
	require.Zero(t, beat(skewed, verdict.BeatSuccess, 2).Took)
	require.Equal(t, verdict.Up, skewed.s.Status)
	require.Equal(t, at(18), skewed.look(3), "the job is not awaited any more")

	// A call that nobody could take is not missed before the grace has passed since.
	away := skewed.Rules
	away.Available = at(30)
	state, effects, next := away.Look(skewed.s, at(31))
	require.Equal(t, verdict.Up, state.Status)
	require.Empty(t, effects)
	require.Equal(t, at(35), next)
	state, _, _ = away.Look(skewed.s, at(35))
	require.Equal(t, verdict.Down, state.Status)
	require.Equal(t, at(13), state.Since)

	m.Paused = true
	m.did(m.Edited(m.s, at(4)))
	beat(m, verdict.BeatFail, 5)
	m.Paused = false
	m.did(m.Edited(m.s, at(100)))
	require.Equal(t, unknown, m.s.Status)
	require.Equal(t, at(115), m.Next(m.s, at(100)), "it is expected again")
	m.did(m.Edited(m.s, at(101)))
	require.Equal(t, at(116), m.look(101), "counted from the edit")

	m.Maintenance = []verdict.Window{window(110, 120)}
	require.Equal(t, at(120), m.look(117))
	require.Equal(t, []verdict.Status{maintenance, down}, []verdict.Status{m.s.Status, m.s.Verdict})
	require.NotContains(t, m.told(), verdict.HeartbeatMissed)
	m.look(120)
	require.Equal(t, []string{"heartbeat.missed", "monitor.down", "incident.opened"}, m.told())
	require.Equal(t, at(120), m.s.IncidentAt)

	m.s.Flapping, m.s.Flaps, m.s.FlapsAt = true, 9, at(120)
	beat(m, verdict.BeatSuccess, 130)
	require.Equal(t, down, m.s.Status)
	require.Equal(t, at(131), m.look(130))
	beat(m, verdict.BeatFail, 130.5)
	beat(m, verdict.BeatSuccess, 130.6)
	m.look(131.5)
	require.Equal(t, down, m.s.Status)
	m.look(132)
	require.Equal(t, at(130.6), m.s.Since)
	require.Equal(t, up, m.s.Status)
}
