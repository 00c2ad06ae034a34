package postgres

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Metrics counts what the group commit does.
type Metrics struct {
	accepted, replayed, refused, deliveries, routesLoaded prometheus.Counter

	flushSize, flushDuration prometheus.Histogram
}

// NewMetrics registers what the group commit counts.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	f := promauto.With(reg)
	return &Metrics{
		accepted:     f.NewCounter(prometheus.CounterOpts{Name: "beaconpost_events_accepted_total", Help: "Events committed; each had its 202, or its producer left before it."}),
		replayed:     f.NewCounter(prometheus.CounterOpts{Name: "beaconpost_events_replayed_total", Help: "Requests whose idempotency key had been used before."}),
		refused:      f.NewCounter(prometheus.CounterOpts{Name: "beaconpost_events_refused_total", Help: "Events answered 503 because the commit queue was full."}),
		deliveries:   f.NewCounter(prometheus.CounterOpts{Name: "beaconpost_deliveries_created_total", Help: "Deliveries committed together with their events."}),
		routesLoaded: f.NewCounter(prometheus.CounterOpts{Name: "beaconpost_routes_loaded_total", Help: "Times the routes of a tenant were read because they were not cached or out of date."}),
		flushSize: f.NewHistogram(prometheus.HistogramOpts{
			Name: "beaconpost_group_commit_events", Help: "Events per flush.", Buckets: prometheus.ExponentialBuckets(1, 2, 10),
		}),
		flushDuration: f.NewHistogram(prometheus.HistogramOpts{
			Name: "beaconpost_group_commit_duration_seconds", Help: "Time of one flush.", Buckets: prometheus.ExponentialBuckets(.0005, 2, 14),
		}),
	}
}

func (m *Metrics) flushed(items int, d time.Duration) {
	m.flushSize.Observe(float64(items))
	m.flushDuration.Observe(d.Seconds())
}
