package stream

import (
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/trace"

	"github.com/beaconpost/beaconpost/pkg/stream"
	"github.com/beaconpost/beaconpost/services/delivery/internal/delivery"
)

// progressEvery is how often the broker is told at most that a message is worked on, however many of its tickets are.
const progressEvery = 10 * time.Second

// message is what the broker handed out. Its tickets share it: it is acknowledged when all of them are done, and handed out again when one
// was released; those that are done by then are found out of date. Answers to the broker that get lost do no harm for the same reason.
type message struct {
	msg         jetstream.Msg
	span        trace.Span // of the work on it; nil: nobody would see it
	redelivered bool
	left        atomic.Int32 // tickets that have not ended
	released    atomic.Bool  // one of them was released
	progress    atomic.Int64 // when the broker was told last, in nanoseconds since 1970
}

var _ delivery.Ticket = (*ticket)(nil)

// ticket is one delivery of a message.
type ticket struct {
	*message
	due stream.DeliveryReady
}

// tickets splits a message. The span ends with the last of them.
func tickets(msg jetstream.Msg, due []stream.DeliveryReady, span trace.Span) []delivery.Ticket {
	m := &message{msg: msg, span: span}
	meta, err := msg.Metadata()
	m.redelivered = err != nil || meta.NumDelivered > 1 // claiming is always right
	m.left.Store(int32(len(due)))                       //nolint:gosec // at most 64
	all, list := make([]ticket, len(due)), make([]delivery.Ticket, len(due))
	for i, d := range due {
		all[i] = ticket{m, d}
		list[i] = &all[i]
	}
	return list
}

// Request implements delivery.Ticket.
func (t *ticket) Request() delivery.Request {
	return delivery.Request{
		Ref:     delivery.Ref{Tenant: t.due.Tenant, ID: t.due.DeliveryID},
		Attempt: t.due.Attempt, Due: t.due.Due, MustClaim: t.due.MustClaim, Traceparent: t.due.Traceparent,
	}
}

// Redelivered is true too when the broker cannot say.
func (t *ticket) Redelivered() bool { return t.redelivered }

// InProgress implements delivery.Ticket.
func (t *ticket) InProgress() {
	now, last := time.Now().UnixNano(), t.progress.Load()
	if now-last >= int64(progressEvery) && t.progress.CompareAndSwap(last, now) {
		_ = t.msg.InProgress()
	}
}

// Done implements delivery.Ticket.
func (t *ticket) Done() {
	if t.left.Add(-1) == 0 {
		t.end()
	}
}

// Release implements delivery.Ticket.
func (t *ticket) Release() {
	t.released.Store(true)
	t.Done()
}

func (m *message) end() {
	if m.span != nil {
		m.span.End()
	}
	if m.released.Load() {
		_ = m.msg.NakWithDelay(releaseDelay)
		return
	}
	_ = m.msg.Ack()
}
