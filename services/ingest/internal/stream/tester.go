package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"github.com/beaconpost/beaconpost/pkg/fault"
	"github.com/beaconpost/beaconpost/pkg/tenant"
	deliveryv1 "github.com/beaconpost/beaconpost/proto/beaconpost/delivery/v1"
	"github.com/beaconpost/beaconpost/proto/subject"
	"github.com/beaconpost/beaconpost/services/ingest/internal/endpoint"
)

// Tester asks a delivery service for test attempts.
type Tester struct {
	nc       *nats.Conn
	patience time.Duration
}

// NewTester makes a Tester that waits so long for an answer.
func NewTester(nc *nats.Conn, patience time.Duration) *Tester { return &Tester{nc, patience} }

// Test has an attempt made. Errors are faults.
func (t *Tester) Test(ctx context.Context, owner tenant.ID, id uuid.UUID, test endpoint.Test) (endpoint.Tested, error) {
	body, err := proto.Marshal(&deliveryv1.SendTestRequest{
		TenantId: owner[:], EndpointId: id[:], EventType: test.EventType, Payload: test.Payload, Traceparent: test.Traceparent,
	})
	if err != nil {
		return endpoint.Tested{}, fmt.Errorf("encode test request: %w", err)
	}
	if !t.nc.IsConnected() {
		return endpoint.Tested{}, fault.Unavailable(nats.ErrDisconnected, time.Second, "The broker is away, so no delivery service can be asked. Repeat the request.")
	}
	ctx, cancel := context.WithTimeout(ctx, t.patience)
	defer cancel()
	m, err := t.nc.RequestWithContext(ctx, subject.SendTest, body)
	if errors.Is(err, nats.ErrNoResponders) {
		return endpoint.Tested{}, fault.Unavailable(err, time.Second, "No delivery service is there to make the attempt. Repeat the request.")
	}
	if err != nil {
		return endpoint.Tested{}, fault.Unavailable(err, time.Second, "The delivery service did not answer. The attempt may have been made.")
	}
	var reply deliveryv1.SendTestReply
	if err := proto.Unmarshal(m.Data, &reply); err != nil {
		return endpoint.Tested{}, fmt.Errorf("decode test reply: %w", err)
	}
	return tested(&reply)
}

func tested(r *deliveryv1.SendTestReply) (endpoint.Tested, error) {
	switch r.GetRefused() {
	case deliveryv1.SendTestReply_REFUSED_UNSPECIFIED:
	case deliveryv1.SendTestReply_REFUSED_NOT_FOUND:
		return endpoint.Tested{}, fault.NotFound("endpoint_not_found", "There is no endpoint with this id.")
	case deliveryv1.SendTestReply_REFUSED_TENANT_BUSY:
		return endpoint.Tested{}, fault.TooManyRequests("too_many_tests", time.Second, "Too many tests of your endpoints are under way. Repeat the request when they are over.")
	case deliveryv1.SendTestReply_REFUSED_BUSY:
		return endpoint.Tested{}, fault.Unavailable(errors.New("too many tests"), time.Second, "Too many tests are under way. Repeat the request.")
	default:
		return endpoint.Tested{}, fault.Unavailable(errors.New("the delivery service could not make the attempt"), time.Second, "The attempt could not be made. Repeat the request.")
	}
	id, err := uuid.FromBytes(r.GetEventId())
	if err != nil {
		return endpoint.Tested{}, fmt.Errorf("decode test reply: event_id: %w", err)
	}
	out := endpoint.Tested{
		EventID: id, StatusCode: int(r.GetStatusCode()), ErrorClass: r.GetErrorClass(), ErrorDetail: r.GetErrorDetail(), Excerpt: r.GetResponseExcerpt(),
		Truncated: r.GetResponseTruncated(), StartedAt: time.UnixMicro(r.GetStartedUnixMicro()).UTC(), Duration: time.Duration(r.GetDurationMicro()) * time.Microsecond,
	}
	for _, p := range r.GetPhases() {
		out.Phases = append(out.Phases, endpoint.Phase{Name: p.GetName(), Took: time.Duration(p.GetDurationMicro()) * time.Microsecond})
	}
	return out, nil
}
