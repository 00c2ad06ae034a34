package delivery

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// backlog is a store of overdue deliveries by shard, and a broker.
type backlog struct {
	overdue   map[int]int // how many are left
	bounds    map[int]time.Time
	published int
	oldest    map[int]time.Time
	away      bool
	broken    map[int]bool
	slow      time.Duration // a lease takes so long
}

func (b *backlog) Overdue(ctx context.Context, shard int, before time.Time, limit int) ([]Request, error) {
	b.bounds[shard] = before
	if time.Sleep(b.slow); ctx.Err() != nil {
		return nil, ctx.Err()
	}
	n := min(limit, b.overdue[shard])
	if n > 0 {
		b.overdue[shard] -= n
	}
	return make([]Request, n), nil
}

func (b *backlog) Unaccounted(ctx context.Context, _ []time.Time) (int, time.Duration, error) {
	if ctx.Err() != nil {
		return 0, 0, ctx.Err()
	}
	left := 0
	for _, n := range b.overdue {
		left += n
	}
	return left, 0, nil
}

func (b *backlog) Publish(requests ...Request) { b.published += len(requests) }

func (b *backlog) Connected() bool { return !b.away }

func (b *backlog) Oldest(_ context.Context, shard int) (time.Time, error) {
	if b.broken[shard] {
		return time.Time{}, errors.New("no quorum")
	}
	return b.oldest[shard], nil
}

func round(t *testing.T, b *backlog, now time.Time, most int) (Report, error) {
	t.Helper()
	b.bounds = map[int]time.Time{}
	return NewReconciler(ReconcilerConfig{Shards: 4, Grace: time.Minute, PerRound: most}, b, b).Round(t.Context(), now)
}

func TestNoShardWaitsForTheBacklogOfAnother(t *testing.T) {
	t.Parallel()
	b := &backlog{overdue: map[int]int{0: 1_000_000, 3: 1}}
	report, err := round(t, b, time.Now(), 1000)
	require.NoError(t, err)
	require.Zero(t, b.overdue[3])
	require.Equal(t, 1000, report.Published, "what others leave is used")
	require.Equal(t, 1000, b.published)
	require.Equal(t, 1_000_001-1000, report.Unaccounted)
}

func TestWhatIsLeftIsCountedThoughPublishingTakesAllTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := &backlog{overdue: map[int]int{0: 100_000}, bounds: map[int]time.Time{}, slow: 5 * time.Second}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		report, err := NewReconciler(ReconcilerConfig{Shards: 4, Grace: time.Minute, PerRound: 50_000}, b, b).Round(ctx, time.Now())
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Positive(t, report.Published)
		require.Equal(t, report.Published, b.published)
		require.True(t, report.Counted)
		require.Equal(t, 100_000-report.Published, report.Unaccounted)
	})
}

func TestWhatTheBrokerMayHoldIsLeftAlone(t *testing.T) {
	t.Parallel()
	now := time.Now()
	b := &backlog{oldest: map[int]time.Time{
		1: now.Add(-5 * time.Minute), // a backlog
		2: now.Add(-time.Second),     // flowing
		3: now.Add(-24 * time.Hour),  // stuck
	}}
	_, err := round(t, b, now, 1000)
	require.NoError(t, err)
	require.Equal(t, now.Add(-time.Minute), b.bounds[0], "empty: the grace alone")
	require.Equal(t, now.Add(-5*time.Minute-publishDelay), b.bounds[1])
	require.Equal(t, now.Add(-time.Minute), b.bounds[2])
	require.Equal(t, now.Add(-queuedMost), b.bounds[3], "not believed for ever")
}

func TestWhileTheBrokerIsAwayNothingIsLeased(t *testing.T) {
	t.Parallel()
	b := &backlog{overdue: map[int]int{0: 5}, away: true}
	report, err := round(t, b, time.Now(), 1000)
	require.NoError(t, err)
	require.Equal(t, Report{Counted: true, Unaccounted: 5}, report)
}

func TestAShardThatCannotBeAskedDoesNotHideTheOthers(t *testing.T) {
	t.Parallel()
	b := &backlog{overdue: map[int]int{0: 5, 1: 5}, broken: map[int]bool{0: true}}
	report, err := round(t, b, time.Now(), 1000)
	require.ErrorContains(t, err, "no quorum")
	require.Equal(t, Report{Published: 5, Counted: true, Unaccounted: 5}, report)
}
