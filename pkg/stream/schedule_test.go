package stream_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/stream"
	"github.com/beaconpost/beaconpost/proto/subject"
)

// late is what a schedule may be late: the broker's granularity of 250 ms, and a busy machine.
const late = 2 * time.Second

func TestARetryFiresAtItsTimeAndNotEarlier(t *testing.T) {
	t.Parallel()
	b := setup(t)
	base := message(time.Now())
	due := map[uuid.UUID]time.Time{}
	// Fractions of a second on both sides of the broker's granularity.
	for _, wait := range []time.Duration{1, 130, 260, 499, 510, 777, 999, 1001, 1490} {
		m := base
		m.DeliveryID, m.Attempt, m.Traceparent = uuid.New(), 2, traceparent
		m.Due = time.Now().Add(wait * time.Millisecond).UTC().Truncate(time.Microsecond)
		due[m.DeliveryID] = m.Due
		b.pub.Retry(m)
	}
	n := len(due)
	for range n {
		got := b.next(base.Tenant)
		want, waiting := due[got.message.DeliveryID]
		require.True(t, waiting, "each once")
		delete(due, got.message.DeliveryID)
		require.False(t, got.at.Before(want), "%s early", want.Sub(got.at))
		require.Less(t, got.at.Sub(want), late)
		require.True(t, want.Equal(got.message.Due))
		require.Equal(t, 2, got.message.Attempt)
		require.Equal(t, traceparent, got.message.Traceparent, "headers are passed on")
	}
	require.Zero(t, b.stored(subject.RetryAll), "schedules that fired are gone")
}

func TestARetryOfThePastFiresAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	m := message(time.Now().Add(-time.Hour))
	start := time.Now()
	b.pub.Retry(m)
	got := b.next(m.Tenant)
	require.Equal(t, m.DeliveryID, got.message.DeliveryID)
	require.Less(t, got.at.Sub(start), late)
}

func TestALaterScheduleReplacesTheEarlier(t *testing.T) {
	t.Parallel()
	b := setup(t)
	base := message(time.Now())
	at := func(m stream.DeliveryReady, attempt int, wait time.Duration) stream.DeliveryReady {
		m.Attempt, m.Due = attempt, time.Now().Add(wait).UTC().Truncate(time.Microsecond)
		return m
	}
	sooner, later, last := base, base, base
	sooner.DeliveryID, later.DeliveryID, last.DeliveryID = uuid.New(), uuid.New(), uuid.New()
	b.pub.Retry(at(sooner, 2, time.Hour))
	b.pub.Retry(at(sooner, 3, 600*time.Millisecond))
	b.pub.Retry(at(later, 2, 300*time.Millisecond))
	b.pub.Retry(at(later, 3, 900*time.Millisecond))
	b.pub.settled(4)
	require.Equal(t, 2, b.stored(subject.RetryAll), "one schedule for each delivery")
	b.pub.Retry(at(last, 9, 1300*time.Millisecond))
	for _, want := range []stream.DeliveryReady{sooner, later, last} {
		got := b.next(base.Tenant)
		require.Equal(t, want.DeliveryID, got.message.DeliveryID)
		require.NotEqual(t, 2, got.message.Attempt, "it was replaced")
		require.False(t, got.at.Before(got.message.Due))
	}
	require.Zero(t, b.stored("deliveries.>"))
}

func TestACancelledRetryDoesNotFire(t *testing.T) {
	t.Parallel()
	b := setup(t)
	cancelled := message(time.Now().Add(500 * time.Millisecond))
	other := cancelled
	other.DeliveryID, other.Due = uuid.New(), cancelled.Due.Add(600*time.Millisecond)
	b.pub.Retry(cancelled)
	b.pub.Retry(other)
	b.pub.settled(2)
	require.NoError(t, stream.CancelRetry(t.Context(), b.js, cancelled))
	require.NoError(t, stream.CancelRetry(t.Context(), b.js, cancelled), "there is nothing to cancel any more")
	require.Equal(t, other.DeliveryID, b.next(other.Tenant).message.DeliveryID, "the other one is not touched, and the first has not come before it")
	require.Zero(t, b.stored("deliveries.>"))
}

func TestCancelDoesNotTouchWhatFired(t *testing.T) {
	t.Parallel()
	b := setup(t)
	m := message(time.Now())
	b.pub.Retry(m)
	require.Eventually(t, func() bool { return b.stored(subject.ReadyAll) == 1 }, patience, 10*time.Millisecond)
	require.NoError(t, stream.CancelRetry(t.Context(), b.js, m))
	require.Equal(t, m.DeliveryID, b.next(m.Tenant).message.DeliveryID)
}

func TestCancelWithoutAStream(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.NoError(t, b.js.DeleteStream(t.Context(), subject.StreamDeliveries))
	require.NoError(t, stream.CancelRetry(t.Context(), b.js, message(time.Now())))
}

func TestSchedulesOutliveARestartOfTheBroker(t *testing.T) {
	t.Parallel()
	b := setup(t)
	m := message(time.Now().Add(1500 * time.Millisecond))
	b.pub.Retry(m)
	b.pub.settled(1)
	b.restart()
	got := b.next(m.Tenant)
	require.Equal(t, m.DeliveryID, got.message.DeliveryID)
	require.False(t, got.at.Before(m.Due))
}
