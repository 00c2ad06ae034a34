package stream_test

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/stream"
	"github.com/beaconpost/beaconpost/proto/subject"
)

func (b *bench) consumers() (names []string) {
	b.t.Helper()
	s, err := b.js.Stream(b.t.Context(), subject.StreamDeliveries)
	require.NoError(b.t, err)
	list := s.ConsumerNames(b.t.Context())
	for name := range list.Name() {
		names = append(names, name)
	}
	require.NoError(b.t, list.Err())
	slices.Sort(names)
	return names
}

func TestDeliveriesDeclaresTheTopology(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s, err := b.js.Stream(t.Context(), subject.StreamDeliveries)
	require.NoError(t, err)
	cfg := s.CachedInfo().Config
	require.Equal(t, []string{"deliveries.ready.*", "deliveries.retry.*"}, cfg.Subjects)
	require.Equal(t, jetstream.WorkQueuePolicy, cfg.Retention)
	require.True(t, cfg.AllowMsgSchedules)
	require.Zero(t, cfg.MaxAge, "a message waits as long as it takes")
	require.Negative(t, cfg.MaxMsgs)
	require.Negative(t, cfg.MaxBytes)

	require.Len(t, b.consumers(), subject.Shards)
	for shard := range subject.Shards {
		c, err := b.js.Consumer(t.Context(), subject.StreamDeliveries, subject.Durable(shard))
		require.NoError(t, err)
		require.Equal(t, subject.Ready(shard), c.CachedInfo().Config.FilterSubject)
		require.Equal(t, jetstream.AckExplicitPolicy, c.CachedInfo().Config.AckPolicy)
		require.Equal(t, stream.AckWait, c.CachedInfo().Config.AckWait)
		require.Equal(t, -1, c.CachedInfo().Config.MaxDeliver, "no message is given up")
		require.Zero(t, c.CachedInfo().Config.InactiveThreshold, "nor a consumer")
	}
}

func TestDeliveriesAgainChangesNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	waiting := message(time.Now())
	b.pub.Ready(waiting)
	b.pub.settled(1)
	// Many processes start at the same time.
	var all sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		all.Go(func() { errs[i] = topology(t, b.nc, 1).Deliveries(t.Context()) })
	}
	all.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
	require.Len(t, b.consumers(), subject.Shards)
	require.Equal(t, waiting.DeliveryID, b.next(waiting.Tenant).message.DeliveryID, "what was there is still there")
}

func TestDeliveriesRepairs(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.NoError(t, b.js.DeleteConsumer(t.Context(), subject.StreamDeliveries, subject.Durable(3)))
	_, err := b.js.UpdateConsumer(t.Context(), subject.StreamDeliveries, jetstream.ConsumerConfig{
		Durable: subject.Durable(4), FilterSubject: subject.Ready(4), AckPolicy: jetstream.AckExplicitPolicy, AckWait: time.Second, MaxDeliver: 5,
	})
	require.NoError(t, err)
	require.NoError(t, topology(t, b.nc, 1).Deliveries(t.Context()))
	require.Len(t, b.consumers(), subject.Shards)
	c, err := b.js.Consumer(t.Context(), subject.StreamDeliveries, subject.Durable(4))
	require.NoError(t, err)
	require.Equal(t, stream.AckWait, c.CachedInfo().Config.AckWait)
	require.Equal(t, -1, c.CachedInfo().Config.MaxDeliver)

	require.NoError(t, b.js.DeleteStream(t.Context(), subject.StreamDeliveries))
	require.NoError(t, topology(t, b.nc, 1).Deliveries(t.Context()))
	require.Len(t, b.consumers(), subject.Shards)
}

// The stream of checks is looked after by whoever keeps schedules, who knows no region: the probers' consumers with it.
func TestChecksHasProbersThatWereAskedFor(t *testing.T) {
	t.Parallel()
	b := setup(t)
	kept := topology(t, b.nc, 1)
	require.NoError(t, kept.Checks(t.Context()))
	_, err := b.js.Consumer(t.Context(), subject.StreamChecks, subject.Prober("eu"))
	require.ErrorIs(t, err, jetstream.ErrConsumerNotFound)
	c, err := kept.Prober(t.Context(), "eu")
	require.NoError(t, err)
	require.Equal(t, 1, c.CachedInfo().Config.MaxDeliver)
	require.Equal(t, subject.CheckDue("eu"), c.CachedInfo().Config.FilterSubject)
	require.NoError(t, b.js.DeleteConsumer(t.Context(), subject.StreamChecks, subject.Prober("eu")))
	require.NoError(t, kept.Checks(t.Context()))
	_, err = b.js.Consumer(t.Context(), subject.StreamChecks, subject.Prober("eu"))
	require.NoError(t, err)
}

func TestDeliveriesSaysWhatIsNotThere(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.NoError(t, b.js.DeleteStream(t.Context(), subject.StreamDeliveries))
	require.ErrorContains(t, topology(t, b.nc, 3).Deliveries(t.Context()), "ensure stream DELIVERIES", "one server keeps no three copies")
}

func TestOldestReady(t *testing.T) {
	t.Parallel()
	b := setup(t)
	first := message(time.Now())
	shard := subject.Shard(first.Tenant.UUID())
	at, err := b.pub.OldestReady(t.Context(), shard)
	require.NoError(t, err)
	require.True(t, at.IsZero())

	before := time.Now()
	b.pub.Ready(first)
	b.pub.settled(1)
	between := time.Now()
	second := first
	second.Attempt = 2
	b.pub.Ready(second)
	b.pub.settled(2)
	at, err = b.pub.OldestReady(t.Context(), shard)
	require.NoError(t, err)
	require.False(t, at.Before(before), at)
	require.False(t, at.After(between), at)

	require.Equal(t, 1, b.next(first.Tenant).message.Attempt)
	at, err = b.pub.OldestReady(t.Context(), shard)
	require.NoError(t, err)
	require.False(t, at.Before(between), "the first was acknowledged")
	at, err = b.pub.OldestReady(t.Context(), (shard+1)%subject.Shards)
	require.NoError(t, err)
	require.True(t, at.IsZero())

	require.NoError(t, b.js.DeleteStream(t.Context(), subject.StreamDeliveries))
	_, err = b.pub.OldestReady(t.Context(), shard)
	require.ErrorIs(t, err, jetstream.ErrStreamNotFound)
}
