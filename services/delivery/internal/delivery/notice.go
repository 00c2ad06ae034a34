package delivery

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/beaconpost/beaconpost/pkg/tenant"
)

// The types of operational events: what a tenant is told about its own endpoints and deliveries. Producers cannot send these.
const (
	EndpointFailing   = "endpoint.failing"   // its breaker opened, or it will be disabled if this goes on
	EndpointDisabled  = "endpoint.disabled"  // by a 410 or by uninterrupted failure
	EndpointRecovered = "endpoint.recovered" // what was parked is delivered
	DeliveryExhausted = "delivery.exhausted"
)

// IsOperational says whether events of a type are about events: nothing is told about their deliveries.
func IsOperational(eventType string) bool {
	switch eventType {
	case EndpointFailing, EndpointDisabled, EndpointRecovered, DeliveryExhausted:
		return true
	}
	return false
}

// Notice is an operational event on its way to be stored.
type Notice struct {
	Tenant   tenant.ID
	ID       uuid.UUID // of the event
	Type     string
	About    uuid.UUID // endpoint, which does not get it
	Delivery uuid.UUID // of delivery.exhausted
	Payload  []byte
}

// NewNotice makes a notice whose payload has the shape that Standard Webhooks recommends: type, timestamp, data.
func NewNotice(t tenant.ID, eventType string, about uuid.UUID, at time.Time, data any) (Notice, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return Notice{}, fmt.Errorf("make event id: %w", err)
	}
	payload, err := json.Marshal(struct {
		Type      string    `json:"type"`
		Timestamp time.Time `json:"timestamp"`
		Data      any       `json:"data"`
	}{eventType, at.UTC(), data})
	if err != nil {
		return Notice{}, fmt.Errorf("encode %s: %w", eventType, err)
	}
	return Notice{Tenant: t, ID: id, Type: eventType, About: about, Payload: payload}, nil
}

// ExhaustedNotice tells of a delivery that is exhausted by a result. There is none about a delivery of such an event.
func ExhaustedNotice(f Finished) (n Notice, ok bool, err error) {
	if f.Outcome.Status != Exhausted || IsOperational(f.Job.EventType) {
		return n, false, nil
	}
	n, err = NewNotice(f.Job.Tenant, DeliveryExhausted, f.Job.Target.EndpointID, f.Attempt.StartedAt.Add(f.Attempt.Duration), struct {
		Delivery   uuid.UUID  `json:"delivery_id"`
		Event      uuid.UUID  `json:"event_id"`
		EventType  string     `json:"event_type"`
		Endpoint   uuid.UUID  `json:"endpoint_id"`
		Attempts   int        `json:"attempts"`
		LastStatus int        `json:"last_status_code,omitempty"`
		LastClass  ErrorClass `json:"last_error_class,omitempty"`
	}{f.Job.ID, f.Job.EventID, f.Job.EventType, f.Job.Target.EndpointID, f.Attempt.Number, f.Attempt.StatusCode, f.Attempt.Class})
	n.Delivery = f.Job.ID
	return n, err == nil, err
}
