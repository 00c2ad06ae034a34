package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Queue is where work waits for its turn.
type Queue struct {
	Name string
	Most int // what it takes
	Len  func() int
}

// Queues shows how full queues are.
func (m *Metrics) Queues(list ...Queue) {
	for _, q := range list {
		labels := prometheus.Labels{"queue": q.Name}
		m.GaugeOf(Metric{
			Name: "beaconpost_queue_length", Const: labels, Help: "What waits in a queue of the process, by queue.", Worry: "It stays near beaconpost_queue_length_max: what comes is refused or left to the reconciler.",
		}, func() float64 { return float64(q.Len()) })
		m.GaugeOf(Metric{Name: "beaconpost_queue_length_max", Const: labels, Help: "The bound of beaconpost_queue_length."}, func() float64 { return float64(q.Most) })
	}
}

// Batches counts and times work that is done for many at once.
type Batches struct{ duration, items *prometheus.HistogramVec }

// NewBatches makes the metrics of a service's batches.
func NewBatches(m *Metrics) *Batches {
	return &Batches{
		duration: m.Histograms(Metric{
			Name: "beaconpost_batch_duration_seconds", Labels: []string{"doing"}, Help: "Time of one batch in the database, repetitions while it is away included, by what it does.", Worry: "Its p99 is above a second: Postgres is slow.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10, 60},
		}),
		items: m.Histograms(Metric{Name: "beaconpost_batch_items", Labels: []string{"doing"}, Help: "How many were done in one batch, by what it does.", Buckets: prometheus.ExponentialBuckets(1, 2, 10)}),
	}
}

// Done notes a batch that has ended.
func (b *Batches) Done(doing string, items int, took time.Duration) {
	b.duration.WithLabelValues(doing).Observe(took.Seconds())
	b.items.WithLabelValues(doing).Observe(float64(items))
}
