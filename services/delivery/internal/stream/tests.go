package stream

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
	"google.golang.org/protobuf/proto"

	"github.com/beaconpost/beaconpost/pkg/tenant"
	deliveryv1 "github.com/beaconpost/beaconpost/proto/beaconpost/delivery/v1"
	"github.com/beaconpost/beaconpost/proto/subject"
	"github.com/beaconpost/beaconpost/services/delivery/internal/delivery"
)

const (
	testsMost = 64              // at the same time
	testLimit = 2 * time.Minute // longer than any attempt may take
)

// Tests answers requests for test attempts.
type Tests struct {
	tester *delivery.Tester
	log    zerolog.Logger
	slots  chan struct{}
	all    sync.WaitGroup
	sub    *nats.Subscription
	ctx    context.Context
	cancel context.CancelFunc
}

// NewTests subscribes. Stop it.
func NewTests(nc *nats.Conn, tester *delivery.Tester, log zerolog.Logger) (*Tests, error) {
	t := &Tests{tester: tester, log: log, slots: make(chan struct{}, testsMost)}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	var err error
	if t.sub, err = nc.QueueSubscribe(subject.SendTest, subject.TestGroup, t.take); err != nil {
		t.cancel()
		return nil, fmt.Errorf("subscribe to test requests: %w", err)
	}
	return t, nil
}

// Stop takes no more and waits for those under way; when ctx ends they are cut.
func (t *Tests) Stop(ctx context.Context) error {
	defer t.cancel()
	if err := t.sub.Unsubscribe(); err != nil {
		t.log.Debug().Err(err).Msg("unsubscribe from test requests")
	}
	defer context.AfterFunc(ctx, t.cancel)()
	t.all.Wait()
	return nil
}

func (t *Tests) take(m *nats.Msg) {
	select {
	case t.slots <- struct{}{}:
	default:
		t.reply(m, &deliveryv1.SendTestReply{Refused: deliveryv1.SendTestReply_REFUSED_BUSY})
		return
	}
	t.all.Go(func() {
		defer func() { <-t.slots }()
		ctx, cancel := context.WithTimeout(t.ctx, testLimit)
		defer cancel()
		t.reply(m, t.test(ctx, m.Data))
	})
}

func (t *Tests) test(ctx context.Context, data []byte) *deliveryv1.SendTestReply {
	var r deliveryv1.SendTestRequest
	err := proto.Unmarshal(data, &r)
	var owner, id uuid.UUID
	if err == nil {
		owner, err = uuid.FromBytes(r.GetTenantId())
	}
	if err == nil {
		id, err = uuid.FromBytes(r.GetEndpointId())
	}
	var tested *delivery.Tested
	if err == nil {
		tested, err = t.tester.Test(ctx, delivery.Ref{Tenant: tenant.ID(owner), ID: id}, r.GetEventType(), r.GetPayload(), r.GetTraceparent())
	}
	if err != nil {
		t.log.Error().Err(err).Str("endpoint_id", id.String()).Msg("test attempt")
		return &deliveryv1.SendTestReply{Refused: deliveryv1.SendTestReply_REFUSED_FAILED}
	}
	if tested == nil {
		return &deliveryv1.SendTestReply{Refused: deliveryv1.SendTestReply_REFUSED_NOT_FOUND}
	}
	return replyOf(tested)
}

func replyOf(tested *delivery.Tested) *deliveryv1.SendTestReply {
	a := tested.Attempt
	reply := &deliveryv1.SendTestReply{
		EventId: tested.EventID[:], StatusCode: uint32(a.StatusCode), ErrorClass: string(a.Class), ErrorDetail: a.Detail, //nolint:gosec // three digits
		ResponseExcerpt: a.Excerpt, ResponseTruncated: a.Truncated, StartedUnixMicro: a.StartedAt.UnixMicro(), DurationMicro: a.Duration.Microseconds(),
	}
	for _, p := range tested.Phases {
		reply.Phases = append(reply.Phases, &deliveryv1.SendTestReply_Phase{Name: p.Name, DurationMicro: p.Took.Microseconds()})
	}
	return reply
}

func (t *Tests) reply(m *nats.Msg, reply *deliveryv1.SendTestReply) {
	body, err := proto.Marshal(reply)
	if err == nil {
		err = m.Respond(body)
	}
	if err != nil {
		t.log.Warn().Err(err).Msg("answer a test request")
	}
}
