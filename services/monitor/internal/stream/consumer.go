package stream

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/beaconpost/beaconpost/pkg/lifecycle"
	"github.com/beaconpost/beaconpost/pkg/stream"
	"github.com/beaconpost/beaconpost/services/monitor/internal/monitor"
)

const (
	prefetch    = 512
	pullExpiry  = 10 * time.Second // a lost consumer is noticed after this
	retryPause  = 500 * time.Millisecond
	ensureLimit = 10 * time.Second
)

// Consumer takes the checks of a region that are due.
type Consumer struct {
	nc       *nats.Conn
	region   string
	topology *stream.Topology
	submit   func(monitor.Due)
	log      zerolog.Logger
	group    *lifecycle.Group
	live     atomic.Bool
}

// NewConsumer starts to take checks; submit does not wait. Stop it.
func NewConsumer(nc *nats.Conn, region string, topology *stream.Topology, submit func(monitor.Due), log zerolog.Logger) *Consumer {
	c := &Consumer{nc: nc, region: region, topology: topology, submit: submit, log: log, group: lifecycle.NewGroup(context.Background())}
	c.group.Go(c.run)
	return c
}

// Live says whether checks are being taken. A subscription outlives its connection, and takes nothing meanwhile.
func (c *Consumer) Live() bool { return c.live.Load() && c.nc.IsConnected() }

// Stop takes no more.
func (c *Consumer) Stop(ctx context.Context) error { return c.group.Stop(ctx) }

// run takes checks until ctx ends, whatever happens to the broker.
func (c *Consumer) run(ctx context.Context) {
	for ctx.Err() == nil {
		err := c.consume(ctx)
		if ctx.Err() == nil && !errors.Is(err, nats.ErrConnectionClosed) && !errors.Is(err, nats.ErrNoResponders) {
			c.log.Debug().Err(err).Msg("taking checks again")
		}
		lifecycle.Wait(ctx, retryPause)
	}
}

func (c *Consumer) consume(ctx context.Context) error {
	consumer, err := c.ensure(ctx)
	if err != nil {
		return err
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(prefetch), jetstream.PullExpiry(pullExpiry), jetstream.PullHeartbeat(pullExpiry/4))
	if err != nil {
		return fmt.Errorf("pull: %w", err)
	}
	defer messages.Stop()
	defer context.AfterFunc(ctx, messages.Stop)()
	c.live.Store(true)
	defer c.live.Store(false)
	for {
		msg, err := messages.Next()
		if err != nil {
			return fmt.Errorf("next message: %w", err)
		}
		c.take(msg)
	}
}

// take acknowledges a check before it is made: it must not be made twice, and a slot that is lost with a process is missed.
func (c *Consumer) take(msg jetstream.Msg) {
	if err := msg.Ack(); err != nil {
		c.log.Debug().Err(err).Msg("acknowledge check")
	}
	due, err := decode(msg.Data())
	if err != nil {
		c.log.Error().Err(err).Str("subject", msg.Subject()).Msg("message is not one of ours; removed")
		return
	}
	due.Region, due.FiredAt = c.region, time.Now()
	if meta, err := msg.Metadata(); err == nil {
		due.FiredAt = meta.Timestamp
	}
	c.submit(due)
}

func (c *Consumer) ensure(ctx context.Context) (jetstream.Consumer, error) {
	ctx, cancel := context.WithTimeout(ctx, ensureLimit)
	defer cancel()
	return c.topology.Prober(ctx, c.region)
}
