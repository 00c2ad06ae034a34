package httpapi

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	duration *prometheus.HistogramVec
	requests *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	labels := []string{"method", "route", "status"}
	return &metrics{
		duration: promauto.With(reg).NewHistogramVec(prometheus.HistogramOpts{
			Name:    "beaconpost_http_request_duration_seconds",
			Help:    "Time from reading a request's header to the end of its answer, by method, route template and status.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, labels),
		requests: promauto.With(reg).NewCounterVec(prometheus.CounterOpts{
			Name: "beaconpost_http_requests_total",
			Help: "Answered requests by method, route template and status.",
		}, labels),
	}
}

func (m *metrics) observe(method, route string, status int, elapsed time.Duration) {
	labels := [3]string{methodLabel(method), route, strconv.Itoa(status)}
	m.duration.WithLabelValues(labels[:]...).Observe(elapsed.Seconds())
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
