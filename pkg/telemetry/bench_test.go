package telemetry_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/beaconpost/beaconpost/pkg/telemetry"
)

// nowhere is an exporter that keeps nothing.
type nowhere struct{}

func (nowhere) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error { return nil }
func (nowhere) Shutdown(context.Context) error                             { return nil }

// BenchmarkLibrary is what the library alone would cost where nothing is exported.
func BenchmarkLibrary(b *testing.B) {
	tracer := sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.NeverSample())).Tracer("bench")
	b.ReportAllocs()
	for b.Loop() {
		ctx, span := tracer.Start(b.Context(), "work", trace.WithSpanKind(trace.SpanKindServer))
		_ = telemetry.Traceparent(ctx)
		span.End()
	}
}

// BenchmarkUnit is what a request or an attempt pays for its ids, and for its span if there is one.
func BenchmarkUnit(b *testing.B) {
	for _, way := range []struct {
		name string
		cfg  telemetry.Config
	}{
		{"off", telemetry.Config{}},
		{"left out", telemetry.Config{Exporter: nowhere{}}},
		{"exported", telemetry.Config{Exporter: nowhere{}, SampleRatio: 1}},
	} {
		b.Run(way.name, func(b *testing.B) {
			way.cfg.Service, way.cfg.LogLevel = "bench", "error"
			tel, err := telemetry.New(b.Context(), way.cfg)
			require.NoError(b, err)
			defer tel.Shutdown(context.Background()) //nolint:errcheck // nothing is exported
			b.ReportAllocs()
			for b.Loop() {
				ctx, unit := tel.Tracer.Begin(b.Context(), "work", trace.SpanKindServer, telemetry.IDs{})
				_ = telemetry.Traceparent(ctx)
				if span := unit.Ending(false); span != nil {
					span.End()
				}
			}
		})
	}
}
