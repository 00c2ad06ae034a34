// Package telemetry owns what every service needs to be seen: a zerolog logger, a Prometheus registry and an OpenTelemetry
// tracer, made once and passed down. Nothing is global: two instances fit in one process.
//
// Which metrics exist is decided by the packages that count; names start with beaconpost_.
package telemetry

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Config is read by each service.
type Config struct {
	Service     string
	Version     string
	LogLevel    string // trace, debug, info, warn, error
	LogWriter   io.Writer
	OTLP        OTLP
	SampleRatio float64               // share of traces that are exported, 0 to 1
	KeepErrors  float64               // per second: units that are exported for having failed, though their trace is not
	Callers     float64               // per second: requests that are exported because their caller's traceparent says so; of more the ratio decides
	Exporter    sdktrace.SpanExporter // instead of OTLP, for tests

	instance string
	exports  *exports
}

// Telemetry is passed to whatever logs, counts or traces.
type Telemetry struct {
	Log      zerolog.Logger
	LogLevel http.Handler // shows and changes what is logged, on the admin port
	Registry *prometheus.Registry
	Metrics  *Metrics // of Registry
	Tracer   *Tracer

	meters *sdkmetric.MeterProvider // nil: nobody is sent metrics
}

// New makes the three. Without an exporter spans still have ids, so that logs and attempts can name their trace.
func New(ctx context.Context, cfg Config) (*Telemetry, error) {
	first, err := zerolog.ParseLevel(cfg.LogLevel)
	if err != nil {
		return nil, fmt.Errorf("parse log level %q: %w", cfg.LogLevel, err)
	}
	logged := &level{}
	logged.set(first)
	cfg.instance = uuid.NewString()
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	t := &Telemetry{
		Log:      zerolog.New(cfg.LogWriter).Level(zerolog.TraceLevel).Sample(logged).With().Timestamp().Str("service", cfg.Service).Logger(),
		LogLevel: logged,
		Registry: registry,
		Metrics:  NewMetrics(registry),
	}
	buildInfo(t.Metrics, cfg.Service, cfg.Version)
	cfg.exports = newExports(t.Metrics, t.Log, cfg.OTLP)
	if t.Tracer, err = newTracer(ctx, cfg); err != nil {
		return nil, err
	}
	if cfg.OTLP.Endpoint != "" && cfg.OTLP.MetricsEvery > 0 {
		if t.meters, err = cfg.OTLP.metrics(ctx, registry, cfg); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// Silent gives one that logs and exports nothing and counts in registry, for what nobody watches.
func Silent(registry *prometheus.Registry) *Telemetry {
	return &Telemetry{Log: zerolog.Nop(), Registry: registry, Metrics: NewMetrics(registry), Tracer: NoTracer()}
}

func buildInfo(m *Metrics, service, version string) {
	m.GaugeOf(Metric{
		Name: "beaconpost_build_info", Help: "Always 1; the labels say what runs.", Worry: "Several versions for longer than an upgrade takes.",
		Const: prometheus.Labels{"service": service, "version": version},
	}, func() float64 { return 1 })
}

// DescribeMetrics makes those that every Telemetry has.
func DescribeMetrics(m *Metrics) {
	buildInfo(m, "", "")
	newExports(m, zerolog.Nop(), OTLP{})
}

// Shutdown exports what is left, at most until ctx ends. Spans and metrics do not wait for each other.
func (t *Telemetry) Shutdown(ctx context.Context) error {
	metrics := make(chan error, 1)
	go func() {
		if t.meters == nil {
			metrics <- nil
			return
		}
		metrics <- t.meters.Shutdown(ctx)
	}()
	var problems []error
	if err := t.Tracer.provider.Shutdown(ctx); err != nil {
		problems = append(problems, fmt.Errorf("shut tracing down: %w", err))
	}
	if err := <-metrics; err != nil {
		problems = append(problems, fmt.Errorf("shut metrics down: %w", err))
	}
	return errors.Join(problems...)
}

// Traceparent gives the W3C trace context of ctx in one header's text, "" if there is none.
func Traceparent(ctx context.Context) string { return TraceparentOf(trace.SpanContextFromContext(ctx)) }

// TraceparentOf is Traceparent for a span context.
func TraceparentOf(sc trace.SpanContext) string {
	if !sc.IsValid() {
		return ""
	}
	// version, trace id, parent id, flags (Trace Context, 3.2). The library's propagator makes the same text of several.
	id, parent := sc.TraceID(), sc.SpanID()
	b := make([]byte, 0, len(sample))
	b = append(b, "00-"...)
	b = hex.AppendEncode(b, id[:])
	b = append(b, '-')
	b = hex.AppendEncode(b, parent[:])
	b = append(b, '-')
	b = hex.AppendEncode(b, []byte{byte(sc.TraceFlags() & (trace.FlagsSampled | trace.FlagsRandom))})
	return string(b)
}

const sample = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

// IDsOf gives the ids in a traceparent that TraceparentOf made, and whether it is sampled; "" of "".
func IDsOf(traceparent string) (traceID, spanID string, sampled bool) {
	if len(traceparent) != len(sample) {
		return "", "", false
	}
	return traceparent[3:35], traceparent[36:52], sampledText(traceparent)
}

// WithTraceparent gives a context that continues the trace of traceparent. Text that is not a trace context is ignored.
func WithTraceparent(ctx context.Context, traceparent string) context.Context {
	if traceparent == "" {
		return ctx
	}
	h := header(traceparent)
	return propagation.TraceContext{}.Extract(ctx, &h)
}

// header carries the one header traceparent, without a map for it.
type header string

const traceparent = "traceparent"

// Get implements propagation.TextMapCarrier.
func (h *header) Get(key string) string {
	if key == traceparent {
		return string(*h)
	}
	return ""
}

// Set implements propagation.TextMapCarrier. Nothing is injected into a header.
func (*header) Set(string, string) {}

// Keys implements propagation.TextMapCarrier.
func (*header) Keys() []string { return []string{traceparent} }
