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
	testsMost      = 64               // at the same time
	testsPerTenant = 4                // of these
	testLimit      = 30 * time.Second // of an attempt, whatever the endpoint's own; ingest waits for a little longer
	drainPoll      = 5 * time.Millisecond
)

// Tests answers requests for test attempts.
type Tests struct {
	tester *delivery.Tester
	log    zerolog.Logger
	slots  chan struct{}
	mu     sync.Mutex
	of     map[uuid.UUID]int // under way, by tenant
	all    sync.WaitGroup
	sub    *nats.Subscription
	ctx    context.Context
	cancel context.CancelFunc
}

// NewTests subscribes. Stop it.
func NewTests(nc *nats.Conn, tester *delivery.Tester, log zerolog.Logger) (*Tests, error) {
	t := &Tests{tester: tester, log: log, slots: make(chan struct{}, testsMost), of: map[uuid.UUID]int{}}
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
	defer context.AfterFunc(ctx, t.cancel)()
	// What has arrived is answered: whoever asked waits for it.
	if err := t.sub.Drain(); err != nil {
		t.log.Debug().Err(err).Msg("drain test requests")
	}
	for t.sub.IsValid() && ctx.Err() == nil {
		time.Sleep(drainPoll)
	}
	t.all.Wait()
	return nil
}

func (t *Tests) take(m *nats.Msg) {
	var r deliveryv1.SendTestRequest
	err := proto.Unmarshal(m.Data, &r)
	var owner, id uuid.UUID
	if err == nil {
		owner, err = uuid.FromBytes(r.GetTenantId())
	}
	if err == nil {
		id, err = uuid.FromBytes(r.GetEndpointId())
	}
	if err != nil {
		t.log.Error().Err(err).Msg("test request is not one of ours")
		t.refuse(m, deliveryv1.SendTestReply_REFUSED_FAILED)
		return
	}
	select {
	case t.slots <- struct{}{}:
	default:
		t.refuse(m, deliveryv1.SendTestReply_REFUSED_BUSY)
		return
	}
	if !t.begin(owner) {
		<-t.slots
		t.refuse(m, deliveryv1.SendTestReply_REFUSED_TENANT_BUSY)
		return
	}
	t.all.Go(func() {
		defer func() {
			t.end(owner)
			<-t.slots
		}()
		ctx, cancel := context.WithTimeout(t.ctx, testLimit+time.Second)
		defer cancel()
		t.reply(m, t.test(ctx, delivery.Ref{Tenant: tenant.ID(owner), ID: id}, &r))
	})
}

// begin counts a test of a tenant, unless it has enough: endpoints that hang are tested too.
func (t *Tests) begin(owner uuid.UUID) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.of[owner] >= testsPerTenant {
		return false
	}
	t.of[owner]++
	return true
}

func (t *Tests) end(owner uuid.UUID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.of[owner]--; t.of[owner] == 0 {
		delete(t.of, owner)
	}
}

func (t *Tests) refuse(m *nats.Msg, why deliveryv1.SendTestReply_Refused) {
	t.reply(m, &deliveryv1.SendTestReply{Refused: why})
}

func (t *Tests) test(ctx context.Context, endpoint delivery.Ref, r *deliveryv1.SendTestRequest) *deliveryv1.SendTestReply {
	tested, err := t.tester.Test(ctx, endpoint, delivery.TestEvent{
		Type: r.GetEventType(), Payload: r.GetPayload(), Traceparent: r.GetTraceparent(), Limit: testLimit,
	})
	if err != nil {
		t.log.Error().Err(err).Str("endpoint_id", endpoint.ID.String()).Msg("test attempt")
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
