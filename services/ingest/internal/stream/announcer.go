// Package stream announces ingest's deliveries to the broker.
package stream

import (
	"github.com/beaconpost/beaconpost/pkg/stream"
	"github.com/beaconpost/beaconpost/services/ingest/internal/event"
)

var _ event.Announcer = (*Announcer)(nil)

// Announcer publishes deliveries that were committed together as few messages.
type Announcer struct{ publisher *stream.Publisher }

// NewAnnouncer makes an Announcer on a publisher that its caller closes.
func NewAnnouncer(p *stream.Publisher) *Announcer { return &Announcer{p} }

// Announce queues the first attempt of each delivery for publishing. It never waits.
func (a *Announcer) Announce(deliveries []event.Delivery) {
	due := make([]stream.DeliveryReady, len(deliveries))
	for i := range deliveries {
		d := &deliveries[i]
		due[i] = stream.DeliveryReady{Tenant: d.Tenant, DeliveryID: d.ID, Attempt: 1, Due: d.DueAt, Traceparent: d.Traceparent}
	}
	a.publisher.Ready(due...)
}
