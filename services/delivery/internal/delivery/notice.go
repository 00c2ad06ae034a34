package delivery

import (
	"github.com/google/uuid"

	"github.com/beaconpost/beaconpost/pkg/notice"
)

// ExhaustedNotice tells of a delivery that is exhausted by a result. There is none about a delivery of such an event.
func ExhaustedNotice(f Finished) (n notice.Notice, ok bool, err error) {
	if f.Outcome.Status != Exhausted || notice.AboutDelivery(f.Job.EventType) {
		return n, false, nil
	}
	n, err = notice.New(f.Job.Tenant, notice.DeliveryExhausted, f.Attempt.StartedAt.Add(f.Attempt.Duration), struct {
		Delivery   uuid.UUID  `json:"delivery_id"`
		Event      uuid.UUID  `json:"event_id"`
		EventType  string     `json:"event_type"`
		Endpoint   uuid.UUID  `json:"endpoint_id"`
		Attempts   int        `json:"attempts"`
		LastStatus int        `json:"last_status_code,omitempty"`
		LastClass  ErrorClass `json:"last_error_class,omitempty"`
	}{f.Job.ID, f.Job.EventID, f.Job.EventType, f.Job.Target.EndpointID, f.Attempt.Number, f.Attempt.StatusCode, f.Attempt.Class})
	n.About, n.Exhausted = f.Job.Target.EndpointID, f.Job.ID
	return n, err == nil, err
}
