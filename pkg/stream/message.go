package stream

import (
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"github.com/beaconpost/beaconpost/pkg/tenant"
	deliveryv1 "github.com/beaconpost/beaconpost/proto/beaconpost/delivery/v1"
	"github.com/beaconpost/beaconpost/proto/subject"
)

const (
	headerMsgID          = "Nats-Msg-Id"
	headerSchedule       = "Nats-Schedule"
	headerScheduleTarget = "Nats-Schedule-Target"
	// groupMost is how many deliveries a message carries at most: what a batch gains is gained by then, and a message is done only when the
	// slowest of its deliveries is.
	groupMost = 64
)

// DeliveryReady says that an attempt of a delivery is due. See docs/architecture.md, "Which message may start an attempt".
type DeliveryReady struct {
	Tenant      tenant.ID
	DeliveryID  uuid.UUID
	Attempt     int       // from 1
	Due         time.Time // the row's next_attempt_at that this was published for, in whole microseconds
	MustClaim   bool      // another message for this attempt may exist
	Traceparent string    // W3C trace context
}

// readyMsg makes the message that is due now. The deliveries, of which there is at least one, are of one shard.
func readyMsg(group []DeliveryReady) (*nats.Msg, error) {
	body, err := encode(group)
	if err != nil {
		return nil, err
	}
	first := group[0]
	msg := &nats.Msg{Subject: subject.Ready(subject.Shard(first.Tenant.UUID())), Data: body, Header: nats.Header{}}
	id := subject.MessageID(first.DeliveryID, first.Attempt)
	if first.MustClaim {
		id = subject.RepeatID(first.DeliveryID, first.Attempt, first.Due)
	}
	msg.Header[headerMsgID] = []string{id}
	return msg, nil
}

// retryMsg makes the schedule that the broker turns into a due message at d.Due.
func retryMsg(d DeliveryReady) (*nats.Msg, error) {
	body, err := encode([]DeliveryReady{d})
	if err != nil {
		return nil, err
	}
	msg := &nats.Msg{Subject: subject.Retry(d.DeliveryID), Data: body, Header: nats.Header{}}
	// With fractions: a schedule cut to the second would fire early.
	msg.Header[headerSchedule] = []string{"@at " + d.Due.UTC().Format(time.RFC3339Nano)}
	msg.Header[headerScheduleTarget] = []string{subject.Ready(subject.Shard(d.Tenant.UUID()))}
	return msg, nil
}

func encode(group []DeliveryReady) ([]byte, error) {
	m := deliveryv1.DeliveriesReady{Deliveries: make([]*deliveryv1.DeliveryReady, len(group))}
	for i := range group {
		d := &group[i]
		m.Deliveries[i] = &deliveryv1.DeliveryReady{
			TenantId: d.Tenant[:], DeliveryId: d.DeliveryID[:], Attempt: uint32(d.Attempt), DueUnixMicro: d.Due.UnixMicro(), //nolint:gosec // attempts are counted from 1
			MustClaim: d.MustClaim, Traceparent: d.Traceparent,
		}
	}
	body, err := proto.Marshal(&m)
	if err != nil {
		return nil, fmt.Errorf("encode delivery message: %w", err)
	}
	return body, nil
}

// DecodeDeliveriesReady reads a message body; there is at least one delivery in it. Bytes that are not such a message are an error.
func DecodeDeliveriesReady(body []byte) ([]DeliveryReady, error) {
	var m deliveryv1.DeliveriesReady
	if err := proto.Unmarshal(body, &m); err != nil {
		return nil, fmt.Errorf("decode delivery message: %w", err)
	}
	if len(m.GetDeliveries()) == 0 {
		return nil, errors.New("decode delivery message: no deliveries, expected 1 or more")
	}
	group := make([]DeliveryReady, len(m.GetDeliveries()))
	for i, d := range m.GetDeliveries() {
		var err error
		if group[i], err = decodeOne(d); err != nil {
			return nil, fmt.Errorf("decode delivery message: deliveries[%d].%w", i, err)
		}
	}
	return group, nil
}

func decodeOne(m *deliveryv1.DeliveryReady) (DeliveryReady, error) {
	t, err := uuid.FromBytes(m.GetTenantId())
	if err != nil {
		return DeliveryReady{}, fmt.Errorf("tenant_id: %w", err)
	}
	id, err := uuid.FromBytes(m.GetDeliveryId())
	if err != nil {
		return DeliveryReady{}, fmt.Errorf("delivery_id: %w", err)
	}
	if m.GetAttempt() == 0 || m.GetAttempt() > 1<<20 {
		return DeliveryReady{}, fmt.Errorf("attempt %d: expected 1 or more", m.GetAttempt())
	}
	return DeliveryReady{
		Tenant: tenant.ID(t), DeliveryID: id, Attempt: int(m.GetAttempt()),
		Due: time.UnixMicro(m.GetDueUnixMicro()), MustClaim: m.GetMustClaim(), Traceparent: m.GetTraceparent(),
	}, nil
}
