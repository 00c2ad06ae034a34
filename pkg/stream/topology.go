package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/beaconpost/beaconpost/proto/subject"
)

const (
	// AckWait is how long the broker waits for a sign of life from the worker that holds a message.
	AckWait = 60 * time.Second
	// duplicateWindow is how long the broker remembers Nats-Msg-Ids: a reconciler that publishes what is still queued is dropped.
	duplicateWindow = 2 * time.Minute
	maxAckPending   = 4096
)

// EnsureDeliveries creates the delivery stream and its consumers, or brings them to the declared configuration. Replicas is the
// number of copies the broker keeps (1, 3 or 5). It may be called by any service at any time, for example after the broker
// lost its directory.
func EnsureDeliveries(ctx context.Context, js jetstream.JetStream, replicas int) error {
	s, err := js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name:              subject.StreamDeliveries,
		Description:       "Due deliveries and retry schedules. Disposable: rebuilt from Postgres.",
		Subjects:          []string{subject.ReadyAll, subject.RetryAll},
		Retention:         jetstream.WorkQueuePolicy,
		Storage:           jetstream.FileStorage,
		Replicas:          replicas,
		Discard:           jetstream.DiscardOld,
		Duplicates:        duplicateWindow,
		AllowMsgSchedules: true,
		AllowDirect:       true,
	})
	if err != nil {
		return fmt.Errorf("ensure stream %s: %w", subject.StreamDeliveries, err)
	}
	for shard := range subject.Shards {
		_, err := s.CreateOrUpdateConsumer(ctx, jetstream.ConsumerConfig{
			Durable:       subject.Durable(shard),
			FilterSubject: subject.Ready(shard),
			AckPolicy:     jetstream.AckExplicitPolicy,
			AckWait:       AckWait,
			MaxDeliver:    -1,
			MaxAckPending: maxAckPending,
			MaxWaiting:    512,
		})
		if err != nil {
			return fmt.Errorf("ensure consumer %s: %w", subject.Durable(shard), err)
		}
	}
	return nil
}

// CancelRetry removes the scheduled retry of a delivery, if there is one. A retry that fired already is not touched.
func CancelRetry(ctx context.Context, js jetstream.JetStream, m DeliveryReady) error {
	s, err := js.Stream(ctx, subject.StreamDeliveries)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look up stream: %w", err)
	}
	if err := s.Purge(ctx, jetstream.WithPurgeSubject(subject.Retry(m.DeliveryID))); err != nil {
		return fmt.Errorf("purge retry schedule: %w", err)
	}
	return nil
}

// EnsureChecks creates the stream of monitors' checks, or brings it to the declared configuration. It may be called by any service at any time.
func EnsureChecks(ctx context.Context, js jetstream.JetStream, replicas int) error {
	_, err := js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name:              subject.StreamChecks,
		Description:       "Schedules of monitors and checks that are due. Disposable: rebuilt from Postgres.",
		Subjects:          []string{subject.ScheduleAll, subject.ConfirmAll, subject.CheckDueAll},
		Retention:         jetstream.WorkQueuePolicy,
		Storage:           jetstream.FileStorage,
		Replicas:          replicas,
		Discard:           jetstream.DiscardOld,
		AllowMsgSchedules: true,
		AllowMsgTTL:       true,
		AllowDirect:       true,
	})
	if err != nil {
		return fmt.Errorf("ensure stream %s: %w", subject.StreamChecks, err)
	}
	return nil
}

// EnsureProber creates the consumer that the probers of a region share. A check is handed out once: a prober that dies with it costs that slot.
func EnsureProber(ctx context.Context, js jetstream.JetStream, region string) (jetstream.Consumer, error) {
	c, err := js.CreateOrUpdateConsumer(ctx, subject.StreamChecks, jetstream.ConsumerConfig{
		Durable:       subject.Prober(region),
		FilterSubject: subject.CheckDue(region),
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       AckWait,
		MaxDeliver:    1,
		MaxAckPending: maxAckPending,
		MaxWaiting:    512,
	})
	if err != nil {
		return nil, fmt.Errorf("ensure consumer %s: %w", subject.Prober(region), err)
	}
	return c, nil
}
