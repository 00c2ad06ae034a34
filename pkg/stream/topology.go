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

// The versions of what is declared here. A change of a declaration is a new version: the newest one that has been at the broker counts, whatever
// older processes of the same upgrade declare (docs/adr/0017-versions-of-streams.md). testdata/topology has every version that there was.
const (
	deliveriesVersion = 1
	checksVersion     = 1
)

// declaration is a stream and consumers of it as they are to be.
type declaration struct {
	version   int
	stream    jetstream.StreamConfig
	consumers []jetstream.ConsumerConfig
	// owned is what the names of consumers begin with that are removed if they are not declared; "": none is.
	owned string
}

func deliveries(replicas int) declaration {
	d := declaration{
		version: deliveriesVersion,
		stream: jetstream.StreamConfig{
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
		},
		owned: subject.DurablePrefix,
	}
	for shard := range subject.Shards {
		d.consumers = append(d.consumers, jetstream.ConsumerConfig{
			Durable:       subject.Durable(shard),
			FilterSubject: subject.Ready(shard),
			AckPolicy:     jetstream.AckExplicitPolicy,
			AckWait:       AckWait,
			MaxDeliver:    -1,
			MaxAckPending: maxAckPending,
			MaxWaiting:    512,
		})
	}
	return d
}

// checks has the consumers of the regions given. Other regions' are declared by their own probers.
func checks(replicas int, regions ...string) declaration {
	d := declaration{
		version: checksVersion,
		stream: jetstream.StreamConfig{
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
		},
	}
	for _, region := range regions {
		d.consumers = append(d.consumers, jetstream.ConsumerConfig{
			Durable:       subject.Prober(region),
			FilterSubject: subject.CheckDue(region),
			AckPolicy:     jetstream.AckExplicitPolicy,
			AckWait:       AckWait,
			MaxDeliver:    1, // a prober that dies with a check costs that slot
			MaxAckPending: maxAckPending,
			MaxWaiting:    512,
		})
	}
	return d
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
