package stream_test

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/stream"
	"github.com/beaconpost/beaconpost/proto/subject"
)

func TestASecondMessageForAnAttemptIsDropped(t *testing.T) {
	t.Parallel()
	b := setup(t)
	m := message(time.Now())
	moved, next, other := m, m, m
	moved.Due = m.Due.Add(time.Second) // another stamp makes no other attempt
	next.Attempt = 2
	other.DeliveryID = uuid.New()
	for _, d := range []stream.DeliveryReady{m, m, moved, next, other} {
		b.pub.Ready(d)
	}
	published, failed, skipped := b.pub.settled(5)
	require.Equal(t, []int{5, 0, 0}, []int{published, failed, skipped}, "a duplicate is no failure")
	require.Equal(t, 3, b.stored(subject.ReadyAll))
}

func TestARepeatIsNotTakenForTheLostMessage(t *testing.T) {
	t.Parallel()
	b := setup(t)
	m := message(time.Now())
	repeat := m
	repeat.MustClaim = true
	later := repeat
	later.Due = m.Due.Add(time.Microsecond)
	for _, d := range []stream.DeliveryReady{m, repeat, repeat, later} {
		b.pub.Ready(d)
	}
	b.pub.settled(4)
	require.Equal(t, 3, b.stored(subject.ReadyAll), "only the same repeat twice is a duplicate")
}

// flood offers messages from several goroutines and says how long the slowest call took.
func flood(p *counted, n int) (slowest time.Duration) {
	const goroutines = 4
	var longest atomic.Int64
	var all sync.WaitGroup
	for range goroutines {
		all.Go(func() {
			for range n / goroutines {
				m := message(time.Now())
				start := time.Now()
				p.Ready(m)
				if took := int64(time.Since(start)); took > longest.Load() {
					longest.Store(took)
				}
			}
		})
	}
	all.Wait()
	return time.Duration(longest.Load())
}

// soon is what a call that does not wait may take when the test shares its machine with others.
const soon = 500 * time.Millisecond

func TestWithoutABrokerMessagesAreSkippedWithoutWaiting(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, ln.Close())
	p := newPublisher(t, connect(t, ln.Addr().String()))
	require.False(t, p.Connected())
	const n = 40000 // more than the queue holds
	require.Less(t, flood(p, n), soon)
	_, _, skipped := p.settled(n)
	require.Equal(t, n, skipped)
	require.NoError(t, p.Close(t.Context()))
}

func TestWithoutAStreamMessagesFail(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.NoError(t, b.js.DeleteStream(t.Context(), subject.StreamDeliveries))
	b.pub.Ready(message(time.Now()))
	b.pub.Retry(message(time.Now()))
	published, failed, skipped := b.pub.settled(2)
	require.Equal(t, []int{0, 2, 0}, []int{published, failed, skipped})
	require.NoError(t, topology(t, b.nc, 1).Deliveries(t.Context()))
	b.pub.Ready(message(time.Now()))
	published, _, _ = b.pub.settled(3)
	require.Equal(t, 1, published)
}

// cut is a way to the broker that can be cut as networks are: nothing is refused, nothing arrives.
type cut struct {
	net.Listener
	target string
	off    chan struct{} // closed: cut
	done   chan struct{} // closed: the test is over
	wg     sync.WaitGroup
}

func newCut(t *testing.T, target string) *cut {
	t.Helper()
	// A small window: the kernel must not take the place of the network.
	small := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { _ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096) })
	}}
	ln, err := small.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	c := &cut{Listener: ln, target: target, off: make(chan struct{}), done: make(chan struct{})}
	c.wg.Go(c.serve)
	t.Cleanup(func() {
		_ = ln.Close()
		close(c.done)
		c.wg.Wait()
	})
	return c
}

func (c *cut) serve() {
	for {
		client, err := c.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", c.target)
		if err != nil {
			_ = client.Close()
			continue
		}
		c.wg.Go(func() { _, _ = io.Copy(client, server) })
		c.wg.Go(func() {
			defer client.Close()
			defer server.Close()
			c.forward(client, server)
		})
	}
}

func (c *cut) forward(client, server net.Conn) {
	buffer := make([]byte, 1024)
	for {
		n, err := client.Read(buffer)
		if err != nil {
			return
		}
		select {
		case <-c.off:
			<-c.done
			return
		default:
		}
		if _, err := server.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// thin dials connections that buffer little.
type thin struct{}

func (thin) Dial(network, address string) (net.Conn, error) {
	conn, err := net.DialTimeout(network, address, patience)
	if err != nil {
		return nil, err
	}
	return conn, conn.(*net.TCPConn).SetWriteBuffer(4096)
}

// The worst case for a promise not to wait: the connection is there, and nothing goes through it.
func TestACutNetworkDoesNotMakeAnybodyWait(t *testing.T) {
	t.Parallel()
	b := setup(t)
	way := newCut(t, b.address())
	nc := connect(t, way.Addr().String(), nats.SetCustomDialer(thin{}))
	p := newPublisher(t, nc)
	p.Ready(message(time.Now()))
	p.settled(1)
	close(way.off)
	require.Less(t, flood(p, 40000), soon)
	_, _, skipped := p.counts()
	require.Positive(t, skipped, "the queue is bounded")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, p.Close(ctx), context.DeadlineExceeded)

	start := time.Now()
	require.Eventually(t, func() bool { return !p.Connected() }, patience, time.Millisecond)
	require.Less(t, time.Since(start), 10*time.Second, "the connection is given up")
}

func TestCloseFlushes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const n = 10000 // more than may be without an answer at the same time
	flood(b.pub, n)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, b.pub.Close(ctx))
	published, failed, skipped := b.pub.counts()
	require.Equal(t, []int{n, 0, 0}, []int{published, failed, skipped}, "all had their answers when it returned")
	require.Equal(t, n, b.stored(subject.ReadyAll))

	b.pub.Ready(message(time.Now()))
	_, _, skipped = b.pub.counts()
	require.Equal(t, 1, skipped, "nothing is taken after that")
	require.NoError(t, b.pub.Close(ctx), "again")
	require.True(t, b.nc.IsConnected(), "the connection is its owner's")
}

func TestCloseWhileOthersPublish(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const n = 8000
	flooded := make(chan struct{})
	go func() {
		defer close(flooded)
		flood(b.pub, n)
	}()
	require.Eventually(t, func() bool { published, _, _ := b.pub.counts(); return published > 0 }, patience, time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, b.pub.Close(ctx))
	<-flooded
	published, failed, skipped := b.pub.settled(n)
	require.Zero(t, failed)
	require.Positive(t, published)
	require.Equal(t, published, b.stored(subject.ReadyAll), "skipped %d", skipped)
}

// Whatever happens to the broker: every message has its result, what is called published is stored, and afterwards it works again.
func TestARestartOfTheBrokerUnderLoad(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var stop atomic.Bool
	var offered atomic.Int64
	flooded := make(chan struct{})
	go func() {
		defer close(flooded)
		for !stop.Load() {
			b.pub.Ready(message(time.Now()))
			if offered.Add(1)%200 == 0 {
				time.Sleep(time.Millisecond) // a rate, not a wait for something
			}
		}
	}()
	running := func() { // until something was published since
		before, _, _ := b.pub.counts()
		require.Eventually(t, func() bool { now, _, _ := b.pub.counts(); return now > before+500 }, patience, 5*time.Millisecond)
	}
	running()
	b.stop()
	_, _, before := b.pub.counts()
	require.Eventually(t, func() bool { _, _, now := b.pub.counts(); return now > before }, patience, 5*time.Millisecond)
	require.False(t, b.pub.Connected())
	b.start()
	running()
	require.True(t, b.pub.Connected())
	stop.Store(true)
	<-flooded
	n := int(offered.Load())
	published, failed, _ := b.pub.settled(n)
	stored := b.stored(subject.ReadyAll)
	require.GreaterOrEqual(t, stored, published)
	require.LessOrEqual(t, stored, published+failed, "only a message whose answer was lost may be there besides")
}

func TestCloseWithoutABrokerDoesNotWait(t *testing.T) {
	t.Parallel()
	b := setup(t)
	flood(b.pub, 4000)
	b.stop()
	require.Eventually(t, func() bool { return !b.pub.Connected() }, patience, time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	start := time.Now()
	require.NoError(t, b.pub.Close(ctx))
	require.Less(t, time.Since(start), soon)
	b.pub.settled(4000)
	b.start() // for the end of the test
}

func TestConnectErrorsAreOnlyAboutItsArguments(t *testing.T) {
	t.Parallel()
	_, err := stream.Connect(stream.Config{URL: "nats://127.0.0.1:4222", Options: []nats.Option{func(*nats.Options) error { return errors.New("bad option") }}}, zerolog.Nop())
	require.ErrorContains(t, err, "connect to broker: bad option")
	for _, url := range []string{"nats://u:hunter2@127.0.0.1:x", "nats://u:hunter2 more@127.0.0.1", "nats://u:hunter2#more@127.0.0.1", "nats://hunter2%@127.0.0.1", "nats://a:1,nats://u:hunter2@b:y"} {
		_, err := stream.Connect(stream.Config{URL: url}, zerolog.Nop())
		require.ErrorContains(t, err, "connect to broker")
		require.NotContains(t, err.Error(), "hunter2")
	}
}

func TestAnnouncementsAreBoundedByTheirDeliveries(t *testing.T) {
	t.Parallel()
	b := setup(t)
	way := newCut(t, b.address())
	p := newPublisher(t, connect(t, way.Addr().String(), nats.SetCustomDialer(thin{})))
	p.Ready(message(time.Now()))
	p.settled(1)
	close(way.off)
	many := make([]stream.DeliveryReady, 4096)
	for i := range many {
		many[i] = message(time.Now())
	}
	for range 1000 {
		p.Ready(many...)
	}
	_, _, skipped := p.counts()
	require.Greater(t, skipped, (1000-(1<<18)/len(many)-100)*len(many)/64, "counted by message")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, p.Close(ctx), context.DeadlineExceeded)
}
