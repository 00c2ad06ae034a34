package monitor

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/beaconpost/beaconpost/pkg/tenant"
	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is everything around an engine.
type world struct {
	mu        sync.Mutex
	monitors  map[Key]*Monitor
	away      bool // the database
	egress    bool
	result    check.Result
	takes     time.Duration
	confirm   []Due
	checks    int
	recorded  []*Finding
	skipped   []string
	confirmed []Due
}

var errAway = errors.New("database is away")

func (w *world) Load(_ context.Context, keys []Key) (map[Key]*Monitor, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.away {
		return nil, errAway
	}
	found := map[Key]*Monitor{}
	for _, key := range keys {
		if m := w.monitors[key]; m != nil {
			found[key] = m
		}
	}
	return found, nil
}

func (w *world) Record(_ context.Context, findings []*Finding) (Consequences, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.away {
		return Consequences{}, errAway
	}
	for _, f := range findings {
		if f.Detail == "poison" {
			return Consequences{}, errors.New("cannot be stored")
		}
	}
	w.recorded = append(w.recorded, findings...)
	return Consequences{Confirm: w.confirm}, nil
}

func (w *world) Temporary(err error) bool { return errors.Is(err, errAway) }

func (w *world) Check(ctx context.Context, _ *check.Job) check.Result {
	w.mu.Lock()
	w.checks++
	result, takes := w.result, w.takes
	w.mu.Unlock()
	select {
	case <-time.After(takes):
	case <-ctx.Done():
		result.Outcome, result.Cause = check.Down, check.CauseTimeout
	}
	return result
}

func (w *world) Up(context.Context, time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.egress
}

func (w *world) Confirm(d Due) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.confirmed = append(w.confirmed, d)
}

func (w *world) Checked(*Finding) {}
func (w *world) Skipped(_ Due, why string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.skipped = append(w.skipped, why)
}
func (w *world) Recorded(int, Consequences) {}
func (w *world) Trouble(string, error)      {}

func (w *world) Batch(string, int, time.Duration) {}

func (w *world) set(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

// run gives test a world whose time is the test's, with an engine and a monitor whose slot begins at the given moment after now.
func run(t *testing.T, slotIn time.Duration, test func(t *testing.T, w *world, e *Engine, m *Monitor, due Due)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m := &Monitor{Key: Key{tenant.ID(uuid.New()), uuid.New()}, Interval: 30 * time.Second, Timeout: 10 * time.Second, Version: 1, Spec: check.Spec{Kind: check.HTTP}}
		w := &world{monitors: map[Key]*Monitor{m.Key: m}, egress: true, result: check.Result{Outcome: check.Up}}
		e, err := NewEngine("default", 4, Ports{Store: w, Prober: w, Egress: w, Broker: w, Observer: w})
		require.NoError(t, err)
		defer func() { require.NoError(t, e.Stop(context.Background())) }()
		schedule := m.Schedule()
		time.Sleep(time.Until(schedule.At(schedule.Slot(time.Now()) + 1).Add(-slotIn)))
		test(t, w, e, m, Due{Key: m.Key, Region: "default", FiredAt: schedule.At(schedule.Slot(time.Now().Add(max(slotIn, 0)))).Truncate(time.Second)})
	})
}

func TestACheckBeginsAtItsSlotsMoment(t *testing.T) {
	run(t, 700*time.Millisecond, func(t *testing.T, w *world, e *Engine, m *Monitor, due Due) {
		e.Submit(due)
		e.Submit(due) // the broker's schedule was replaced in that second
		time.Sleep(5 * time.Second)
		synctest.Wait()
		require.Len(t, w.recorded, 1)
		f := w.recorded[0]
		require.Equal(t, m.Schedule().At(f.Slot), f.StartedAt.UTC())
		require.Zero(t, f.Lag)
		require.Equal(t, []string{SkippedRepeated}, w.skipped)
	})
}

func TestWhatComesLateIsMadeOrLeftOut(t *testing.T) {
	for late, made := range map[time.Duration]int{-3 * time.Second: 1, -11 * time.Second: 0} {
		run(t, late, func(t *testing.T, w *world, e *Engine, _ *Monitor, due Due) {
			due.FiredAt = time.Now()
			e.Submit(due)
			time.Sleep(time.Second)
			require.Len(t, w.recorded, made)
			if made == 1 {
				require.InDelta(t, -late.Seconds(), w.recorded[0].Lag.Seconds(), 1)
			} else {
				require.Equal(t, []string{SkippedLate}, w.skipped)
			}
		})
	}
}

func TestOurOwnFaultsAreNotChecked(t *testing.T) {
	down := func(cause check.Cause) check.Result {
		return check.Result{Outcome: check.Down, Cause: cause, Evidence: &check.Evidence{}}
	}
	for name, tt := range map[string]struct {
		result check.Result
		egress bool
		want   check.Outcome
	}{
		"refused, network there":      {down(check.CauseConnect), true, check.Down},
		"refused, network away":       {down(check.CauseConnect), false, check.NotChecked},
		"timeout, network away":       {down(check.CauseTimeout), false, check.NotChecked},
		"wrong status, network away?": {down(check.CauseStatus), false, check.Down},
		"up, network away?":           {check.Result{Outcome: check.Up}, false, check.Up},
	} {
		run(t, 0, func(t *testing.T, w *world, e *Engine, _ *Monitor, due Due) {
			w.set(func() { w.result, w.egress = tt.result, tt.egress })
			e.Submit(due)
			time.Sleep(time.Second)
			require.Len(t, w.recorded, 1, name)
			require.Equal(t, tt.want, w.recorded[0].Outcome, name)
			if tt.want == check.NotChecked {
				require.Equal(t, check.CauseEgress, w.recorded[0].Cause, name)
				require.Nil(t, w.recorded[0].Evidence, name)
			}
		})
	}
}

// A tenant has half of the room.
func TestWithoutRoomACheckIsNotMade(t *testing.T) {
	run(t, 0, func(t *testing.T, w *world, e *Engine, m *Monitor, due Due) {
		w.set(func() { w.takes = 5 * time.Second })
		for n := 1; n <= 3; n++ {
			due.Confirmation, due.Slot = n, m.Schedule().Slot(time.Now())
			e.Submit(due)
		}
		other := tenant.ID(uuid.New())
		require.True(t, e.slots.Take(other), "another one has its own")
		defer e.slots.Give(other)
		time.Sleep(time.Second)
		require.Equal(t, 3, e.InFlight())
		require.Len(t, w.recorded, 1)
		require.Equal(t, check.CauseOverload, w.recorded[0].Cause)
		time.Sleep(5 * time.Second)
		require.Len(t, w.recorded, 3)
	})
}

// While the database is away checks go on with what is known, and what they found is recorded when it is back.
func TestTheDatabaseMayGoAway(t *testing.T) {
	run(t, 0, func(t *testing.T, w *world, e *Engine, m *Monitor, due Due) {
		e.Submit(due)
		time.Sleep(time.Second)
		w.set(func() { w.away = true })
		time.Sleep(29 * time.Second)
		due.FiredAt = time.Now()
		e.Submit(due)
		time.Sleep(10 * time.Second)
		require.Equal(t, 2, w.checks)
		require.Len(t, w.recorded, 1)
		require.InDelta(t, 9, e.Age().Seconds(), 1)
		w.set(func() { w.away = false })
		time.Sleep(3 * time.Second)
		require.Len(t, w.recorded, 2)
		require.Zero(t, e.Age())
		require.Equal(t, w.recorded[0].Slot+1, w.recorded[1].Slot)

		w.set(func() { delete(w.monitors, m.Key) }) // paused: it is not checked, though it is known
		time.Sleep(17 * time.Second)
		due.FiredAt = time.Now()
		e.Submit(due)
		time.Sleep(time.Second)
		require.Equal(t, 2, w.checks)
	})
}

func TestOneThatCannotBeStoredSpoilsNothing(t *testing.T) {
	run(t, 0, func(t *testing.T, w *world, e *Engine, m *Monitor, _ Due) {
		w.set(func() { w.confirm = []Due{{Key: m.Key, Confirmation: 1}} })
		e.record(t.Context(), []*Finding{{Monitor: m}, {Monitor: m, Result: check.Result{Detail: "poison"}}, {Monitor: m}})
		require.Len(t, w.recorded, 2)
		require.NotEmpty(t, w.confirmed)
	})
}

func TestAStopCutsWhatTakesTooLong(t *testing.T) {
	run(t, 0, func(t *testing.T, w *world, e *Engine, _ *Monitor, due Due) {
		w.set(func() { w.takes = 9 * time.Second })
		e.Submit(due)
		time.Sleep(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.NoError(t, e.Stop(ctx))
		require.Equal(t, 1, w.checks)
		require.Empty(t, w.recorded)
		e.Submit(due)
		require.Contains(t, w.skipped, SkippedOverload)
	})
}

func TestCanaries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("no way there")
		var mu sync.Mutex
		var asked int
		state := broken
		canary := func(context.Context) error {
			mu.Lock()
			defer mu.Unlock()
			asked++
			time.Sleep(time.Millisecond)
			return state
		}
		c := NewCanaries(func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, canary)
		require.False(t, c.Up(t.Context(), time.Now()))
		require.False(t, c.IsUp())
		mu.Lock()
		state = nil
		mu.Unlock()
		require.True(t, c.Up(t.Context(), time.Now()))
		require.True(t, c.IsUp())
		before := asked
		require.True(t, c.Up(t.Context(), time.Now()), "a moment ago is good enough")
		require.Equal(t, before, asked)
		time.Sleep(10 * time.Second)
		require.True(t, c.Up(t.Context(), time.Now()))
		require.Equal(t, before+1, asked)
		require.True(t, NewCanaries().Up(t.Context(), time.Now()), "without any the network is believed to be there")
		time.Sleep(canaryTimeout)
	})
}

// Slots are numbered by their interval: a longer one has smaller numbers.
func TestALongerIntervalIsChecked(t *testing.T) {
	run(t, 500*time.Millisecond, func(t *testing.T, w *world, e *Engine, m *Monitor, due Due) {
		e.Submit(due)
		time.Sleep(2 * time.Second)
		longer := *m
		longer.Interval, longer.Version = time.Minute, 2
		w.set(func() { w.monitors[m.Key] = &longer })
		for range 3 {
			s := longer.Schedule()
			time.Sleep(time.Until(s.At(s.Slot(time.Now()) + 1).Truncate(time.Second)))
			e.Submit(Due{Key: m.Key, FiredAt: time.Now()})
			time.Sleep(2 * time.Second)
		}
		require.Len(t, w.recorded, 4)
	})
}

func TestConfirmationsOfLongAgoAreLeftOut(t *testing.T) {
	run(t, 0, func(t *testing.T, w *world, e *Engine, m *Monitor, due Due) {
		due.Confirmation, due.Slot = 1, m.Schedule().Slot(time.Now())-4
		e.Submit(due)
		time.Sleep(time.Second)
		require.Equal(t, []string{SkippedLate}, w.skipped)
	})
}

// The network died in the middle of a check: that a canary was reached before says nothing.
func TestCanariesAreAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		alive := true
		c := NewCanaries(func(context.Context) error {
			if alive {
				return nil
			}
			return errAway
		})
		require.True(t, c.Up(t.Context(), time.Now()))
		time.Sleep(200 * time.Millisecond)
		began := time.Now()
		time.Sleep(300 * time.Millisecond)
		alive = false
		time.Sleep(4 * time.Second)
		require.False(t, c.Up(t.Context(), began))
		began = time.Now()
		alive = true
		time.Sleep(2 * time.Second)
		require.False(t, c.Up(t.Context(), began), "it was away when the check began, as far as is known")
		time.Sleep(time.Millisecond)
		require.True(t, c.Up(t.Context(), time.Now()))
		require.NoError(t, c.Stop(t.Context()))
	})
}
