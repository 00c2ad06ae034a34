package postgres

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/beaconpost/beaconpost/pkg/telemetry"
	"github.com/beaconpost/beaconpost/services/ingest/internal/event"
)

// Metrics counts what the group commit does.
type Metrics struct {
	accepted, replayed, refused, deliveries, parked, routesLoaded prometheus.Counter

	flushSize, flushDuration, flushWait prometheus.Histogram
}

// NewMetrics makes what the group commit counts.
func NewMetrics(m *telemetry.Metrics) *Metrics {
	return &Metrics{
		accepted: m.Counter(telemetry.Metric{
			Name: "beaconpost_events_accepted_total", Help: "Events committed; each had its 202, or its producer left before it.", Worry: "It falls to 0 while producers send.",
		}),
		replayed: m.Counter(telemetry.Metric{Name: "beaconpost_events_replayed_total", Help: "Requests whose idempotency key had been used before."}),
		refused: m.Counter(telemetry.Metric{
			Name: "beaconpost_events_refused_total", Help: "Events answered 503 because the commit queue was full.", Worry: "It grows: Postgres is slow, or more comes than it can store.",
		}),
		deliveries: m.Counter(telemetry.Metric{Name: "beaconpost_deliveries_created_total", Help: "Deliveries committed together with their events."}),
		parked: m.Counter(telemetry.Metric{
			Name: "beaconpost_deliveries_created_parked_total", Help: "Deliveries that were parked as they were committed: their endpoint is disabled, broken, or has to catch up.",
			Worry: "It grows faster than beaconpost_deliveries_drained_total for long: they pile up.",
		}),
		routesLoaded: m.Counter(telemetry.Metric{Name: "beaconpost_routes_loaded_total", Help: "Times the routes of a tenant were read because they were not cached or out of date."}),
		flushSize: m.Histogram(telemetry.Metric{
			Name: "beaconpost_group_commit_events", Help: "Events per flush.", Buckets: prometheus.ExponentialBuckets(1, 2, 10),
		}),
		flushWait: m.Histogram(telemetry.Metric{
			Name: "beaconpost_group_commit_wait_seconds", Help: "How long the event of a flush that waited longest for it had waited.", Worry: "Its p99 is above a second.",
			Buckets: prometheus.ExponentialBuckets(.0001, 2, 16),
		}),
		flushDuration: m.Histogram(telemetry.Metric{
			Name: "beaconpost_group_commit_duration_seconds", Help: "Time of one flush.", Worry: "Its p99 is above half a second: Postgres is slow.", Buckets: prometheus.ExponentialBuckets(.0005, 2, 14),
		}),
	}
}

func (m *Metrics) flushed(items int, waited, d time.Duration) {
	m.flushWait.Observe(max(waited, 0).Seconds())
	m.flushSize.Observe(float64(items))
	m.flushDuration.Observe(d.Seconds())
}

func (m *Metrics) created(deliveries []event.Delivery) {
	m.deliveries.Add(float64(len(deliveries)))
	for i := range deliveries {
		if deliveries[i].DueAt.IsZero() {
			m.parked.Inc()
		}
	}
}
