package health_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/beaconpost/beaconpost/pkg/notice"
	"github.com/beaconpost/beaconpost/services/delivery/internal/delivery"
	"github.com/beaconpost/beaconpost/services/delivery/internal/health"
)

var rules = health.Rules{
	Failures: 5, After: 10 * time.Second, ProbeFirst: 5 * time.Second, ProbeMost: time.Minute, Reopen: 3, DrainFirst: 10, DrainMost: 1000, DisableAfter: time.Hour,
}

var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func at(seconds int) time.Time { return noon.Add(time.Duration(seconds) * time.Second) }

// failing has n failures from a second on, the last one now, at 100.
func failing(n, since int) health.Facts {
	return health.Facts{Failures: n, FailingSince: at(since), LastFailedAt: at(100), LastStatus: 500}
}

// What follows at second 100, for every state and what was learnt in it.
func TestNext(t *testing.T) {
	t.Parallel()
	parked := health.Endpoint{Parked: true, Timeout: 15 * time.Second}
	for name, tt := range map[string]struct {
		h    health.Health
		e    health.Endpoint
		want health.State
		step health.Step // of it: Reason, Look, Probe, Disable, Warn, Forget
	}{
		"failing, too few":           {h: health.Health{State: health.Failing, Facts: failing(4, 0)}, want: health.Failing, step: health.Step{Look: at(3700)}},
		"failing, too short":         {h: health.Health{State: health.Failing, Facts: failing(5, 91)}, want: health.Failing, step: health.Step{Look: at(101)}},
		"failing, enough":            {h: health.Health{State: health.Failing, Facts: failing(5, 90)}, want: health.Open, step: health.Step{Health: why(health.ByFailures), Look: at(105)}},
		"failing, and a success":     {h: health.Health{State: health.Failing, Facts: health.Facts{SucceededAt: at(99)}}, want: health.Failing, step: health.Step{Look: at(159)}},
		"a success a while ago":      {h: health.Health{State: health.Failing, Facts: health.Facts{SucceededAt: at(40)}}, want: health.Failing, step: health.Step{Forget: true}},
		"failing, parked":            {h: health.Health{State: health.Failing, Facts: failing(1, 90)}, e: parked, want: health.Draining, step: health.Step{Health: why(health.ByAdoption), Look: at(105)}},
		"asked to wait":              {h: health.Health{State: health.Failing, Facts: waiting(1, 130)}, want: health.Open, step: health.Step{Health: why(health.ByRetryAfter), Look: at(130)}},
		"gone":                       {h: health.Health{State: health.Failing, Facts: health.Facts{Failures: 1, GoneAt: at(100)}}, want: health.Open, step: health.Step{Health: why(health.ByGone), Disable: true}},
		"failing for half":           {h: health.Health{State: health.Failing, Facts: failing(2, -1700)}, want: health.Failing, step: health.Step{Warn: true, Look: at(3700)}},
		"failing for too long":       {h: health.Health{State: health.Open, Facts: failing(9, -3500)}, e: parked, want: health.Open, step: health.Step{Health: why(health.ByDisabling), Disable: true}},
		"two failures, a week apart": {h: health.Health{State: health.Failing, Facts: health.Facts{Failures: 2, FailingSince: at(-9000), LastFailedAt: at(100)}, WarnedAt: at(-100)}, want: health.Failing, step: health.Step{Look: at(3700)}},
		"one failure long ago":       {h: health.Health{State: health.Failing, Facts: health.Facts{Failures: 1, FailingSince: at(-9999), LastFailedAt: at(-9990)}}, want: health.Failing, step: health.Step{Look: at(3700)}},
		"open, not yet":              {h: open(90, 105, 0), e: parked, want: health.Open, step: health.Step{Look: at(105)}},
		"open, time for a probe":     {h: open(90, 100, 0), e: parked, want: health.Open, step: health.Step{Probe: true, Look: at(110)}},
		"open, a later probe":        {h: open(90, 100, 2), e: parked, want: health.Open, step: health.Step{Probe: true, Look: at(140)}},
		"open, the longest wait":     {h: open(90, 100, 30), e: parked, want: health.Open, step: health.Step{Probe: true, Look: at(160)}},
		"open, a probe under way":    {h: probed(open(80, 100, 1), 95), e: parked, want: health.Open, step: health.Step{Look: at(125)}},
		"open, a lost probe":         {h: probed(open(20, 100, 1), 69), e: parked, want: health.Open, step: health.Step{Probe: true, Look: at(120)}},
		"open, nothing parked":       {h: open(90, 100, 0), want: health.Open, step: health.Step{Look: at(105)}},
		"open, a success":            {h: succeeded(open(90, 200, 3), 99), e: parked, want: health.Draining, step: health.Step{Look: at(105)}},
		"open, an old success":       {h: succeeded(open(90, 200, 3), 89), e: parked, want: health.Open, step: health.Step{Look: at(200)}},
		"pause, a success":           {h: pause(succeeded(open(90, 130, 0), 99), 130), e: parked, want: health.Open, step: health.Step{Look: at(130)}},
		"pause over":                 {h: pause(open(90, 100, 0), 100), e: parked, want: health.Open, step: health.Step{Probe: true, Look: at(110)}},
		"pause over, none parked":    {h: pause(open(90, 100, 0), 100), want: health.Draining, step: health.Step{Look: at(105)}},
		"draining":                   {h: health.Health{State: health.Draining, Facts: failing(2, 98)}, e: parked, want: health.Draining, step: health.Step{Look: at(105)}},
		"draining, fails":            {h: health.Health{State: health.Draining, Facts: failing(3, 98)}, e: parked, want: health.Open, step: health.Step{Health: why(health.ByFailures), Look: at(105)}},
		"draining, must wait":        {h: health.Health{State: health.Draining, Facts: waiting(1, 120)}, e: parked, want: health.Open, step: health.Step{Health: why(health.ByRetryAfter), Look: at(120)}},
		"drained":                    {h: health.Health{State: health.Draining}, want: health.Closed, step: health.Step{Look: at(112)}},
		"closed, lingering":          {h: health.Health{State: health.Closed, Since: at(90)}, e: parked, want: health.Closed, step: health.Step{Look: at(102)}},
		"closed, one slipped in":     {h: health.Health{State: health.Closed, Since: at(80)}, e: parked, want: health.Draining, step: health.Step{Health: why(health.ByAdoption), Look: at(105)}},
		"closed, fails":              {h: health.Health{State: health.Closed, Since: at(80), Facts: failing(1, 98)}, want: health.Failing, step: health.Step{Look: at(3700)}},
		"closed for good":            {h: health.Health{State: health.Closed, Since: at(30)}, want: health.Closed, step: health.Step{Forget: true}},
		"disabled by hand":           {h: open(90, 100, 0), e: health.Endpoint{Disabled: true, Parked: true}, want: health.Open},
		"deleted":                    {h: open(90, 100, 0), e: health.Endpoint{Deleted: true, Disabled: true}, want: health.Open, step: health.Step{Forget: true}},
	} {
		got := rules.Next(tt.h, tt.e, at(100))
		require.Equal(t, tt.want, got.State, name)
		if tt.step.Reason == "" {
			tt.step.Reason = tt.h.Reason
		}
		if tt.want == health.Closed || tt.want == health.Failing {
			tt.step.Reason = got.Reason
		}
		require.Empty(t, cmp.Diff(
			health.Step{Health: why(tt.step.Reason), Look: tt.step.Look, Probe: tt.step.Probe, Disable: tt.step.Disable, Warn: tt.step.Warn, Forget: tt.step.Forget},
			health.Step{Health: why(got.Reason), Look: got.Look, Probe: got.Probe, Disable: got.Disable, Warn: got.Warn, Forget: got.Forget},
		), name)
		if got.State != tt.h.State || got.Disable {
			require.Equal(t, at(100), got.Since, name)
		}
	}
}

func why(r health.Reason) health.Health { return health.Health{Reason: r} }

func waiting(failures, until int) health.Facts {
	f := failing(failures, 99)
	f.NotBefore = at(until)
	return f
}

func open(since, probe, probes int) health.Health {
	return health.Health{State: health.Open, Reason: health.ByFailures, Since: at(since), ProbeAt: at(probe), Probes: probes, Facts: health.Facts{Failures: 5, FailingSince: at(0), LastFailedAt: at(since)}}
}

func probed(h health.Health, when int) health.Health {
	h.ProbedAt = at(when)
	return h
}

func succeeded(h health.Health, when int) health.Health {
	h.Facts = h.Then(health.Facts{SucceededAt: at(when)})
	return h
}

func pause(h health.Health, until int) health.Health {
	h.Reason, h.NotBefore = health.ByRetryAfter, at(until)
	return h
}

func TestFactsOf(t *testing.T) {
	t.Parallel()
	began, ended := at(1), at(3)
	failed := health.Facts{Failures: 1, FailingSince: ended, LastFailedAt: ended}
	for name, tt := range map[string]struct {
		a    delivery.Attempt
		want func(f *health.Facts)
	}{
		"200":            {delivery.Attempt{StatusCode: 200}, func(f *health.Facts) { *f = health.Facts{SucceededAt: ended} }},
		"200, cut off":   {delivery.Attempt{StatusCode: 200, Class: delivery.ClassReset}, func(f *health.Facts) { f.LastStatus, f.LastClass = 200, "reset" }},
		"500":            {delivery.Attempt{StatusCode: 500, NotBefore: at(60)}, func(f *health.Facts) { f.LastStatus = 500 }},
		"429":            {delivery.Attempt{StatusCode: 429, NotBefore: at(60)}, func(f *health.Facts) { f.LastStatus, f.NotBefore = 429, at(60) }},
		"429, no time":   {delivery.Attempt{StatusCode: 429}, func(f *health.Facts) { f.LastStatus = 429 }},
		"503":            {delivery.Attempt{StatusCode: 503, NotBefore: at(60)}, func(f *health.Facts) { f.LastStatus, f.NotBefore = 503, at(60) }},
		"410":            {delivery.Attempt{StatusCode: 410}, func(f *health.Facts) { f.LastStatus, f.GoneAt = 410, began }},
		"410, cut off":   {delivery.Attempt{StatusCode: 410, Class: delivery.ClassReset}, func(f *health.Facts) { f.LastStatus, f.LastClass = 410, "reset" }},
		"no answer":      {delivery.Attempt{Class: delivery.ClassConnect}, func(f *health.Facts) { f.LastClass = "connect" }},
		"redirect":       {delivery.Attempt{StatusCode: 308}, func(f *health.Facts) { f.LastStatus = 308 }},
		"no such status": {delivery.Attempt{StatusCode: 999}, func(f *health.Facts) { f.LastStatus = 999 }},
	} {
		tt.a.StartedAt, tt.a.Duration = began, 2*time.Second
		want := failed
		tt.want(&want)
		require.Equal(t, want, health.FactsOf(&tt.a), name)
	}
}

func TestAGoneOfBeforeItWasEnabledIsForgotten(t *testing.T) {
	t.Parallel()
	enabled := health.Health{State: health.Draining, Reason: health.ByEnabling, Since: at(10)}
	for began, gone := range map[int]bool{9: false, 10: true, 11: true} {
		facts := enabled.Learn(health.FactsOf(&delivery.Attempt{StatusCode: 410, StartedAt: at(began), Duration: 5 * time.Second}))
		require.Equal(t, gone, !facts.GoneAt.IsZero(), began)
		require.Equal(t, 1, facts.Failures)
	}
	backlog := health.Health{State: health.Draining, Reason: health.ByBacklog, Since: at(10)}
	require.False(t, backlog.Learn(health.Facts{GoneAt: at(9)}).GoneAt.IsZero())
}

// However results are gathered on the way, by replicas and half seconds, the record says the same.
func TestFactsCanBeGatheredInAnyParts(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var one, gathered, part health.Facts
		for i := range rapid.IntRange(1, 40).Draw(t, "attempts") {
			a := &delivery.Attempt{StatusCode: rapid.SampledFrom([]int{200, 500, 429, 410}).Draw(t, "status"), StartedAt: at(i), Duration: time.Second, NotBefore: at(i + 10)}
			one = one.Then(health.FactsOf(a))
			part = part.Then(health.FactsOf(a))
			if rapid.Bool().Draw(t, "noted") {
				gathered, part = gathered.Then(part), health.Facts{}
			}
		}
		require.Equal(t, one, gathered.Then(part))
	})
}

// model is an endpoint and what its record must be true to, whatever happens in whatever order.
type model struct {
	t     *rapid.T
	rules health.Rules
	now   time.Time
	h     *health.Health // nil: no record
	e     health.Endpoint

	failures    int // since the last success or the start of a drain
	firstFailed time.Time
	lastFailed  time.Time
	succeeded   time.Time
	asked       time.Time
	gone        bool
	probing     time.Time // a probe is on its way since then
	lastProbe   time.Time
	told        bool // that it fails, and not that it has recovered
}

func (m *model) result(status int) {
	a := &delivery.Attempt{StatusCode: status, StartedAt: m.now}
	m.probing = time.Time{}
	if status == 429 {
		a.NotBefore = m.now.Add(time.Duration(rapid.IntRange(0, 200).Draw(m.t, "retry after")) * time.Second)
		if a.NotBefore.After(m.asked) {
			m.asked = a.NotBefore
		}
	}
	facts := health.FactsOf(a)
	switch status {
	case 200:
		m.failures, m.firstFailed, m.succeeded = 0, time.Time{}, m.now
	default:
		m.failures++
		m.lastFailed = m.now
		if m.firstFailed.IsZero() {
			m.firstFailed = m.now
		}
		m.gone = m.gone || status == 410
	}
	if m.h == nil && status == 200 {
		return
	}
	if m.h == nil {
		m.h = &health.Health{State: health.Failing}
	}
	m.h.Facts = m.h.Then(facts)
}

func (m *model) look() {
	if m.h == nil {
		return
	}
	before := *m.h
	step := m.rules.Next(before, m.e, m.now)
	failedFor := m.lastFailed.Sub(m.firstFailed)
	if m.firstFailed.IsZero() {
		failedFor = 0
	}
	hopeless := m.rules.DisableAfter > 0 && m.failures >= m.rules.Failures && failedFor >= m.rules.DisableAfter
	require.Equal(m.t, !m.e.Disabled && !m.e.Deleted && (m.gone || hopeless), step.Disable, "disabled when gone or hopeless, and only then")
	opened := step.State == health.Open && before.State != health.Open && !step.Disable
	if opened {
		require.True(m.t, m.now.Before(m.asked) || m.failures >= m.rules.Reopen, "opens for a reason")
		if before.State != health.Draining && !m.now.Before(m.asked) {
			require.GreaterOrEqual(m.t, m.failures, m.rules.Failures)
			require.GreaterOrEqual(m.t, m.now.Sub(m.firstFailed), m.rules.After)
		}
	}
	if before.State == health.Open && step.State == health.Draining {
		require.False(m.t, m.now.Before(m.asked), "not before the endpoint asked for")
		require.True(m.t, m.succeeded.After(before.Since) || before.Reason == health.ByRetryAfter, "only after a success, or when the pause is over")
		m.failures = 0
	} else if step.State == health.Draining && before.State != health.Draining {
		require.True(m.t, m.e.Parked)
		m.failures = 0
	}
	if step.Probe {
		require.Equal(m.t, health.Open, step.State)
		require.True(m.t, m.e.Parked)
		require.False(m.t, m.now.Before(m.asked))
		require.True(m.t, m.probing.IsZero() || m.now.Sub(m.probing) >= m.e.Timeout, "one probe at a time")
		if before.Probes > 0 && !m.lastProbe.Before(before.Since) {
			wait := min(m.rules.ProbeFirst<<min(before.Probes, 20), m.rules.ProbeMost)
			require.GreaterOrEqual(m.t, m.now.Sub(m.lastProbe), wait, "later and later")
		}
		m.probing, m.lastProbe = m.now, m.now
	}
	if step.State == health.Closed && before.State != health.Closed {
		require.False(m.t, m.e.Parked, "not while something waits")
	}
	switch step.Tell {
	case "":
	case notice.EndpointFailing:
		require.True(m.t, !m.told || step.Warn, "once, and a warning")
		m.told = true
	case notice.EndpointRecovered:
		require.True(m.t, m.told && step.State == health.Closed && !m.e.Parked)
		m.told = false
	default:
		require.Equal(m.t, notice.EndpointDisabled, step.Tell)
	}
	require.Equal(m.t, step.Disable, step.Tell == notice.EndpointDisabled)
	if step.Forget {
		require.True(m.t, m.e.Deleted || !m.e.Parked && m.failures == 0 && !m.now.Before(m.asked), "nothing is forgotten that matters")
		m.h = nil
		return
	}
	// Who waits is looked at: no state with something to do is left alone.
	if !m.e.Disabled && !step.Disable {
		require.False(m.t, step.Look.IsZero(), "%s %s", step.State, step.Reason)
		require.True(m.t, step.Look.After(m.now), "%s %s", step.State, step.Reason)
		limit := m.now.Add(time.Hour)
		if m.asked.After(limit) {
			limit = m.asked
		}
		require.False(m.t, step.Look.After(limit), "%s %s", step.State, step.Reason)
	}
	if step.Disable {
		m.e.Disabled = true
	}
	m.h = &step.Health
}

func TestRandomHistories(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := &model{t: t, now: noon, e: health.Endpoint{Timeout: 15 * time.Second}, rules: rules}
		if rapid.Bool().Draw(t, "never disabled") {
			m.rules.DisableAfter = 0
		}
		t.Repeat(map[string]func(*rapid.T){
			"time passes": func(t *rapid.T) {
				m.now = m.now.Add(time.Duration(rapid.Int64Range(1, int64(rapid.SampledFrom([]time.Duration{time.Second, 20 * time.Second, 20 * time.Minute}).Draw(t, "most"))).Draw(t, "time")))
			},
			"success": func(*rapid.T) { m.result(200) },
			"failure": func(*rapid.T) { m.result(500) },
			"wait":    func(*rapid.T) { m.result(429) },
			"gone": func(t *rapid.T) {
				if rapid.IntRange(0, 9).Draw(t, "rarely") == 0 {
					m.result(410)
				}
			},
			"parked":     func(*rapid.T) { m.e.Parked = true },
			"not parked": func(*rapid.T) { m.e.Parked = false },
			"enabled": func(*rapid.T) {
				if m.e.Disabled { // as ingest does it
					m.e.Disabled, m.gone, m.failures, m.firstFailed, m.asked, m.told = false, false, 0, time.Time{}, time.Time{}, false
					m.h = &health.Health{State: health.Draining, Reason: health.ByEnabling, Since: m.now}
				}
			},
			"look": func(*rapid.T) { m.look() },
		})
	})
}

// An endpoint that recovers is closed in the end, from wherever it was, if somebody looks whenever it is asked for.
func TestWhatRecoversIsForgotten(t *testing.T) {
	t.Parallel()
	for _, state := range []health.State{health.Failing, health.Open, health.Draining, health.Closed} {
		for range 100 {
			now := noon
			h := health.Health{State: state, Reason: health.ByFailures, Since: noon, ProbeAt: noon.Add(rand.N(time.Minute)), Facts: failing(rand.N(20), -rand.N(1000))}
			parked := 5
			for range 1000 {
				step := rules.Next(h, health.Endpoint{Parked: parked > 0}, now)
				if step.Forget {
					break
				}
				h = step.Health
				now = step.Look
				if step.Probe || h.State == health.Draining && parked > 0 || h.State == health.Failing {
					parked = max(parked-1, 0)
					h.Facts = h.Then(health.Facts{SucceededAt: now})
				}
			}
			require.Zero(t, parked, state)
			require.Less(t, now.Sub(noon), 10*time.Minute, state)
		}
	}
}

// A success ends a failure whoever noted it, and however soon it comes.
func TestASuccessAfterAFailureIsNoted(t *testing.T) {
	t.Parallel()
	job := &delivery.Job{Target: &delivery.Target{}}
	result := func(number, status int) delivery.Finished {
		return delivery.Finished{Job: job, Attempt: &delivery.Attempt{Number: number, StatusCode: status, StartedAt: noon}}
	}
	for name, results := range map[string][]delivery.Finished{
		"of the retry, before anybody has read what is watched": {result(1, 500), result(2, 200)},
		"of another delivery":                            {result(1, 500), result(1, 200)},
		"of a retry whose failure another replica noted": {result(2, 200)},
	} {
		tally := health.NewTally()
		var last map[health.Key]health.Facts
		for _, r := range results {
			tally.Recorded(r)
			last = tally.Take()
			require.Len(t, last, 1, name)
		}
		for _, f := range last {
			require.False(t, f.SucceededAt.IsZero(), name)
		}
	}
	tally := health.NewTally()
	tally.Recorded(result(1, 200))
	require.Empty(t, tally.Take(), "others cost nothing")
}
