package telemetry

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
)

// Metric describes one. Names follow Prometheus: a unit, _total for counters. Labels have few values that are known beforehand: no tenant, endpoint or monitor.
type Metric struct {
	Name    string
	Help    string   // what it is
	Worry   string   // when an operator should look; "": it explains others
	Labels  []string // of a vector
	Const   prometheus.Labels
	Buckets []float64 // of a histogram's classic form; native ones have their own
}

// Family is a metric as docs/metrics.md lists it.
type Family struct {
	Metric
	Type string // counter, gauge or histogram
}

// Metrics makes a service's metrics, and remembers what they are.
type Metrics struct {
	reg prometheus.Registerer

	mu       sync.Mutex
	families map[string]Family
}

// NewMetrics makes metrics that are registered with reg.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	return &Metrics{reg: reg, families: map[string]Family{}}
}

// Families lists those that were made, by name.
func (m *Metrics) Families() []Family {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.SortedFunc(maps.Values(m.families), func(a, b Family) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
}

// made registers a metric and gives it. It panics if the metric cannot be: its name or labels are wrong, or it exists. That is a mistake in the program.
func made[T prometheus.Collector](m *Metrics, kind string, what Metric, c T) T {
	m.reg.MustRegister(c)
	m.mu.Lock()
	defer m.mu.Unlock()
	what.Labels = append(slices.Sorted(maps.Keys(what.Const)), what.Labels...)
	m.families[what.Name] = Family{what, kind}
	return c
}

func (w *Metric) opts() prometheus.Opts {
	return prometheus.Opts{Name: w.Name, Help: w.Help, ConstLabels: w.Const}
}

// Counter makes one.
func (m *Metrics) Counter(what Metric) prometheus.Counter {
	return made(m, "counter", what, prometheus.NewCounter(prometheus.CounterOpts(what.opts())))
}

// Counters makes a counter for each combination of values of its labels.
func (m *Metrics) Counters(what Metric) *prometheus.CounterVec {
	return made(m, "counter", what, prometheus.NewCounterVec(prometheus.CounterOpts(what.opts()), what.Labels))
}

// CounterOf makes one whose value is read when it is asked for.
func (m *Metrics) CounterOf(what Metric, read func() float64) {
	made(m, "counter", what, prometheus.NewCounterFunc(prometheus.CounterOpts(what.opts()), read))
}

// Gauge makes one.
func (m *Metrics) Gauge(what Metric) prometheus.Gauge {
	return made(m, "gauge", what, prometheus.NewGauge(prometheus.GaugeOpts(what.opts())))
}

// Gauges makes a gauge for each combination of values of its labels.
func (m *Metrics) Gauges(what Metric) *prometheus.GaugeVec {
	return made(m, "gauge", what, prometheus.NewGaugeVec(prometheus.GaugeOpts(what.opts()), what.Labels))
}

// GaugeOf makes one whose value is read when it is asked for. Several with the same name differ in Const.
func (m *Metrics) GaugeOf(what Metric, read func() float64) {
	made(m, "gauge", what, prometheus.NewGaugeFunc(prometheus.GaugeOpts(what.opts()), read))
}

// Histogram makes one that has both forms: classic buckets, and native ones that grow by a tenth for whoever scrapes them.
func (m *Metrics) Histogram(what Metric) prometheus.Histogram {
	return made(m, "histogram", what, prometheus.NewHistogram(histogram(what)))
}

// Histograms makes a histogram for each combination of values of its labels.
func (m *Metrics) Histograms(what Metric) *prometheus.HistogramVec {
	return made(m, "histogram", what, prometheus.NewHistogramVec(histogram(what), what.Labels))
}

const (
	nativeFactor  = 1.1
	nativeBuckets = 100
	nativeReset   = time.Hour // of one that has had to become coarser
)

func histogram(what Metric) prometheus.HistogramOpts {
	return prometheus.HistogramOpts{
		Name: what.Name, Help: what.Help, ConstLabels: what.Const, Buckets: what.Buckets,
		NativeHistogramBucketFactor: nativeFactor, NativeHistogramMaxBucketNumber: nativeBuckets, NativeHistogramMinResetDuration: nativeReset,
	}
}

// Observe adds a value, with the trace of ctx as an exemplar if that is exported.
func Observe(ctx context.Context, to prometheus.Observer, value float64) {
	if sc := trace.SpanContextFromContext(ctx); sc.IsSampled() {
		ObserveIn(sc.TraceID().String(), true, to, value)
		return
	}
	to.Observe(value)
}

// ObserveIn is Observe for a trace whose context is gone.
func ObserveIn(traceID string, sampled bool, to prometheus.Observer, value float64) {
	if with, ok := to.(prometheus.ExemplarObserver); ok && sampled {
		with.ObserveWithExemplar(value, prometheus.Labels{"trace_id": traceID})
		return
	}
	to.Observe(value)
}
