package httpapi

import (
	"context"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/beaconpost/beaconpost/pkg/telemetry"
)

type metrics struct {
	duration *prometheus.HistogramVec
	requests *prometheus.CounterVec
}

func newMetrics(m *telemetry.Metrics) *metrics {
	labels := []string{"method", "route", "status"}
	return &metrics{
		duration: m.Histograms(telemetry.Metric{
			Name: "beaconpost_http_request_duration_seconds", Labels: labels,
			Help:    "Time from reading a request's header to the end of its answer, by method, route template and status.",
			Worry:   "The share of 5xx or the p99 of a route grows.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}),
		requests: m.Counters(telemetry.Metric{
			Name: "beaconpost_http_requests_total", Labels: labels,
			Help: "Answered requests by method, route template and status.", Worry: "The share of 5xx grows.",
		}),
	}
}

// DescribeMetrics makes those that every API has.
func DescribeMetrics(m *telemetry.Metrics) { newMetrics(m) }

func (m *metrics) observe(ctx context.Context, method, route string, status int, elapsed time.Duration) {
	labels := [3]string{methodLabel(method), route, strconv.Itoa(status)}
	telemetry.Observe(ctx, m.duration.WithLabelValues(labels[:]...), elapsed.Seconds())
	m.requests.WithLabelValues(labels[:]...).Inc()
}

// methodLabel keeps invented methods from becoming series.
func methodLabel(method string) string {
	switch method {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS":
		return method
	}
	return "other"
}
