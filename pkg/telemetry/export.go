package telemetry

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// exports says what became of exports that failed. Left to the SDK, each would be a line of plain text among those of JSON, by way of a global.
type exports struct {
	log    zerolog.Logger
	failed *prometheus.CounterVec
}

const (
	signalTraces  = "traces"
	signalMetrics = "metrics"
)

func exportMetrics(m *Metrics) *prometheus.CounterVec {
	failed := m.Counters(Metric{
		Name: "beaconpost_telemetry_exports_failed_total", Labels: []string{"signal"}, Help: "Batches of traces or metrics that the collector did not get. They are lost.", Worry: "It grows.",
	})
	for _, signal := range []string{signalTraces, signalMetrics} {
		failed.WithLabelValues(signal)
	}
	return failed
}

func (e *exports) ended(signal string, err error) {
	if err == nil || e == nil {
		return
	}
	e.failed.WithLabelValues(signal).Inc()
	e.log.Warn().Err(err).Str("signal", signal).Msg("the collector was not reached")
}

type spanExports struct {
	sdktrace.SpanExporter
	*exports
}

// ExportSpans implements sdktrace.SpanExporter.
func (e spanExports) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
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
