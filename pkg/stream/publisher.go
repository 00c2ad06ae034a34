package stream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/rs/zerolog"

	"github.com/beaconpost/beaconpost/proto/subject"
)

const (
	publishWindow  = 4096             // messages without an answer yet
	publishQueue   = 16384            // messages waiting for the window
	publishTimeout = 10 * time.Second // without an answer by then: failed
	stallWait      = time.Second
)

// Publisher publishes due deliveries and retry schedules without making anybody wait. Whatever it cannot publish it counts and
// forgets: the row in Postgres is the outbox, and the reconciler publishes it. It is safe for concurrent use.
type Publisher struct {
	nc      *nats.Conn
	js      jetstream.JetStream
	log     zerolog.Logger
	queue   chan *nats.Msg
	stopped chan struct{} // closed: no more queueing
	done    chan struct{} // closed: the publishing goroutine has ended
	once    sync.Once
	mu      sync.RWMutex // held for reading while queueing, so that Close sees every accepted message

	published, failed, skipped prometheus.Counter
}

// NewPublisher starts a publisher on nc. Close it.
func NewPublisher(nc *nats.Conn, reg prometheus.Registerer, log zerolog.Logger) (*Publisher, error) {
	results := promauto.With(reg).NewCounterVec(prometheus.CounterOpts{
		Name: "beaconpost_publish_messages_total",
		Help: "Messages for the broker by result: published (stored by the broker), failed, skipped (broker away or too slow; the reconciler publishes them).",
	}, []string{"result"})
	p := &Publisher{
		nc: nc, log: log,
		queue:   make(chan *nats.Msg, publishQueue),
		stopped: make(chan struct{}),
		done:    make(chan struct{}),

		published: results.WithLabelValues("published"),
		failed:    results.WithLabelValues("failed"),
		skipped:   results.WithLabelValues("skipped"),
	}
	js, err := JetStream(nc,
		jetstream.WithPublishAsyncMaxPending(publishWindow),
		jetstream.WithPublishAsyncTimeout(publishTimeout),
		jetstream.WithPublishAsyncAckHandler(func(jetstream.JetStream, *nats.Msg, *jetstream.PubAck) { p.published.Inc() }),
		jetstream.WithPublishAsyncErrHandler(func(_ jetstream.JetStream, m *nats.Msg, err error) {
			p.failed.Inc()
			log.Debug().Err(err).Str("subject", m.Subject).Msg("publish failed")
		}),
	)
	if err != nil {
		return nil, err
	}
	p.js = js
	go p.run()
	return p, nil
}

// Ready publishes that deliveries are due now, those of a shard together.
func (p *Publisher) Ready(due ...DeliveryReady) {
	var shards [subject.Shards][]DeliveryReady
	for _, d := range due {
		shard := subject.Shard(d.Tenant.UUID())
		shards[shard] = append(shards[shard], d)
	}
	for _, group := range shards {
		for part := range slices.Chunk(group, groupMost) {
			p.offer(readyMsg(part))
		}
	}
}

// Retry publishes the schedule that makes d due at d.Due.
func (p *Publisher) Retry(d DeliveryReady) { p.offer(retryMsg(d)) }

func (p *Publisher) offer(msg *nats.Msg, err error) {
	if err != nil {
		p.failed.Inc()
		p.log.Error().Err(err).Msg("message not published")
		return
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	select {
	case <-p.stopped:
		p.skipped.Inc()
		return
	default:
	}
	// Not even whether the connection is there is asked: while the network takes nothing, that waits.
	select {
	case p.queue <- msg:
	default:
		p.skipped.Inc()
	}
}

func (p *Publisher) run() {
	defer close(p.done)
	for msg := range p.queue {
		if !p.nc.IsConnected() {
			p.skipped.Inc()
			continue
		}
		if _, err := p.js.PublishMsgAsync(msg, jetstream.WithStallWait(stallWait)); err != nil {
			p.skipped.Inc()
			if !errors.Is(err, nats.ErrReconnectBufExceeded) {
				p.log.Debug().Err(err).Msg("message not published")
			}
		}
	}
}

// Close publishes what is queued and waits for the broker's answers, at most until ctx ends. It does not close the connection.
func (p *Publisher) Close(ctx context.Context) error {
	p.once.Do(func() {
		p.mu.Lock()
		close(p.stopped)
		close(p.queue)
		p.mu.Unlock()
	})
	select {
	case <-p.done:
	case <-ctx.Done():
		return fmt.Errorf("publish queued messages: %w", ctx.Err())
	}
	if !p.nc.IsConnected() {
		p.js.CleanupPublisher()
		return nil
	}
	select {
	case <-p.js.PublishAsyncComplete():
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the broker's answers: %w", ctx.Err())
	}
}

// Connected says whether the broker can be reached now.
func (p *Publisher) Connected() bool { return p.nc.IsConnected() }

// CancelRetry removes the scheduled retry of a delivery; see the function of that name.
func (p *Publisher) CancelRetry(ctx context.Context, d DeliveryReady) error {
	return CancelRetry(ctx, p.js, d)
}

// OldestReady says when the oldest message of a shard that is not acknowledged was published; the zero time if there is none.
func (p *Publisher) OldestReady(ctx context.Context, shard int) (time.Time, error) {
	s, err := p.js.Stream(ctx, subject.StreamDeliveries)
	if err != nil {
		return time.Time{}, fmt.Errorf("look up stream: %w", err)
	}
	msg, err := s.GetMsg(ctx, 1, jetstream.WithGetMsgSubject(subject.Ready(shard)))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("look up oldest message: %w", err)
	}
	return msg.Time, nil
}
