// Package notice owns the events that Beaconpost makes itself: what a tenant is told about its own endpoints, deliveries and monitors. Their types, which
// producers cannot send, and the shape of their payload. Package pgnotice stores them.
package notice

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/beaconpost/beaconpost/pkg/tenant"
)

// The types about endpoints and deliveries.
const (
	EndpointFailing   = "endpoint.failing"   // its breaker opened, or it will be disabled if this goes on
	EndpointDisabled  = "endpoint.disabled"  // by a 410 or by uninterrupted failure
	EndpointRecovered = "endpoint.recovered" // what was parked is delivered
	DeliveryExhausted = "delivery.exhausted"
)

// The types about monitors.
const (
	MonitorDown                = "monitor.down"
	MonitorDegraded            = "monitor.degraded"
	MonitorUp                  = "monitor.up"
	MonitorCertificateExpiring = "monitor.certificate_expiring"
	HeartbeatMissed            = "heartbeat.missed"
	IncidentOpened             = "incident.opened"
	IncidentAcknowledged       = "incident.acknowledged"
	IncidentResolved           = "incident.resolved"
)

// Types lists them all.
func Types() []string {
	return []string{
		EndpointFailing, EndpointDisabled, EndpointRecovered, DeliveryExhausted,
		MonitorDown, MonitorDegraded, MonitorUp, MonitorCertificateExpiring, HeartbeatMissed, IncidentOpened, IncidentAcknowledged, IncidentResolved,
	}
}

// Reserved says whether events of a type are made by Beaconpost only.
func Reserved(eventType string) bool { return slices.Contains(Types(), eventType) }

// AboutDelivery says whether events of a type are about the delivery of events: nothing is told about their own deliveries, or there would be loops.
func AboutDelivery(eventType string) bool {
	return Reserved(eventType) && (strings.HasPrefix(eventType, "endpoint.") || strings.HasPrefix(eventType, "delivery."))
}

// Notice is such an event on its way to be stored.
type Notice struct {
	Tenant  tenant.ID
	ID      uuid.UUID // of the event
	Type    string
	Project uuid.UUID // whose endpoints get it, beside those without a project; uuid.Nil: only these
	// About is the endpoint that it is about, which does not get it; its project is the notice's. uuid.Nil: none.
	About uuid.UUID
	// Exhausted is the delivery of DeliveryExhausted; uuid.Nil: none. The notice is stored only if that became exhausted in the same transaction.
	Exhausted uuid.UUID
	Payload   []byte
}

// New makes a notice whose payload has the shape that Standard Webhooks recommends: type, timestamp, data.
func New(t tenant.ID, eventType string, at time.Time, data any) (Notice, error) {
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
	return Notice{Tenant: t, ID: id, Type: eventType, Payload: payload}, nil
}
