package e2e

import (
	"context"
	"encoding/hex"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	metricspb "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	tracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonv1 "go.opentelemetry.io/proto/otlp/common/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
)

// collector is an OpenTelemetry collector that keeps what it gets.
type collector struct {
	tracepb.UnimplementedTraceServiceServer

	url string

	mu      sync.Mutex
	spans   []seenSpan
	metrics map[string]map[string]bool // by service
}

type seenSpan struct {
	*tracev1.Span
	service    string
	attributes map[string]string
}

// metricsServer is the collector's other service: both have a method Export.
type metricsServer struct {
	metricspb.UnimplementedMetricsServiceServer
	*collector
}

func startCollector(t *testing.T) *collector {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	c := &collector{url: "http://" + listener.Addr().String(), metrics: map[string]map[string]bool{}}
	server := grpc.NewServer()
	tracepb.RegisterTraceServiceServer(server, c)
	metricspb.RegisterMetricsServiceServer(server, metricsServer{collector: c})
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return c
}

func texts(list []*commonv1.KeyValue) map[string]string {
	all := map[string]string{}
	for _, a := range list {
		all[a.GetKey()] = a.GetValue().GetStringValue()
		if a.GetValue().GetStringValue() == "" {
			all[a.GetKey()] = a.GetValue().String()
		}
	}
	return all
}

// Export implements the service for traces.
func (c *collector) Export(_ context.Context, r *tracepb.ExportTraceServiceRequest) (*tracepb.ExportTraceServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, of := range r.GetResourceSpans() {
		for _, scope := range of.GetScopeSpans() {
			for _, span := range scope.GetSpans() {
				c.spans = append(c.spans, seenSpan{span, texts(of.GetResource().GetAttributes())["service.name"], texts(span.GetAttributes())})
			}
		}
	}
	return &tracepb.ExportTraceServiceResponse{}, nil
}

// Export implements the service for metrics.
func (s metricsServer) Export(_ context.Context, r *metricspb.ExportMetricsServiceRequest) (*metricspb.ExportMetricsServiceResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, of := range r.GetResourceMetrics() {
		service := texts(of.GetResource().GetAttributes())["service.name"]
		if s.metrics[service] == nil {
			s.metrics[service] = map[string]bool{}
		}
		for _, scope := range of.GetScopeMetrics() {
			for _, m := range scope.GetMetrics() {
				s.metrics[service][m.GetName()] = true
			}
		}
	}
	return &metricspb.ExportMetricsServiceResponse{}, nil
}

// find gives the spans of a trace that have a name, in the order in which they began.
func (c *collector) find(traceID, name string) (found []seenSpan) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, span := range c.spans {
		if hex.EncodeToString(span.GetTraceId()) == traceID && (name == "" || strings.HasPrefix(span.GetName(), name)) {
			found = append(found, span)
		}
	}
	slices.SortFunc(found, func(a, b seenSpan) int { return int(a.GetStartTimeUnixNano()) - int(b.GetStartTimeUnixNano()) })
	return found
}

func (c *collector) names(traceID string) (names []string) {
	for _, span := range c.find(traceID, "") {
		names = append(names, span.service+": "+span.GetName())
	}
	return names
}

const producerSpan = "00f067aa0ba902b7"

// One trace runs from the producer's request through the database and the broker to every attempt, retries included, and to the endpoint.
func TestOneTraceFromTheRequestToTheEndpoint(t *testing.T) {
	t.Parallel()
	c := startCollector(t)
	s := startSystem(t, 1, "BEACONPOST_OTLP_ENDPOINT="+c.url, "BEACONPOST_OTLP_PROTOCOL=grpc", "BEACONPOST_OTLP_METRICS_INTERVAL=1s", "BEACONPOST_TRACE_SAMPLE_RATIO=0")
	require.NoError(t, s.StartMonitor(t.Context()))
	var mu sync.Mutex
	var received []string
	sink := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if received = append(received, r.Header.Get("Traceparent")); len(received) < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer sink.Close()
	var ignored any
	s.call(s.APIKey, "POST", "/v1/endpoints", map[string]any{"url": sink.URL + "/hook?token=canary-of-url", "event_types": []string{"*"}}, &ignored)

	traceID := strings.ReplaceAll(uuid.NewString(), "-", "")
	send := func(traceparent string) {
		r, err := http.NewRequestWithContext(t.Context(), "POST", s.APIURL+"/v1/events", strings.NewReader(`{"event_type":"order.paid","payload":{"canary":"canary-of-payload"}}`))
		require.NoError(t, err)
		r.Header.Set("Authorization", "Bearer "+s.APIKey)
		r.Header.Set("Content-Type", "application/json")
		if traceparent != "" {
			r.Header.Set("Traceparent", traceparent)
		}
		answer, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		require.NoError(t, answer.Body.Close())
		require.Equal(t, http.StatusAccepted, answer.StatusCode)
	}
	send("00-" + traceID + "-" + producerSpan + "-01")
	require.Eventually(t, func() bool { return len(c.find(traceID, "process ")) == 3 && len(c.find(traceID, "record")) == 3 }, 30*time.Second, 50*time.Millisecond, "%v", c.names(traceID))

	request := c.find(traceID, "POST /v1/events")[0]
	id := hex.EncodeToString(request.GetSpanId())
	require.Equal(t, producerSpan, hex.EncodeToString(request.GetParentSpanId()))
	require.Equal(t, "beaconpost-ingest", request.service)
	for _, inside := range []string{"commit", "publish deliveries.ready."} {
		span := c.find(traceID, inside)[0]
		require.Equal(t, id, hex.EncodeToString(span.GetParentSpanId()), inside)
	}

	attempts := c.find(traceID, "POST")[1:]
	require.Len(t, attempts, 3)
	for i, attempt := range attempts {
		require.Equal(t, "beaconpost-delivery", attempt.service)
		require.Equal(t, tracev1.Span_SPAN_KIND_CLIENT, attempt.GetKind())
		require.Equal(t, id, hex.EncodeToString(attempt.GetParentSpanId()), "an attempt is the request's, however much later it is")
		require.Equal(t, "00-"+traceID+"-"+hex.EncodeToString(attempt.GetSpanId())+"-01", received[i])
		if i == 0 {
			require.Empty(t, attempt.GetLinks())
			continue
		}
		require.Len(t, attempt.GetLinks(), 1)
		require.Equal(t, attempts[i-1].GetSpanId(), attempt.GetLinks()[0].GetSpanId(), "retries are linked to the attempt before")
		require.Equal(t, attempt.GetTraceId(), attempt.GetLinks()[0].GetTraceId())
	}
	require.Equal(t, tracev1.Status_STATUS_CODE_ERROR, attempts[0].GetStatus().GetCode())
	require.NotEqual(t, tracev1.Status_STATUS_CODE_ERROR, attempts[2].GetStatus().GetCode())

	// The first message and the schedules of two retries; each is processed inside of the span of whoever published it.
	published, processed := c.find(traceID, "publish "), c.find(traceID, "process ")
	require.Len(t, published, 3, "%v", c.names(traceID))
	for i, span := range published {
		require.Equal(t, "nats", span.attributes["messaging.system"])
		require.Equal(t, tracev1.Span_SPAN_KIND_PRODUCER, span.GetKind())
		require.Equal(t, span.GetSpanId(), processed[i].GetParentSpanId())
		require.Equal(t, tracev1.Span_SPAN_KIND_CONSUMER, processed[i].GetKind())
	}
	require.Equal(t, "publish deliveries.retry.{delivery_id}", published[1].GetName())

	statements := 0
	for _, span := range c.find(traceID, "") {
		if span.attributes["db.system.name"] == "postgresql" {
			statements++
			require.NotEmpty(t, span.GetParentSpanId())
		}
		require.NotContains(t, span.String(), "canary", "spans have neither payloads nor what is secret in URLs")
	}
	require.Positive(t, statements)

	// A trace that nobody asked for and that the ratio leaves out is not there; but an attempt that fails is, with the ids that the endpoint and the logs know.
	mu.Lock()
	received = received[:2] // one failure more
	mu.Unlock()
	c.mu.Lock()
	c.spans = nil
	c.mu.Unlock()
	s.call(s.APIKey, "POST", "/v1/events", map[string]any{"event_type": "order.paid", "payload": 1}, &ignored) // succeeds
	mu.Lock()
	received = received[:1] // fails once, then succeeds
	mu.Unlock()
	send("")
	var kept []seenSpan
	require.Eventually(t, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		kept = c.spans
		return len(kept) > 0
	}, 20*time.Second, 50*time.Millisecond)
	require.Equal(t, "POST", kept[0].GetName())
	require.Equal(t, tracev1.Status_STATUS_CODE_ERROR, kept[0].GetStatus().GetCode())

	require.Eventually(t, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.metrics["beaconpost-ingest"]["beaconpost_events_accepted_total"] && c.metrics["beaconpost-delivery"]["beaconpost_deliveries_total"] &&
			c.metrics["beaconpost-monitor"]["beaconpost_scheduler_lag_seconds"]
	}, 20*time.Second, 50*time.Millisecond, "metrics are sent too")
}
