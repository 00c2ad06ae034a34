package stream

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/stream"
	"github.com/beaconpost/beaconpost/pkg/stream/streamtest"
	"github.com/beaconpost/beaconpost/pkg/telemetry"
	"github.com/beaconpost/beaconpost/pkg/tenant"
	"github.com/beaconpost/beaconpost/proto/subject"
	"github.com/beaconpost/beaconpost/services/delivery/internal/delivery"
)

const patience = 20 * time.Second

// consume starts a process's consumer and gives what it takes.
func consume(t *testing.T, nc *nats.Conn) (c *Consumer, taken chan uuid.UUID) {
	t.Helper()
	taken = make(chan uuid.UUID, 100)
	c, err := NewConsumer(nc, 1, func(_ context.Context, list []delivery.Ticket) {
		for _, ticket := range list {
			taken <- ticket.Request().ID
			ticket.Done()
		}
	}, telemetry.Silent(prometheus.NewRegistry()))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Stop(context.Background())) })
	return c, taken
}

func passes(t *testing.T, nc *nats.Conn, taken <-chan uuid.UUID) {
	t.Helper()
	p, err := stream.NewPublisher(nc, telemetry.Silent(prometheus.NewRegistry()))
	require.NoError(t, err)
	defer func() { require.NoError(t, p.Close(t.Context())) }()
	m := stream.DeliveryReady{Tenant: tenant.ID(uuid.New()), DeliveryID: uuid.New(), Attempt: 1, Due: time.Now()}
	p.Ready(m)
	select {
	case id := <-taken:
		require.Equal(t, m.DeliveryID, id)
	case <-time.After(patience):
		require.Fail(t, "nothing was taken")
	}
}

// What an older version left is brought up to date by the first process of a newer one, though nothing is missing.
func TestAProcessBringsWhatThereIsUpToDate(t *testing.T) {
	t.Parallel()
	nc := streamtest.Connect(t, streamtest.New(t))
	js, err := jetstream.New(nc)
	require.NoError(t, err)
	_, err = js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: subject.StreamDeliveries, Subjects: []string{subject.ReadyAll}, Retention: jetstream.WorkQueuePolicy, Storage: jetstream.MemoryStorage,
	})
	require.NoError(t, err)
	for shard := range subject.Shards {
		_, err := js.CreateConsumer(t.Context(), subject.StreamDeliveries, jetstream.ConsumerConfig{Durable: subject.Durable(shard), FilterSubject: subject.Ready(shard)})
		require.NoError(t, err)
	}
	c, taken := consume(t, nc)
	require.Eventually(t, func() bool {
		s, err := js.Stream(t.Context(), subject.StreamDeliveries)
		return err == nil && s.CachedInfo().Config.Storage == jetstream.FileStorage && len(s.CachedInfo().Config.Subjects) == 2 && s.CachedInfo().State.Consumers == subject.Shards
	}, patience, 20*time.Millisecond)
	require.Eventually(t, c.Live, patience, 20*time.Millisecond)
	passes(t, nc, taken)
}

// A newer version replaces the stream while older processes work: they go on with the new one.
func TestAnOldProcessWorksOnAfterTheStreamWasReplaced(t *testing.T) {
	t.Parallel()
	nc := streamtest.Connect(t, streamtest.New(t))
	js, err := jetstream.New(nc)
	require.NoError(t, err)
	c, taken := consume(t, nc)
	require.Eventually(t, c.Live, patience, 20*time.Millisecond)
	passes(t, nc, taken)

	s, err := js.Stream(t.Context(), subject.StreamDeliveries)
	require.NoError(t, err)
	newer := s.CachedInfo().Config
	version, err := strconv.Atoi(newer.Metadata["beaconpost.topology"])
	require.NoError(t, err)
	newer.Storage = jetstream.MemoryStorage
	newer.Metadata = map[string]string{"beaconpost.topology": strconv.Itoa(version + 1)}
	require.Eventually(t, func() bool {
		if err := js.DeleteStream(t.Context(), subject.StreamDeliveries); err != nil {
			return false
		}
		_, err := js.CreateStream(t.Context(), newer)
		return err == nil // the old one may be faster
	}, patience, 20*time.Millisecond)

	passes(t, nc, taken)
	require.Eventually(t, c.Live, patience, 20*time.Millisecond)
	s, err = js.Stream(t.Context(), subject.StreamDeliveries)
	require.NoError(t, err)
	require.Equal(t, jetstream.MemoryStorage, s.CachedInfo().Config.Storage)
}
