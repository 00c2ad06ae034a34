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

// register panics if the metric cannot be: its name or labels are wrong, or it exists. That is a mistake in the program.
func (m *Metrics) register(c prometheus.Collector, kind string, what Metric) {
	m.reg.MustRegister(c)
	m.mu.Lock()
	defer m.mu.Unlock()
	what.Labels = append(slices.Sorted(maps.Keys(what.Const)), what.Labels...)
	m.families[what.Name] = Family{what, kind}
}

// Counter makes one.
func (m *Metrics) Counter(what Metric) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: what.Name, Help: what.Help, ConstLabels: what.Const})
	m.register(c, "counter", what)
	return c
}

// Counters makes a counter for each combination of values of its labels.
func (m *Metrics) Counters(what Metric) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: what.Name, Help: what.Help, ConstLabels: what.Const}, what.Labels)
	m.register(c, "counter", what)
	return c
}

// CounterOf makes one whose value is read when it is asked for.
func (m *Metrics) CounterOf(what Metric, read func() float64) {
	m.register(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: what.Name, Help: what.Help, ConstLabels: what.Const}, read), "counter", what)
}

// Gauge makes one.
func (m *Metrics) Gauge(what Metric) prometheus.Gauge {
	g := prometheus.NewGauge(prometheus.GaugeOpts{Name: what.Name, Help: what.Help, ConstLabels: what.Const})
	m.register(g, "gauge", what)
	return g
}

// Gauges makes a gauge for each combination of values of its labels.
func (m *Metrics) Gauges(what Metric) *prometheus.GaugeVec {
	g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: what.Name, Help: what.Help, ConstLabels: what.Const}, what.Labels)
	m.register(g, "gauge", what)
	return g
}

// GaugeOf makes one whose value is read when it is asked for. Several with the same name differ in Const.
func (m *Metrics) GaugeOf(what Metric, read func() float64) {
	m.register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: what.Name, Help: what.Help, ConstLabels: what.Const}, read), "gauge", what)
}

// Histogram makes one that has both forms: classic buckets, and native ones that grow by a tenth for whoever scrapes them.
func (m *Metrics) Histogram(what Metric) prometheus.Histogram {
	h := prometheus.NewHistogram(histogram(what))
	m.register(h, "histogram", what)
	return h
}

// Histograms makes a histogram for each combination of values of its labels.
func (m *Metrics) Histograms(what Metric) *prometheus.HistogramVec {
	h := prometheus.NewHistogramVec(histogram(what), what.Labels)
	m.register(h, "histogram", what)
	return h
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

// Sampled says whether the trace of ctx is exported.
func Sampled(ctx context.Context) bool { return trace.SpanContextFromContext(ctx).IsSampled() }
