package stream

import (
	"context"
	"time"

	"github.com/rs/zerolog"

	"github.com/beaconpost/beaconpost/pkg/stream"
	"github.com/beaconpost/beaconpost/services/delivery/internal/delivery"
)

var _ delivery.Scheduler = (*Scheduler)(nil)

// Scheduler publishes retries and requests that are due.
type Scheduler struct {
	publisher *stream.Publisher
	log       zerolog.Logger
}

const forgetLimit = time.Second

// NewScheduler makes a Scheduler on a publisher that its caller closes.
func NewScheduler(p *stream.Publisher, log zerolog.Logger) *Scheduler { return &Scheduler{p, log} }

// Schedule implements delivery.Scheduler: the broker makes r due at r.Due.
func (s *Scheduler) Schedule(r delivery.Request) { s.publisher.Retry(ready(r)) }

// Publish makes requests due now.
func (s *Scheduler) Publish(requests ...delivery.Request) {
	due := make([]stream.DeliveryReady, len(requests))
	for i, r := range requests {
		due[i] = ready(r)
	}
	s.publisher.Ready(due...)
}

// Forget removes the retry that is scheduled for a delivery, if it can be done within a second. One that fires nevertheless is out of date.
func (s *Scheduler) Forget(ctx context.Context, ref delivery.Ref) {
	if !s.publisher.Connected() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, forgetLimit)
	defer cancel()
	if err := s.publisher.CancelRetry(ctx, ready(delivery.Request{Ref: ref})); err != nil {
		s.log.Debug().Err(err).Str("delivery_id", ref.ID.String()).Msg("retry schedule was not removed")
	}
}

func ready(r delivery.Request) stream.DeliveryReady {
	return stream.DeliveryReady{
		Tenant: r.Tenant, DeliveryID: r.ID, Attempt: r.Attempt, Due: r.Due, MustClaim: r.MustClaim, Traceparent: r.Traceparent,
	}
}

var _ delivery.Broker = (*Scheduler)(nil)

// Connected implements delivery.Broker.
func (s *Scheduler) Connected() bool { return s.publisher.Connected() }

// Oldest implements delivery.Broker.
func (s *Scheduler) Oldest(ctx context.Context, shard int) (time.Time, error) {
	return s.publisher.OldestReady(ctx, shard)
}
