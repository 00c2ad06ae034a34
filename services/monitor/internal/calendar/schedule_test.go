package calendar_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/robfig/cron/v3"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/beaconpost/beaconpost/pkg/fault"
	"github.com/beaconpost/beaconpost/pkg/uuid7"
	"github.com/beaconpost/beaconpost/services/monitor/internal/calendar"
)

var id = uuid.MustParse("0192f0c1-2345-7abc-8def-0123456789ab")

func TestCheckInterval(t *testing.T) {
	t.Parallel()
	require.Len(t, calendar.Intervals(), 24)
	for _, ok := range append(calendar.Intervals(), 10*time.Second, 12*time.Second, time.Minute, 30*time.Minute, time.Hour, 24*time.Hour) {
		require.NoError(t, calendar.CheckInterval(ok), ok)
	}
	for _, bad := range []time.Duration{-time.Minute, 0, time.Second, 5 * time.Second, 11 * time.Second, 45 * time.Second, 60500 * time.Millisecond, 90 * time.Second, 7 * time.Minute, 45 * time.Minute, 5 * time.Hour, 48 * time.Hour} {
		err := calendar.CheckInterval(bad)
		require.Equal(t, fault.Code("invalid_monitor"), fault.CodeOf(err), bad)
		require.Equal(t, "interval", fault.From(err).Field)
	}
}

func TestPhasesAreSpreadAndStay(t *testing.T) {
	t.Parallel()
	for _, interval := range calendar.Intervals() {
		var tenths [10]int
		for range 2000 {
			id := uuid.Must(uuid.NewV7())
			phase := calendar.PhaseOf(id, interval)
			require.Equal(t, phase, calendar.PhaseOf(id, interval))
			require.Zero(t, phase%time.Millisecond)
			tenths[phase*10/interval]++ // panics outside of [0, interval)
		}
		for _, n := range tenths {
			require.InDelta(t, 200, n, 100, interval)
		}
	}
	require.Zero(t, calendar.PhaseOf(id, 0))
}

func TestSlots(t *testing.T) {
	t.Parallel()
	s := calendar.Schedule{Interval: time.Minute, Phase: 7500 * time.Millisecond}
	for _, tt := range []struct {
		ms   int64
		want int64
	}{{0, -1}, {7499, -1}, {7500, 0}, {67499, 0}, {67500, 1}, {-52500, -1}, {-52501, -2}} {
		require.Equal(t, tt.want, s.Slot(time.UnixMilli(tt.ms)), tt.ms)
	}
	rapid.Check(t, func(t *rapid.T) {
		s := schedule(t)
		at := time.Unix(0, rapid.Int64Range(-1<<60, 1<<60).Draw(t, "time"))
		n := s.Slot(at)
		require.False(t, s.At(n).After(at))
		require.True(t, s.At(n+1).After(at))
		require.Equal(t, n, s.Slot(s.At(n)))
		require.Equal(t, s.Interval, s.At(n+1).Sub(s.At(n)))
	})
}

func schedule(t *rapid.T) calendar.Schedule {
	interval := rapid.SampledFrom(calendar.Intervals()).Draw(t, "interval")
	return calendar.Schedule{Interval: interval, Phase: time.Duration(rapid.Int64Range(0, interval.Milliseconds()-1).Draw(t, "phase")) * time.Millisecond}
}

// NATS took its parser from robfig/cron, so that this evaluates patterns as NATS does: every slot of a day, once, in its second, and nothing else.
func TestCronFiresInTheSecondOfEverySlot(t *testing.T) {
	t.Parallel()
	parser := cron.NewParser(cron.Second | cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow)
	midnight := time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
	for _, interval := range calendar.Intervals() {
		for _, phase := range []time.Duration{0, time.Millisecond, interval / 3, interval / 2, interval - time.Second, interval - time.Millisecond, calendar.PhaseOf(id, interval)} {
			s := calendar.Schedule{Interval: interval, Phase: phase.Truncate(time.Millisecond)}
			pattern, err := parser.Parse(s.Cron())
			require.NoError(t, err, s.Cron())
			at := midnight.Add(-time.Second)
			for n := s.Slot(midnight.Add(-time.Millisecond)) + 1; s.At(n).Before(midnight.Add(24 * time.Hour)); n++ {
				at = pattern.Next(at)
				require.Equal(t, s.At(n).Truncate(time.Second), at, "%s: %s", interval, s.Cron())
			}
			require.False(t, pattern.Next(at).Before(midnight.Add(24*time.Hour)), s.Cron())
		}
	}
}

func TestCron(t *testing.T) {
	t.Parallel()
	for want, s := range map[string]calendar.Schedule{
		"7,37 * * * * *":          {Interval: 30 * time.Second, Phase: 7999 * time.Millisecond},
		"9,21,33,45,57 * * * * *": {Interval: 12 * time.Second, Phase: 9 * time.Second},
		"59 * * * * *":            {Interval: time.Minute, Phase: 59999 * time.Millisecond},
		"5 1,16,31,46 * * * *":    {Interval: 15 * time.Minute, Phase: 65 * time.Second},
		"0 3 * * * *":             {Interval: time.Hour, Phase: 3 * time.Minute},
		"1 2 3,11,19 * * *":       {Interval: 8 * time.Hour, Phase: 3*time.Hour + 2*time.Minute + time.Second},
		"59 59 23 * * *":          {Interval: 24 * time.Hour, Phase: 24*time.Hour - time.Millisecond},
	} {
		require.Equal(t, want, s.Cron())
	}
}

func TestIDs(t *testing.T) {
	t.Parallel()
	s := calendar.ScheduleOf(id, time.Minute)
	at := s.Slot(time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC))
	one := s.ID(id, "eu", at, 0)
	require.Equal(t, one, s.ID(id, "eu", at, 0))
	require.Equal(t, s.At(at), uuid7.Time(one))
	require.Equal(t, uuid.Version(7), one.Version())
	require.Equal(t, uuid.RFC4122, one.Variant())
	seen := map[uuid.UUID]bool{}
	for _, monitor := range []uuid.UUID{id, uuid.New()} {
		for _, region := range []string{"eu", "us", "us-1", ""} {
			for slot := at; slot < at+5; slot++ {
				for confirmation := range 3 {
					seen[s.ID(monitor, region, slot, confirmation)] = true
				}
			}
		}
	}
	require.Len(t, seen, 2*4*5*3)
	require.True(t, seen[one])
}
