// Package stream pulls due deliveries from the broker into the engine and publishes retries.
//
// It owns the consumers' life: created when missing, taken up again after every outage or loss of the broker.
package stream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/beaconpost/beaconpost/pkg/lifecycle"
	"github.com/beaconpost/beaconpost/pkg/stream"
	"github.com/beaconpost/beaconpost/pkg/telemetry"
	"github.com/beaconpost/beaconpost/proto/subject"
	"github.com/beaconpost/beaconpost/services/delivery/internal/delivery"
)

const (
	prefetch     = 4                // messages per shard that wait in this process, each of up to 64 deliveries
	pullExpiry   = 10 * time.Second // a lost consumer is noticed after this
	retryPause   = 500 * time.Millisecond
	releaseDelay = 500 * time.Millisecond
	ensureLimit  = 30 * time.Second // seventeen things, each agreed upon by three servers
	ensureEvery  = time.Minute
)

// Consumer feeds the engine from all shards.
type Consumer struct {
	js       jetstream.JetStream
	topology *stream.Topology
	submit   func(context.Context, []delivery.Ticket)
	log      zerolog.Logger
	tracer   *telemetry.Tracer
	group    *lifecycle.Group

	ensuring sync.Mutex
	ensured  time.Time // when the topology was last seen to be in place; guarded by ensuring
	live     atomic.Int32
}

// NewConsumer starts one loop per shard, on streams of that many copies; submit blocks while the engine is full. Stop it.
func NewConsumer(nc *nats.Conn, replicas int, submit func(context.Context, []delivery.Ticket), tel *telemetry.Telemetry) (*Consumer, error) {
	js, err := stream.JetStream(nc)
	if err != nil {
		return nil, err
	}
	topology, err := stream.NewTopology(nc, replicas, tel)
	if err != nil {
		return nil, err
	}
	c := &Consumer{js: js, topology: topology, submit: submit, log: tel.Log, tracer: tel.Tracer, group: lifecycle.NewGroup(context.Background())}
	c.group.Go(c.keep)
	for shard := range subject.Shards {
		c.group.Go(func(ctx context.Context) { c.loop(ctx, shard) })
	}
	return c, nil
}

// Live says whether all shards are being consumed. A subscription outlives its connection, and takes nothing meanwhile.
func (c *Consumer) Live() bool { return c.live.Load() == subject.Shards && c.js.Conn().IsConnected() }

// Stop pulls no more and hands back what was pulled and not submitted.
func (c *Consumer) Stop(ctx context.Context) error { return c.group.Stop(ctx) }

// loop consumes a shard until ctx ends, whatever happens to the broker.
func (c *Consumer) loop(ctx context.Context, shard int) {
	for {
		err := c.consume(ctx, shard)
		if ctx.Err() != nil {
			return
		}
		if !errors.Is(err, nats.ErrConnectionClosed) && !errors.Is(err, nats.ErrNoResponders) {
			c.log.Debug().Err(err).Int("shard", shard).Msg("consuming again")
		}
		if !lifecycle.Wait(ctx, retryPause) {
			return
		}
	}
}

func (c *Consumer) consume(ctx context.Context, shard int) error {
	consumer, err := c.js.Consumer(ctx, subject.StreamDeliveries, subject.Durable(shard))
	if errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, jetstream.ErrConsumerNotFound) {
		if err := c.ensure(ctx); err != nil {
			return err
		}
		consumer, err = c.js.Consumer(ctx, subject.StreamDeliveries, subject.Durable(shard))
	}
	if err != nil {
		return fmt.Errorf("look up consumer: %w", err)
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(prefetch), jetstream.PullExpiry(pullExpiry), jetstream.PullHeartbeat(pullExpiry/4))
	if err != nil {
		return fmt.Errorf("pull: %w", err)
	}
	defer messages.Stop()
	// Draining gives out what was pulled, so that it can be handed back at once instead of after AckWait.
	defer context.AfterFunc(ctx, messages.Drain)()
	c.live.Add(1)
	defer c.live.Add(-1)
	for {
		msg, err := messages.Next()
		if err != nil {
			return fmt.Errorf("next message: %w", err)
		}
		c.take(ctx, shard, msg)
	}
}

func (c *Consumer) take(ctx context.Context, shard int, msg jetstream.Msg) {
	due, err := stream.DecodeDeliveriesReady(msg.Data())
	if err != nil {
		c.log.Error().Err(err).Str("subject", msg.Subject()).Msg("message is not one of ours; removed")
		if err := msg.TermWithReason("not decodable"); err != nil {
			c.log.Debug().Err(err).Msg("terminate message")
		}
		return
	}
	c.submit(ctx, tickets(msg, due, stream.Process(c.tracer, msg.Subject(), subject.Durable(shard), msg.Headers(), due)))
}

// keep has streams and consumers as this version declares them, when it starts and from then on: others may have had other ideas.
func (c *Consumer) keep(ctx context.Context) {
	for wait := ensureEvery; ; wait = ensureEvery {
		if err := c.ensure(ctx); err != nil {
			wait = retryPause
			c.log.Debug().Err(err).Msg("streams are looked at again")
		}
		if !lifecycle.Wait(ctx, wait) {
			return
		}
	}
}

// ensure has stream and consumers there; shards that miss them at the same time do it once.
func (c *Consumer) ensure(ctx context.Context) error {
	c.ensuring.Lock()
	defer c.ensuring.Unlock()
	if time.Since(c.ensured) < retryPause {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, ensureLimit)
	defer cancel()
	if err := c.topology.Deliveries(ctx); err != nil {
		return err
	}
	c.ensured = time.Now()
	return nil
}
