package stream_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/stream"
	"github.com/beaconpost/beaconpost/pkg/stream/streamtest"
)

const pullShards = 16

// pulling is a worker on a server of a cluster that acknowledges what it gets.
type pulling struct {
	t     *testing.T
	taken *atomic.Int64
}

func (p pulling) start(url string) (stop func()) {
	nc, err := nats.Connect(url)
	require.NoError(p.t, err)
	js, err := jetstream.New(nc)
	require.NoError(p.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for shard := range pullShards {
		consumer, err := js.Consumer(ctx, "WORK", fmt.Sprint("c", shard))
		require.NoError(p.t, err)
		all.Go(func() {
			for ctx.Err() == nil {
				_ = stream.Pull(ctx, consumer, 4, func(msg jetstream.Msg) { // a change of leader is an error, and no reason to end
					if msg.Ack() == nil {
						p.taken.Add(1)
					}
				})
			}
		})
	}
	return func() {
		cancel()
		all.Wait()
		_ = nc.Flush()
		nc.Close()
	}
}

// Whoever stops to pull in an orderly way leaves nothing behind that is given out again only after AckWait, though pulls, consumers' leaders and messages are at
// different servers of a cluster.
func TestPullLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	cluster := streamtest.NewCluster(t, 3)
	nc, err := nats.Connect(cluster.URL(0))
	require.NoError(t, err)
	defer nc.Close()
	js, err := jetstream.New(nc)
	require.NoError(t, err)
	work, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "WORK", Subjects: []string{"work.*"}, Replicas: 3, Retention: jetstream.WorkQueuePolicy})
	require.NoError(t, err)
	for shard := range pullShards {
		_, err := work.CreateConsumer(t.Context(), jetstream.ConsumerConfig{
			Durable: fmt.Sprint("c", shard), FilterSubject: fmt.Sprint("work.", shard), AckPolicy: jetstream.AckExplicitPolicy, AckWait: 5 * time.Minute,
		})
		require.NoError(t, err)
	}
	worker := pulling{t, &atomic.Int64{}}
	defer worker.start(cluster.URL(1))()
	var sent atomic.Int64
	publishing, stop := context.WithCancel(t.Context())
	defer stop()
	var publisher sync.WaitGroup
	publisher.Go(func() {
		for n := 0; publishing.Err() == nil; n++ {
			if _, err := js.Publish(publishing, fmt.Sprint("work.", n%pullShards), []byte("x")); err == nil {
				sent.Add(1)
			}
		}
	})
	for n := range 12 {
		end := worker.start(cluster.URL(n % 3))
		before := sent.Load()
		require.Eventually(t, func() bool { return sent.Load() > before+100 }, 30*time.Second, time.Millisecond)
		end()
	}
	stop()
	publisher.Wait()
	require.Eventually(t, func() bool {
		info, err := work.Info(t.Context())
		return err == nil && info.State.Msgs == 0
	}, 20*time.Second, 50*time.Millisecond, "messages that were given to somebody who has gone wait for AckWait")
	t.Logf("sent %d, taken %d", sent.Load(), worker.taken.Load())
}

// A consumer that cannot be reached is noticed; one without messages is not taken for such, nor one whose messages take long.
func TestPullNoticesSilence(t *testing.T) {
	t.Parallel()
	srv := streamtest.New(t)
	js, err := jetstream.New(streamtest.Connect(t, srv))
	require.NoError(t, err)
	work, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "WORK", Subjects: []string{"work"}})
	require.NoError(t, err)
	consumer, err := work.CreateConsumer(t.Context(), jetstream.ConsumerConfig{Durable: "c", AckPolicy: jetstream.AckExplicitPolicy})
	require.NoError(t, err)
	_, err = js.Publish(t.Context(), "work", nil)
	require.NoError(t, err)
	ended := make(chan error, 1)
	go func() {
		ended <- stream.Pull(t.Context(), consumer, 4, func(jetstream.Msg) { time.Sleep(2500 * time.Millisecond) }) // longer than a pull and its silence
	}()
	select {
	case err := <-ended:
		require.Fail(t, "it ended", "%v", err)
	case <-time.After(6 * time.Second):
	}
	require.NoError(t, work.DeleteConsumer(t.Context(), "c"))
	select {
	case err := <-ended:
		require.Error(t, err)
	case <-time.After(10 * time.Second):
		require.Fail(t, "nobody noticed that the consumer has gone")
	}
}
