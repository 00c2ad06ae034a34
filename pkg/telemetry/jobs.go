package telemetry

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Jobs counts and times the rounds of background work, as requests are.
type Jobs struct {
	duration *prometheus.HistogramVec
	failures *prometheus.CounterVec
}

// NewJobs makes the metrics of a service's background work.
func NewJobs(m *Metrics) *Jobs {
	return &Jobs{
		duration: m.Histograms(Metric{
			Name: "beaconpost_job_duration_seconds", Labels: []string{"doing"}, Help: "Time of one round of background work, by what it does; its count is how often it was done.",
			Worry: "The count of a job stops growing, or a round takes longer than lies between two of them.", Buckets: []float64{.001, .005, .025, .1, .5, 1, 5, 15, 60, 300},
		}),
		failures: m.Counters(Metric{Name: "beaconpost_job_failures_total", Labels: []string{"doing"}, Help: "Rounds of background work that failed. They are repeated.", Worry: "It grows."}),
	}
}

// Timed gives a round that is counted. What its own end cuts off has not failed.
func (j *Jobs) Timed(job string, round func(context.Context) (more bool, err error)) func(context.Context) (bool, error) {
	duration, failures := j.duration.WithLabelValues(job), j.failures.WithLabelValues(job)
	return func(ctx context.Context) (bool, error) {
		start := time.Now()
		more, err := round(ctx)
		if err != nil && context.Cause(ctx) != context.Canceled { //nolint:errorlint // a stop is this very error
			failures.Inc()
		}
		duration.Observe(time.Since(start).Seconds())
		return more, err
	}
}
