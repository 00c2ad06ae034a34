package stream_test

import (
	"context"
	"net/url"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/beaconpost/beaconpost/pkg/stream"
	"github.com/beaconpost/beaconpost/pkg/stream/natsembed"
	"github.com/beaconpost/beaconpost/pkg/telemetry"
	"github.com/beaconpost/beaconpost/pkg/tenant"
	"github.com/beaconpost/beaconpost/proto/subject"
)

// TestMain lets servers of a cluster leave behind what they do: one that is started again keeps loops of stores that it opened twice.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreTopFunction("github.com/nats-io/nats-server/v2/server.(*fileStore).flushStreamStateLoop"),
		goleak.IgnoreTopFunction("github.com/nats-io/nats-server/v2/server/ats.Register.func1"),
	)
}

const patience = 20 * time.Second

// broker is a server that can be stopped and started again on its directory and port.
type broker struct {
	t      *testing.T
	dir    string
	listen string
	server *natsembed.Server
}

func newBroker(t *testing.T) *broker {
	t.Helper()
	b := &broker{t: t, dir: t.TempDir(), listen: "127.0.0.1:0"}
	b.start()
	t.Cleanup(b.stop)
	return b
}

func (b *broker) start() {
	b.t.Helper()
	var err error
	b.server, err = natsembed.Start(natsembed.Config{StoreDir: b.dir, Listen: b.listen})
	require.NoError(b.t, err)
	b.listen = b.address()
}

func (b *broker) address() string {
	b.t.Helper()
	u, err := url.Parse(b.server.URL())
	require.NoError(b.t, err)
	return u.Host
}

func (b *broker) stop() {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	require.NoError(b.t, b.server.Shutdown(ctx))
}

func connect(t *testing.T, address string, options ...nats.Option) *nats.Conn {
	t.Helper()
	nc, err := stream.Connect(stream.Config{URL: "nats://" + address, Name: t.Name(), Options: options}, zerolog.Nop())
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	return nc
}

func jetStream(t *testing.T, nc *nats.Conn) jetstream.JetStream {
	t.Helper()
	js, err := stream.JetStream(nc)
	require.NoError(t, err)
	return js
}

// topology is that of a process of its own.
func topology(t *testing.T, nc *nats.Conn, replicas int) *stream.Topology {
	t.Helper()
	kept, err := stream.NewTopology(nc, replicas, telemetry.Silent(prometheus.NewRegistry()))
	require.NoError(t, err)
	return kept
}

// counted is a publisher with its metrics.
type counted struct {
	*stream.Publisher
	t   *testing.T
	reg *prometheus.Registry
}

func newPublisher(t *testing.T, nc *nats.Conn) *counted {
	t.Helper()
	c := &counted{t: t, reg: prometheus.NewRegistry()}
	var err error
	c.Publisher, err = stream.NewPublisher(nc, telemetry.Silent(c.reg))
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_ = c.Close(ctx) // tests that care close it themselves
	})
	return c
}

// counts gives the messages by result.
func (c *counted) counts() (published, failed, skipped int) {
	c.t.Helper()
	families, err := c.reg.Gather()
	require.NoError(c.t, err)
	by := map[string]int{}
	for _, family := range families {
		if family.GetName() == "beaconpost_publish_messages_total" {
			for _, m := range family.GetMetric() {
				by[m.GetLabel()[0].GetValue()] = int(m.GetCounter().GetValue())
			}
		}
	}
	require.Len(c.t, by, 3, "every result is there from the start")
	return by["published"], by["failed"], by["skipped"]
}

// settled waits until every one of n messages has its result.
func (c *counted) settled(n int) (published, failed, skipped int) {
	c.t.Helper()
	require.Eventually(c.t, func() bool {
		published, failed, skipped = c.counts()
		return published+failed+skipped == n
	}, patience, 5*time.Millisecond, "of %d messages: %d published, %d failed, %d skipped", n, published, failed, skipped)
	return published, failed, skipped
}

// bench is a broker with the topology in place and a publisher.
type bench struct {
	*broker
	nc  *nats.Conn
	js  jetstream.JetStream
	pub *counted
}

func setup(t *testing.T) *bench {
	t.Helper()
	b := &bench{broker: newBroker(t)}
	b.nc = connect(t, b.address())
	b.js = jetStream(t, b.nc)
	require.NoError(t, topology(t, b.nc, 1).Deliveries(t.Context()))
	b.pub = newPublisher(t, b.nc)
	return b
}

// restart stops the broker, starts it again and waits until the connection has noticed both.
func (b *bench) restart() {
	b.t.Helper()
	b.stop()
	require.Eventually(b.t, func() bool { return !b.nc.IsConnected() }, patience, time.Millisecond)
	b.start()
	require.Eventually(b.t, func() bool { return b.nc.IsConnected() }, patience, time.Millisecond)
}

// stored gives the number of messages in the stream that match.
func (b *bench) stored(filter string) int {
	b.t.Helper()
	s, err := b.js.Stream(b.t.Context(), subject.StreamDeliveries)
	require.NoError(b.t, err)
	info, err := s.Info(b.t.Context(), jetstream.WithSubjectFilter(filter))
	require.NoError(b.t, err)
	n := 0
	for _, count := range info.State.Subjects {
		n += int(count)
	}
	return n
}

type arrival struct {
	message stream.DeliveryReady // the first of group
	group   []stream.DeliveryReady
	at      time.Time
}

// next takes the next message of a tenant's shard.
func (b *bench) next(owner tenant.ID) arrival {
	b.t.Helper()
	consumer, err := b.js.Consumer(b.t.Context(), subject.StreamDeliveries, subject.Durable(subject.Shard(owner.UUID())))
	require.NoError(b.t, err)
	msg, err := consumer.Next(jetstream.FetchMaxWait(patience))
	at := time.Now()
	require.NoError(b.t, err)
	require.NoError(b.t, msg.DoubleAck(b.t.Context()))
	group, err := stream.DecodeDeliveriesReady(msg.Data())
	require.NoError(b.t, err)
	return arrival{group[0], group, at}
}

// message is one that is due at a time.
func message(due time.Time) stream.DeliveryReady {
	return stream.DeliveryReady{
		Tenant: tenant.ID(uuid.Must(uuid.NewV7())), DeliveryID: uuid.Must(uuid.NewV7()), Attempt: 1,
		Due: due.UTC().Truncate(time.Microsecond),
	}
}
