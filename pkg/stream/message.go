package stream

import (
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
	headerTraceparent    = "traceparent"
)

// DeliveryReady says that an attempt of a delivery is due. See docs/architecture.md, "Which message may start an attempt".
type DeliveryReady struct {
	Tenant      tenant.ID
	DeliveryID  uuid.UUID
	Attempt     int       // from 1
	Due         time.Time // the row's next_attempt_at that this was published for, in whole microseconds
	MustClaim   bool      // another message for this attempt may exist
	Traceparent string    // W3C trace context, travels as a header
}

// readyMsg makes the message that is due now.
func (d DeliveryReady) readyMsg() (*nats.Msg, error) {
	body, err := d.encode()
	if err != nil {
		return nil, err
	}
	msg := &nats.Msg{Subject: subject.Ready(subject.Shard(d.Tenant.UUID())), Data: body, Header: nats.Header{}}
	id := subject.MessageID(d.DeliveryID, d.Attempt)
	if d.MustClaim {
		id = subject.RepeatID(d.DeliveryID, d.Attempt, d.Due)
	}
	msg.Header[headerMsgID] = []string{id}
	d.setTrace(msg)
	return msg, nil
}

// retryMsg makes the schedule that the broker turns into a due message at d.Due.
func (d DeliveryReady) retryMsg() (*nats.Msg, error) {
	body, err := d.encode()
	if err != nil {
		return nil, err
	}
	msg := &nats.Msg{Subject: subject.Retry(d.DeliveryID), Data: body, Header: nats.Header{}}
	// With fractions: a schedule cut to the second would fire early.
	msg.Header[headerSchedule] = []string{"@at " + d.Due.UTC().Format(time.RFC3339Nano)}
	msg.Header[headerScheduleTarget] = []string{subject.Ready(subject.Shard(d.Tenant.UUID()))}
	d.setTrace(msg)
	return msg, nil
}

func (d DeliveryReady) setTrace(msg *nats.Msg) {
	if d.Traceparent != "" {
		msg.Header[headerTraceparent] = []string{d.Traceparent}
	}
}

func (d DeliveryReady) encode() ([]byte, error) {
	t, id := d.Tenant.UUID(), d.DeliveryID
	body, err := proto.Marshal(&deliveryv1.DeliveryReady{
		TenantId: t[:], DeliveryId: id[:], Attempt: uint32(d.Attempt), DueUnixMicro: d.Due.UnixMicro(), MustClaim: d.MustClaim, //nolint:gosec // attempts are counted from 1
	})
	if err != nil {
		return nil, fmt.Errorf("encode delivery message: %w", err)
	}
	return body, nil
}

// DecodeDeliveryReady reads a message body and its headers. Bytes that are not such a message are an error.
func DecodeDeliveryReady(body []byte, header nats.Header) (DeliveryReady, error) {
	var m deliveryv1.DeliveryReady
	if err := proto.Unmarshal(body, &m); err != nil {
		return DeliveryReady{}, fmt.Errorf("decode delivery message: %w", err)
	}
	t, err := uuid.FromBytes(m.GetTenantId())
	if err != nil {
		return DeliveryReady{}, fmt.Errorf("decode delivery message: tenant_id: %w", err)
	}
	id, err := uuid.FromBytes(m.GetDeliveryId())
	if err != nil {
		return DeliveryReady{}, fmt.Errorf("decode delivery message: delivery_id: %w", err)
	}
	if m.GetAttempt() == 0 || m.GetAttempt() > 1<<20 {
		return DeliveryReady{}, fmt.Errorf("decode delivery message: attempt %d, expected 1 or more", m.GetAttempt())
	}
	return DeliveryReady{
		Tenant: tenant.ID(t), DeliveryID: id, Attempt: int(m.GetAttempt()),
		Due: time.UnixMicro(m.GetDueUnixMicro()), MustClaim: m.GetMustClaim(), Traceparent: header.Get(headerTraceparent),
	}, nil
}
