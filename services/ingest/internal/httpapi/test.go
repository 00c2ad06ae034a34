package httpapi

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/beaconpost/beaconpost/pkg/fault"
	"github.com/beaconpost/beaconpost/pkg/httpapi"
	"github.com/beaconpost/beaconpost/pkg/telemetry"
	"github.com/beaconpost/beaconpost/pkg/tenant"
	"github.com/beaconpost/beaconpost/services/ingest/internal/endpoint"
	"github.com/beaconpost/beaconpost/services/ingest/internal/event"
)

// Tester makes test attempts. Its errors are faults.
type Tester interface {
	Test(ctx context.Context, t tenant.ID, id uuid.UUID, test endpoint.Test) (endpoint.Tested, error)
}

const (
	testType    = "beaconpost.test"
	testPayload = `{"test":true,"message":"This is a test of your endpoint. It stands for no event."}`
)

type testInput struct {
	ID   uuid.UUID `path:"id" format:"uuid"`
	Body *struct {
		EventType string          `json:"event_type,omitempty" doc:"beaconpost.test unless given."`
		Payload   json.RawMessage `json:"payload,omitempty" doc:"Any JSON value; a sample unless given."`
	} `required:"false"`
}

type testView struct {
	EventID           uuid.UUID                   `json:"event_id" doc:"The webhook-id that was sent. There is no such event."`
	Delivered         bool                        `json:"delivered" doc:"The answer would have counted."`
	StatusCode        int                         `json:"status_code,omitempty" doc:"Absent: no answer."`
	ErrorClass        string                      `json:"error_class,omitempty" doc:"As in attempts."`
	ErrorDetail       string                      `json:"error_detail,omitempty"`
	StartedAt         time.Time                   `json:"started_at"`
	Duration          httpapi.Duration            `json:"duration"`
	Phases            map[string]httpapi.Duration `json:"phases" doc:"resolve, connect, handshake, send, wait (to the end of the answer's header), receive: those that there were; of a payload above 16 KiB wait holds send."`
	ResponseExcerpt   string                      `json:"response_excerpt,omitempty"`
	ResponseTruncated bool                        `json:"response_truncated,omitempty"`
}

func (h *Handlers) testEndpoint(ctx context.Context, in *testInput) (*struct{ Body testView }, error) {
	test := endpoint.Test{EventType: testType, Payload: []byte(testPayload), Traceparent: telemetry.Traceparent(ctx)}
	if in.Body != nil && in.Body.EventType != "" {
		test.EventType = in.Body.EventType
	}
	if in.Body != nil && len(in.Body.Payload) > 0 {
		test.Payload = in.Body.Payload
	}
	if err := event.CheckSendable(test.EventType); err != nil {
		return nil, err
	}
	if len(test.Payload) > h.MaxPayload {
		return nil, fault.TooLarge("payload_too_large", "payload", "The payload is larger than the installation permits.")
	}
	got, err := h.Tester.Test(ctx, httpapi.Tenant(ctx), in.ID, test)
	if err != nil {
		return nil, err
	}
	view := testView{
		EventID: got.EventID, StatusCode: got.StatusCode, ErrorClass: got.ErrorClass, ErrorDetail: got.ErrorDetail, StartedAt: got.StartedAt, Duration: httpapi.Duration(got.Duration),
		Delivered: got.ErrorClass == "" && got.StatusCode/100 == 2, Phases: map[string]httpapi.Duration{},
		ResponseExcerpt: strings.ToValidUTF8(string(got.Excerpt), "\uFFFD"), ResponseTruncated: got.Truncated,
	}
	for _, p := range got.Phases {
		view.Phases[p.Name] = httpapi.Duration(p.Took)
	}
	return &struct{ Body testView }{view}, nil
}
