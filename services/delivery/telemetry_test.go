package delivery_test

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

// metric waits until the admin port shows a series with a value.
func (b *bundle) metric(series, value string) {
	b.t.Helper()
	var last string
	require.Eventuallyf(b.t, func() bool {
		w := httptest.NewRecorder()
		b.service.Admin().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
		last = w.Body.String()
		return strings.Contains(last, "\n"+series+" "+value+"\n")
	}, 10*time.Second, 20*time.Millisecond, "no %s %s", series, value)
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s := newSink(t, nil)
	endpointID, _ := b.endpoint(s.URL)
	b.metric(`beaconpost_deliveries_total{outcome="delivered"}`, "0") // initialised
	b.wait(b.send(endpointID, `{}`), "delivered")
	b.metric(`beaconpost_deliveries_total{outcome="delivered"}`, "1")
	b.metric(`beaconpost_delivery_attempt_duration_seconds_count{result="2xx"}`, "1")
	b.metric(`beaconpost_delivery_latency_seconds_count`, "1")
	b.metric(`beaconpost_delivery_in_flight`, "0")
	b.metric(`beaconpost_delivery_consuming`, "1")
	b.metric(`beaconpost_partitions_ahead`, "7")
	b.client.Do("GET", "/v1/deliveries", nil).Want(200, nil)
	b.metric(`beaconpost_http_requests_total{method="GET",route="/v1/deliveries",status="200"}`, "1")
}

// What waited for its endpoint is not late by our doing, and says nothing of how prompt we are. A backlog does, unless the endpoint has a rate.
func TestFirstAttemptsThatWaitedForTheirEndpointAreNotLate(t *testing.T) {
	t.Parallel()
	b := prepare(t)
	s := newSink(t, nil)
	for n, of := range []struct {
		reason string
		rate   any
	}{{"failures", nil}, {"enabled", nil}, {"backlog", 100}, {"backlog", nil}} {
		endpointID, _ := b.endpoint(s.URL)
		b.park(endpointID, n+1)
		b.Exec(`UPDATE endpoints SET breaker = 'draining', rate_per_second = $2::float8, rate_burst = $2::float8 WHERE id = $1`, endpointID, of.rate)
		b.Exec(`INSERT INTO endpoint_health (tenant_id, endpoint_id, state, reason, look_at) VALUES ($1, $2, 'draining', $3, now())`, b.tenant.UUID(), endpointID, of.reason)
	}
	b.start(quickBreaker...)
	b.metric(`beaconpost_deliveries_total{outcome="delivered"}`, "10")
	b.metric(`beaconpost_delivery_first_attempt_latency_seconds_count`, "4") // the last endpoint's
	b.metric(`beaconpost_delivery_latency_seconds_count`, "10")
}

func TestAnAttemptContinuesTheTraceOfItsEvent(t *testing.T) {
	t.Parallel()
	b := prepare(t)
	spans := tracetest.NewInMemoryExporter()
	b.spans = keepSpans{spans}
	stop := b.start()
	s := newSink(t, nil)
	endpointID, _ := b.endpoint(s.URL)
	q := b.enqueue(endpointID, `{}`)
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	q.message.Traceparent = "00-" + trace + "-00f067aa0ba902b7-01"
	b.publish.Ready(q.message)
	b.wait(q, "delivered")
	require.NoError(t, stop(10*time.Second))

	require.Contains(t, s.requests()[0].header.Get("traceparent"), trace, "the endpoint can continue it")
	require.Equal(t, trace, b.Query(`SELECT trace_id FROM delivery_attempts WHERE delivery_id = $1`, q.delivery))
	var attempts int
	for _, span := range spans.GetSpans() {
		if span.Name == "POST" {
			attempts++
			require.Equal(t, trace, span.SpanContext.TraceID().String())
			require.Equal(t, "00f067aa0ba902b7", span.Parent.SpanID().String())
		}
	}
	require.Equal(t, 1, attempts)
}

// keepSpans keeps what it was given when the provider shuts down.
type keepSpans struct{ *tracetest.InMemoryExporter }

// Shutdown implements the exporter's interface without the reset of the one below.
func (keepSpans) Shutdown(context.Context) error { return nil }
