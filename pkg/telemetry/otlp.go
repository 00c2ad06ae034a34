package telemetry

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	prometheusbridge "go.opentelemetry.io/contrib/bridges/prometheus"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// The protocols of OTLP, as OTEL_EXPORTER_OTLP_PROTOCOL calls them.
const (
	ProtocolHTTP = "http/protobuf"
	ProtocolGRPC = "grpc"
)

// OTLP says where spans, and metrics if they are wanted there, are sent.
type OTLP struct {
	Endpoint string // http or https URL without the path of a signal; "": nothing is sent
	Protocol string // "": ProtocolHTTP
	Header   map[string]string

	MetricsEvery time.Duration // 0: no metrics are sent
}

// Validate says what is wrong, and in which field.
func (o OTLP) Validate() (field string, err error) {
	u, parsed := url.Parse(o.Endpoint)
	switch {
	case o.Protocol != "" && o.Protocol != ProtocolHTTP && o.Protocol != ProtocolGRPC:
		return "protocol", fmt.Errorf("expected %s or %s, got %q", ProtocolHTTP, ProtocolGRPC, o.Protocol)
	case o.MetricsEvery < 0 || o.MetricsEvery > 0 && o.MetricsEvery < time.Second:
		return "metrics", fmt.Errorf("expected 0 or 1s and more, got %s", o.MetricsEvery)
	case o.Endpoint == "" && o.MetricsEvery > 0:
		return "endpoint", errors.New("expected where metrics are sent to")
	case o.Endpoint == "":
		return "", nil
	case parsed != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return "endpoint", errors.New("expected an http or https URL")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return "endpoint", errors.New("expected no credentials, query or fragment, which would not be sent: there are headers")
	case o.Protocol == ProtocolGRPC && strings.Trim(u.Path, "/") != "":
		return "endpoint", errors.New("expected no path: gRPC has none")
	}
	return "", nil
}

// signal gives the URL for a signal, as OTLP forms it from the one for all.
func (o OTLP) signal(path string) string {
	base := strings.TrimSuffix(strings.TrimRight(o.Endpoint, "/"), "/v1/traces")
	return base + path
}

func (o OTLP) spans(ctx context.Context) (sdktrace.SpanExporter, error) {
	if o.Protocol == ProtocolGRPC {
		return otlptracegrpc.New(ctx, otlptracegrpc.WithEndpointURL(o.Endpoint), otlptracegrpc.WithHeaders(o.Header))
	}
	return otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(o.signal("/v1/traces")), otlptracehttp.WithHeaders(o.Header))
}

// metrics sends what the registry has until the provider is shut down, histograms in their classic form, see classic.
func (o OTLP) metrics(ctx context.Context, registry prometheus.Gatherer, cfg Config) (*sdkmetric.MeterProvider, error) {
	var exporter sdkmetric.Exporter
	var err error
	if o.Protocol == ProtocolGRPC {
		exporter, err = otlpmetricgrpc.New(ctx, otlpmetricgrpc.WithEndpointURL(o.Endpoint), otlpmetricgrpc.WithHeaders(o.Header))
	} else {
		exporter, err = otlpmetrichttp.New(ctx, otlpmetrichttp.WithEndpointURL(o.signal("/v1/metrics")), otlpmetrichttp.WithHeaders(o.Header))
	}
	if err != nil {
		return nil, fmt.Errorf("make metrics exporter: %w", err)
	}
	reader := sdkmetric.NewPeriodicReader(metricExports{exporter, cfg.exports}, sdkmetric.WithInterval(o.MetricsEvery),
		sdkmetric.WithProducer(prometheusbridge.NewMetricProducer(prometheusbridge.WithGatherer(classic{registry}))))
	return sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader), sdkmetric.WithResource(serviceResource(cfg))), nil
}

// classic leaves out what the bridge would send wrongly. Of a histogram's two forms it sends one, and would take the native one: without the buckets that alerts and
// dashboards ask for. Of exemplars it sends ids of traces as text, for which collectors refuse all of it.
type classic struct{ prometheus.Gatherer }

// Gather implements prometheus.Gatherer. What it gives is made anew each time.
func (c classic) Gather() ([]*dto.MetricFamily, error) {
	families, err := c.Gatherer.Gather()
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			h := metric.GetHistogram()
			if len(h.GetBucket()) == 0 {
				continue
			}
			metric.Histogram = &dto.Histogram{SampleCount: h.SampleCount, SampleSum: h.SampleSum, CreatedTimestamp: h.CreatedTimestamp}
			for _, b := range h.GetBucket() {
				metric.Histogram.Bucket = append(metric.Histogram.Bucket, &dto.Bucket{CumulativeCount: b.CumulativeCount, UpperBound: b.UpperBound})
			}
		}
	}
	return families, err
}
