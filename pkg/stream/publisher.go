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
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/trace"

	"github.com/beaconpost/beaconpost/pkg/telemetry"
	"github.com/beaconpost/beaconpost/proto/subject"
)

const (
	publishWindow  = 4096            // messages without an answer yet
	publishQueue   = 16384           // retries that wait for the window, and announcements
	publishDue     = 1 << 18         // deliveries of those announcements: some 20 MB
	publishTimeout = 4 * time.Second // without an answer by then: failed; less than a stop waits
	stallWait      = time.Second
)

// Publisher publishes due deliveries and retry schedules without making anybody wait. Whatever it cannot publish it counts and
// forgets: the row in Postgres is the outbox, and the reconciler publishes it. It is safe for concurrent use.
type Publisher struct {
	nc      *nats.Conn
	js      jetstream.JetStream
	log     zerolog.Logger
	tracer  *telemetry.Tracer
	spans   sync.Map // of *nats.Msg: the span of a message that the broker has not answered yet, if it has one
	queue   chan outgoing
	due     chan []DeliveryReady
	waiting atomic.Int64  // deliveries in due
	stopped chan struct{} // closed: no more queueing
	done    chan struct{} // closed: the publishing goroutine has ended
	once    sync.Once
	mu      sync.RWMutex // held for reading while queueing, so that Close sees every accepted message

	published, failed, skipped prometheus.Counter
}

// outgoing is a message with the deliveries that it tells of.
type outgoing struct {
	msg   *nats.Msg
	group []DeliveryReady
}

func publishMetrics(m *telemetry.Metrics) *prometheus.CounterVec {
	return m.Counters(telemetry.Metric{
		Name: "beaconpost_publish_messages_total", Labels: []string{"result"},
		Help:  "Messages for the broker by result: published (stored by the broker), failed, skipped (broker away or too slow; the reconciler publishes them).",
		Worry: "Skipped grows while the broker is up.",
	})
}

// DescribeMetrics makes those that a Publisher has.
func DescribeMetrics(m *telemetry.Metrics) {
	publishMetrics(m)
	(&Publisher{}).queues(m)
}

func (p *Publisher) queues(m *telemetry.Metrics) {
	m.Queues(
		telemetry.Queue{Name: "publish due", Most: publishDue, Len: func() int { return int(p.waiting.Load()) }},
		telemetry.Queue{Name: "publish retries", Most: publishQueue, Len: func() int { return len(p.queue) }},
	)
}

// NewPublisher starts a publisher on nc. Close it.
func NewPublisher(nc *nats.Conn, tel *telemetry.Telemetry) (*Publisher, error) {
	results, log := publishMetrics(tel.Metrics), tel.Log
	p := &Publisher{
		nc: nc, log: log, tracer: tel.Tracer,
		queue:   make(chan outgoing, publishQueue),
		due:     make(chan []DeliveryReady, publishQueue),
		stopped: make(chan struct{}),
		done:    make(chan struct{}),

		published: results.WithLabelValues("published"),
		failed:    results.WithLabelValues("failed"),
		skipped:   results.WithLabelValues("skipped"),
	}
	js, err := JetStream(nc,
		jetstream.WithPublishAsyncMaxPending(publishWindow),
		jetstream.WithPublishAsyncTimeout(publishTimeout),
		jetstream.WithPublishAsyncAckHandler(func(_ jetstream.JetStream, m *nats.Msg, _ *jetstream.PubAck) {
			p.published.Inc()
			p.answered(m, nil)
		}),
		jetstream.WithPublishAsyncErrHandler(func(_ jetstream.JetStream, m *nats.Msg, err error) {
			p.failed.Inc()
			p.answered(m, err)
			log.Debug().Err(err).Str("subject", m.Subject).Msg("publish failed")
		}),
	)
	if err != nil {
		return nil, err
	}
	p.js = js
	p.queues(tel.Metrics)
	go p.run()
	return p, nil
}

// Ready publishes that deliveries are due now, those of a shard together. It keeps due.
func (p *Publisher) Ready(due ...DeliveryReady) {
	if len(due) == 0 {
		return
	}
	if p.waiting.Add(int64(len(due))) <= publishDue && offer(p, p.due, due) {
		return
	}
	p.waiting.Add(-int64(len(due)))
	var g gatherer
	g.add(due)
	p.skipped.Add(float64(len(g.take(time.Now()))))
}

// Retry publishes the schedule that makes d due at d.Due.
func (p *Publisher) Retry(d DeliveryReady) {
	msg, err := retryMsg(d)
	if err != nil {
		p.broken(err)
		return
	}
	if !offer(p, p.queue, outgoing{msg, []DeliveryReady{d}}) {
		p.skipped.Inc()
	}
}

func (p *Publisher) broken(err error) {
	p.failed.Inc()
	p.log.Error().Err(err).Msg("message not published")
}

// offer queues item, or says that it cannot.
func offer[T any](p *Publisher, queue chan<- T, item T) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	select {
	case <-p.stopped:
		return false
	default:
	}
	// Not even whether the connection is there is asked: while the network takes nothing, that waits.
	select {
	case queue <- item:
		return true
	default:
		return false
	}
}

// run publishes until both queues are closed and empty.
func (p *Publisher) run() {
	defer close(p.done)
	var g gatherer
	company := time.NewTimer(0)
	defer company.Stop()
	queue, due := p.queue, p.due
	for queue != nil || due != nil {
		select {
		case out, ok := <-queue:
			if !ok {
				queue = nil
				continue
			}
			p.publish(out)
			continue
		case more, ok := <-due:
			if !ok {
				due = nil
				p.release(&g)
				continue
			}
			p.waiting.Add(-int64(len(more)))
			g.add(more)
		case <-company.C:
		}
		if wait := g.wait(time.Now()); wait > 0 {
			company.Reset(wait)
		} else {
			p.release(&g)
		}
	}
}

// release publishes what was gathered.
func (p *Publisher) release(g *gatherer) {
	if g.count == 0 {
		return
	}
	for _, group := range g.take(time.Now()) {
		if msg, err := readyMsg(group); err != nil {
			p.broken(err)
		} else {
			p.publish(outgoing{msg, group})
		}
	}
}

func (p *Publisher) publish(out outgoing) {
	if !p.nc.IsConnected() {
		p.skipped.Inc()
		return
	}
	if span := published(p.tracer, out.msg, out.group); span != nil {
		p.spans.Store(out.msg, span)
	}
	if _, err := p.js.PublishMsgAsync(out.msg, jetstream.WithStallWait(stallWait)); err != nil {
		p.skipped.Inc()
		p.answered(out.msg, err)
		if !errors.Is(err, nats.ErrReconnectBufExceeded) {
			p.log.Debug().Err(err).Msg("message not published")
		}
	}
}

// answered ends the span of a message, if it has one.
func (p *Publisher) answered(msg *nats.Msg, err error) {
	if !p.tracer.Exports() {
		return
	}
	if span, ok := p.spans.LoadAndDelete(msg); ok {
		settled(span.(trace.Span), err) //nolint:errcheck,forcetypeassert // nothing else is stored
	}
}

// Close publishes what is queued and waits for the broker's answers, at most until ctx ends. It does not close the connection.
func (p *Publisher) Close(ctx context.Context) error {
	p.once.Do(func() {
		p.mu.Lock()
		close(p.stopped)
		close(p.queue)
		close(p.due)
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
