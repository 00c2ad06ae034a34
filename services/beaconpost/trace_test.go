package beaconpost_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/beaconpost/beaconpost/pkg/service/servicetest"
	"github.com/beaconpost/beaconpost/services/delivery"
	"github.com/beaconpost/beaconpost/services/ingest"
)

// keepSpans lets two providers write into one exporter and keeps the spans when they shut down.
type keepSpans struct{ *tracetest.InMemoryExporter }

func (keepSpans) Shutdown(context.Context) error { return nil }

// One trace runs from the producer's request through the broker over a failed and a successful attempt to the endpoint.
func TestOneTraceFromRequestToEndpoint(t *testing.T) {
	t.Parallel()
	bench := servicetest.New(t)
	spans := keepSpans{tracetest.NewInMemoryExporter()}
	api, stop := startBoth(t, bench, spans)

	traceparents := make(chan string, 2)
	sink := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Beaconpost-Attempt") == "1" {
			w.WriteHeader(http.StatusInternalServerError)
		}
		traceparents <- r.Header.Get("traceparent")
	}))
	defer sink.Close()

	var tenant struct {
		APIKey string `json:"api_key"`
	}
	servicetest.Client{T: t, URL: api, Token: bench.Operator()}.Do("POST", "/v1/tenants", `{"name":"acme"}`).Want(201, &tenant)
	client := servicetest.Client{T: t, URL: api, Token: tenant.APIKey}
	client.Do("POST", "/v1/endpoints", map[string]string{"url": sink.URL}).Want(201, nil)
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	client.Do("POST", "/v1/events", `{"event_type":"x","payload":1}`, "traceparent", "00-"+trace+"-00f067aa0ba902b7-01").Want(202, nil)
	for range 2 {
		select {
		case got := <-traceparents:
			require.Contains(t, got, trace)
		case <-time.After(20 * time.Second):
			require.Fail(t, "the webhook did not arrive")
		}
	}
	stop()

	var server tracetest.SpanStub
	var attempts []tracetest.SpanStub
	for _, span := range spans.GetSpans() {
		switch span.Name {
		case "POST /v1/events":
			server = span
		case "POST":
			attempts = append(attempts, span)
		}
	}
	require.Equal(t, trace, server.SpanContext.TraceID().String())
	require.Equal(t, "00f067aa0ba902b7", server.Parent.SpanID().String())
	require.Len(t, attempts, 2)
	for _, attempt := range attempts {
		require.Equal(t, trace, attempt.SpanContext.TraceID().String())
		require.Equal(t, server.SpanContext.SpanID(), attempt.Parent.SpanID(), "a child of the request")
	}
}

func startBoth(t *testing.T, bench *servicetest.Bench, spans sdktrace.SpanExporter) (url string, stop func()) {
	t.Helper()
	var ic ingest.Config
	var dc delivery.Config
	bench.Load(&ic)
	bench.Load(&dc, "BEACONPOST_DELIVERY_RETRY_BASE=50ms")
	ic.LogWriter, dc.LogWriter = t.Output(), t.Output()
	ic.SpanExporter, dc.SpanExporter = spans, spans
	in, err := ingest.New(t.Context(), ic)
	require.NoError(t, err)
	out, err := delivery.New(t.Context(), dc)
	require.NoError(t, err)
	server := httptest.NewServer(in.Handler())
	return server.URL, func() {
		server.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		require.NoError(t, out.Stop(ctx))
		require.NoError(t, in.Stop(ctx))
	}
}
