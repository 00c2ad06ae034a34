package telemetry

import (
	"context"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"golang.org/x/time/rate"
)

// exports says what became of exports that failed. Left to the SDK, each would be a line of plain text among those of JSON, by way of a global.
type exports struct {
	log     zerolog.Logger
	failed  *prometheus.CounterVec
	told    map[string]*rate.Sometimes // by signal: lines of the log
	dropped prometheus.Counter
	to      OTLP
}

const (
	tellEvery   = 10 * time.Second // a collector may be away for hours, and batches come many a second
	saidMost    = 500              // bytes of an error: it has all that the collector said
	hiddenLeast = 5                // bytes of a header's word that is no secret
)

const (
	signalTraces  = "traces"
	signalMetrics = "metrics"
)

func newExports(m *Metrics, log zerolog.Logger, to OTLP) *exports {
	failed := m.Counters(Metric{
		Name: "beaconpost_telemetry_exports_failed_total", Labels: []string{"signal"}, Help: "Batches of traces or metrics that the collector did not get. They are lost.", Worry: "It grows.",
	})
	told := map[string]*rate.Sometimes{}
	for _, signal := range []string{signalTraces, signalMetrics} {
		failed.WithLabelValues(signal)
		told[signal] = &rate.Sometimes{Interval: tellEvery}
	}
	return &exports{log: log, failed: failed, told: told, to: to, dropped: m.Counter(Metric{
		Name: "beaconpost_telemetry_spans_dropped_total", Help: "Spans that were not exported because 2,048 waited already.", Worry: "It grows: the collector is slow or away. Nothing else is late for it.",
	})}
}

func (e *exports) ended(signal string, err error) {
	if err == nil || e == nil {
		return
	}
	e.failed.WithLabelValues(signal).Inc()
	e.told[signal].Do(func() {
		e.log.Warn().Str("error", e.to.hide(err.Error())).Str("signal", signal).Msg("the collector was not reached")
	})
}

// hide takes out of what an export failed with what is not for logs: the path of the URL and the headers, which have the keys of hosted collectors. A collector
// may say a header again.
func (o OTLP) hide(text string) string {
	if u, err := url.Parse(o.Endpoint); err == nil && strings.Trim(u.Path, "/") != "" {
		path := strings.TrimRight(u.Path, "/")
		text = strings.NewReplacer(path, "/…", (&url.URL{Path: path}).String(), "/…").Replace(text)
	}
	for _, value := range o.Header {
		for _, secret := range append(strings.Fields(value), value) { // Bearer …
			if len(secret) > hiddenLeast {
				text = strings.ReplaceAll(text, secret, "…")
			}
		}
	}
	if len(text) > saidMost {
		text = strings.ToValidUTF8(text[:saidMost], "") + "…"
	}
	return text
}

// spansMost is how many spans wait for the collector, those under way to it included.
const spansMost = 2048

// spanQueue bounds what waits. The SDK's queue does too, and says nothing of what it drops.
type spanQueue struct {
	sdktrace.SpanProcessor
	*exports
	waits *atomic.Int64
}

func newSpanQueue(to sdktrace.SpanExporter, e *exports) sdktrace.SpanProcessor {
	waits := &atomic.Int64{}
	return spanQueue{sdktrace.NewBatchSpanProcessor(spanExports{to, e, waits}, sdktrace.WithBatchTimeout(time.Second), sdktrace.WithMaxQueueSize(spansMost)), e, waits}
}

// OnEnd implements sdktrace.SpanProcessor.
func (q spanQueue) OnEnd(span sdktrace.ReadOnlySpan) {
	if q.waits.Add(1) > spansMost {
		q.waits.Add(-1)
		q.dropped.Inc()
		return
	}
	q.SpanProcessor.OnEnd(span)
}

type spanExports struct {
	sdktrace.SpanExporter
	*exports
	waits *atomic.Int64
}

// ExportSpans implements sdktrace.SpanExporter.
func (e spanExports) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	defer e.waits.Add(-int64(len(spans)))
	e.ended(signalTraces, e.SpanExporter.ExportSpans(ctx, spans))
	return nil
}

type metricExports struct {
	sdkmetric.Exporter
	*exports
}

// Export implements sdkmetric.Exporter.
func (e metricExports) Export(ctx context.Context, data *metricdata.ResourceMetrics) error {
	e.ended(signalMetrics, e.Exporter.Export(ctx, data))
	return nil
}
