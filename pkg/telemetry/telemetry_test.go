package telemetry_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	metricspb "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/beaconpost/beaconpost/pkg/telemetry"
)

const (
	traceID     = "4bf92f3577b34da6a3ce929d0e0e4736"
	traceparent = "00-" + traceID + "-00f067aa0ba902b7-01"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, cfg telemetry.Config) *telemetry.Telemetry {
	t.Helper()
	if cfg.LogLevel == "" {
		cfg.LogLevel = "info"
	}
	cfg.Service, cfg.Version = "ingest", "1.2.3"
	tel, err := telemetry.New(t.Context(), cfg)
	require.NoError(t, err)
	return tel
}

func shutdown(t *testing.T, tel *telemetry.Telemetry) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	require.NoError(t, tel.Shutdown(ctx))
}

// spans is an exporter that keeps what it is given.
type spans struct {
	mu    sync.Mutex
	names []string
}

func (s *spans) ExportSpans(_ context.Context, list []sdktrace.ReadOnlySpan) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, span := range list {
		s.names = append(s.names, span.Name())
	}
	return nil
}

func (*spans) Shutdown(context.Context) error { return nil }

func TestWithoutAnExporterSpansHaveIDs(t *testing.T) {
	t.Parallel()
	tel := open(t, telemetry.Config{SampleRatio: 1})
	ctx, span := tel.Tracer.Start(t.Context(), "work")
	defer span.End()
	require.True(t, span.SpanContext().IsValid())
	require.False(t, span.SpanContext().IsSampled(), "nobody would get it")
	require.Equal(t, span.SpanContext().TraceID().String(), traceOf(ctx))
	require.Len(t, traceOf(ctx), 32)
	shutdown(t, tel)
}

func TestTraceparentRoundTrip(t *testing.T) {
	t.Parallel()
	tel := open(t, telemetry.Config{})
	ctx, span := tel.Tracer.Start(t.Context(), "work")
	defer span.End()
	text := telemetry.Traceparent(ctx)
	require.Equal(t, "00-"+traceOf(ctx)+"-"+span.SpanContext().SpanID().String()+"-00", text)

	elsewhere := telemetry.WithTraceparent(t.Context(), text)
	require.Equal(t, text, telemetry.Traceparent(elsewhere))
	_, child := tel.Tracer.Start(elsewhere, "more work")
	defer child.End()
	require.Equal(t, span.SpanContext().TraceID(), child.SpanContext().TraceID())
	require.NotEqual(t, span.SpanContext().SpanID(), child.SpanContext().SpanID())
}

func TestTextThatIsNoTraceContextIsIgnored(t *testing.T) {
	t.Parallel()
	require.Empty(t, telemetry.Traceparent(t.Context()))
	require.Empty(t, traceOf(t.Context()))
	require.Equal(t, traceID, traceOf(telemetry.WithTraceparent(t.Context(), traceparent)))
	for _, text := range []string{
		"", "00", "garbage", traceparent + "-more", strings.ToUpper(traceparent), "ff" + traceparent[2:],
		"00-" + strings.Repeat("0", 32) + "-00f067aa0ba902b7-01", "00-" + traceID + "-0000000000000000-01", "\x00\n" + traceparent,
	} {
		ctx := telemetry.WithTraceparent(t.Context(), text)
		require.Emptyf(t, traceOf(ctx), "%q", text)
		require.Emptyf(t, telemetry.Traceparent(ctx), "%q", text)
	}
	// What a caller sends does not replace a trace with nothing.
	known := telemetry.WithTraceparent(t.Context(), traceparent)
	require.Equal(t, traceID, traceOf(telemetry.WithTraceparent(known, "garbage")))
}

func FuzzWithTraceparent(f *testing.F) {
	for _, seed := range []string{traceparent, "", "00-", "01-" + traceID + "-00f067aa0ba902b7-01-extra", "ff-" + traceID + "-00f067aa0ba902b7-00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		ctx := telemetry.WithTraceparent(t.Context(), text)
		made := telemetry.Traceparent(ctx)
		if made == "" {
			require.Empty(t, traceOf(ctx))
			return
		}
		require.Contains(t, text, traceOf(ctx))
		require.Equal(t, made, telemetry.Traceparent(telemetry.WithTraceparent(t.Context(), made)))
	})
}

func TestSampling(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		ratio  float64
		parent string
		want   []string
	}{
		"all":                {1, "", []string{"work"}},
		"none":               {0, "", nil},
		"the parent decides": {0, traceparent, []string{"work"}},
		"and against it":     {1, strings.TrimSuffix(traceparent, "01") + "00", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := &spans{}
			tel := open(t, telemetry.Config{SampleRatio: tt.ratio, Exporter: got})
			_, span := tel.Tracer.Start(telemetry.WithTraceparent(t.Context(), tt.parent), "work")
			require.Equal(t, tt.want != nil, span.SpanContext().IsSampled())
			span.End()
			shutdown(t, tel)
			require.Equal(t, tt.want, got.names, "exported before the shutdown was over")
		})
	}
}

func TestACollectorGetsSpansAndMetrics(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"", "/", "/v1/traces", "/otlp", "/otlp/v1/traces/"} {
		var mu sync.Mutex
		bodies := map[string]string{}
		collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var body bytes.Buffer
			_, _ = body.ReadFrom(r.Body)
			mu.Lock()
			defer mu.Unlock()
			bodies[r.URL.Path+" "+r.Header.Get("X-Key")] = body.String()
			w.Header().Set("Content-Type", "application/x-protobuf")
		}))
		tel := open(t, telemetry.Config{
			OTLP:        telemetry.OTLP{Endpoint: collector.URL + path, Header: map[string]string{"x-key": "k"}, MetricsEvery: time.Hour}, // what is left is sent at the end
			SampleRatio: 1,
		})
		_, span := tel.Tracer.Start(t.Context(), "work in hand", trace.WithSpanKind(trace.SpanKindServer))
		span.End()
		tel.Metrics.Histogram(telemetry.Metric{Name: "beaconpost_work_seconds", Help: "Work.", Buckets: []float64{1}}).Observe(.5)
		shutdown(t, tel)
		collector.Close()
		base := strings.TrimSuffix(strings.TrimRight(path, "/"), "/v1/traces")
		for signal, want := range map[string]string{"/v1/traces": "work in hand", "/v1/metrics": "beaconpost_work_seconds"} {
			body := bodies[base+signal+" k"]
			require.Contains(t, body, want, "%q: %v", path, len(bodies))
			require.Contains(t, body, "beaconpost-ingest")
			require.Contains(t, body, "1.2.3")
		}
	}
}

// Alerts and dashboards ask for buckets; and ids of traces as text are refused by collectors, with all that is sent beside them.
func TestACollectorGetsHistogramsWithTheirBuckets(t *testing.T) {
	t.Parallel()
	bodies := make(chan []byte, 1)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var body bytes.Buffer
		_, _ = body.ReadFrom(r.Body)
		bodies <- body.Bytes()
	}))
	defer collector.Close()
	tel := open(t, telemetry.Config{OTLP: telemetry.OTLP{Endpoint: collector.URL, MetricsEvery: time.Hour}})
	work := tel.Metrics.Histogram(telemetry.Metric{Name: "beaconpost_work_seconds", Help: "Work.", Buckets: []float64{1, 5}})
	tel.Metrics.Histogram(telemetry.Metric{Name: "beaconpost_idle_seconds", Help: "Idle.", Buckets: []float64{1, 5}})
	for _, took := range []float64{.5, 2, 2, 9} {
		telemetry.ObserveIn(traceID, true, work, took)
	}
	shutdown(t, tel)
	var request metricspb.ExportMetricsServiceRequest
	require.NoError(t, proto.Unmarshal(<-bodies, &request))
	seen := map[string][]uint64{}
	for _, m := range request.GetResourceMetrics()[0].GetScopeMetrics()[0].GetMetrics() {
		require.Nil(t, m.GetExponentialHistogram(), m.GetName())
		for _, point := range m.GetHistogram().GetDataPoints() {
			seen[m.GetName()] = point.GetBucketCounts()
			require.Equal(t, []float64{1, 5}, point.GetExplicitBounds())
			require.NotZero(t, point.GetStartTimeUnixNano())
			for _, exemplar := range point.GetExemplars() {
				require.Len(t, exemplar.GetTraceId(), 16)
			}
		}
	}
	require.Equal(t, map[string][]uint64{"beaconpost_work_seconds": {1, 2, 1}, "beaconpost_idle_seconds": {0, 0, 0}}, seen)
	families, err := tel.Registry.Gather()
	require.NoError(t, err)
	require.Contains(t, fmt.Sprint(families), "positive_span", "whoever scrapes still gets both forms")
}

func TestExportsThatFailAreCountedAndLogged(t *testing.T) {
	t.Parallel()
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusForbidden) }))
	defer collector.Close()
	var out bytes.Buffer
	tel := open(t, telemetry.Config{LogWriter: &out, OTLP: telemetry.OTLP{Endpoint: collector.URL, MetricsEvery: time.Hour}, SampleRatio: 1})
	_, span := tel.Tracer.Start(t.Context(), "work")
	span.End()
	shutdown(t, tel)
	require.NoError(t, testutil.GatherAndCompare(tel.Registry, strings.NewReader(`
# HELP beaconpost_telemetry_exports_failed_total Batches of traces or metrics that the collector did not get. They are lost.
# TYPE beaconpost_telemetry_exports_failed_total counter
beaconpost_telemetry_exports_failed_total{signal="metrics"} 1
beaconpost_telemetry_exports_failed_total{signal="traces"} 1
`), "beaconpost_telemetry_exports_failed_total"))
	for line := range strings.Lines(out.String()) {
		var fields map[string]string
		require.NoError(t, json.Unmarshal([]byte(line), &fields), line)
		require.Equal(t, "the collector was not reached", fields["message"])
		require.Contains(t, fields["error"], "403")
	}
	require.Equal(t, 2, strings.Count(out.String(), "\n"))
}

func TestACollectorThatIsAwayIsNotToldOfInEachBatch(t *testing.T) {
	t.Parallel()
	const batches = 4
	var out bytes.Buffer
	tel := open(t, telemetry.Config{LogWriter: &out, SampleRatio: 1, OTLP: telemetry.OTLP{Endpoint: "http://127.0.0.1:1"}})
	for range batches * 512 {
		_, span := tel.Tracer.Start(t.Context(), "work")
		span.End()
	}
	shutdown(t, tel)
	families, err := tel.Registry.Gather()
	require.NoError(t, err)
	require.Regexp(t, `value:"traces"\s*}\s*counter:{\s*value:[4-9]`, fmt.Sprint(families), "each is counted")
	require.Equal(t, 1, strings.Count(out.String(), "\n"))
}

func TestAnExportThatFailsDoesNotTellKeys(t *testing.T) {
	t.Parallel()
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "no: "+r.URL.Path+" "+r.Header.Get("Authorization")+strings.Repeat(" no", 1000), http.StatusForbidden)
	}))
	defer refusing.Close()
	for _, at := range []string{refusing.URL, "http://127.0.0.1:1"} {
		var out bytes.Buffer
		tel := open(t, telemetry.Config{LogWriter: &out, SampleRatio: 1, OTLP: telemetry.OTLP{
			Endpoint: at + "/canary one/v1/traces", Header: map[string]string{"authorization": "Bearer canary"}, MetricsEvery: time.Hour,
		}})
		_, span := tel.Tracer.Start(t.Context(), "work")
		span.End()
		shutdown(t, tel)
		require.Equal(t, 2, strings.Count(out.String(), "not reached"))
		require.NotContains(t, out.String(), "canary")
		require.Contains(t, out.String(), strings.TrimPrefix(at, "http://"), "an operator sees who it is")
		require.Less(t, out.Len(), 2000)
	}
}

func TestSpansThatDoNotFitAreCounted(t *testing.T) {
	t.Parallel()
	const fit, more = 2048, 1000
	slow := &stuck{begun: make(chan struct{}, 64), leave: make(chan struct{})}
	tel := open(t, telemetry.Config{Exporter: slow, SampleRatio: 1})
	for range fit + more {
		_, span := tel.Tracer.Start(t.Context(), "work")
		span.End()
	}
	<-slow.begun
	dropped := func(want int) {
		t.Helper()
		require.NoError(t, testutil.GatherAndCompare(tel.Registry, strings.NewReader(fmt.Sprintf(`
# HELP beaconpost_telemetry_spans_dropped_total Spans that were not exported because 2,048 waited already.
# TYPE beaconpost_telemetry_spans_dropped_total counter
beaconpost_telemetry_spans_dropped_total %d
`, want)), "beaconpost_telemetry_spans_dropped_total"))
	}
	dropped(more)
	close(slow.leave)
	require.Eventually(t, func() bool { return slow.got.Load() == fit }, 10*time.Second, time.Millisecond, "what fitted is exported")
	for range more {
		_, span := tel.Tracer.Start(t.Context(), "work")
		span.End()
	}
	shutdown(t, tel)
	require.EqualValues(t, fit+more, slow.got.Load(), "there is room again")
	dropped(more)
}

// stuck is an exporter that is told when to go on.
type stuck struct {
	begun, leave chan struct{}
	got          atomic.Int64
}

func (s *stuck) ExportSpans(_ context.Context, list []sdktrace.ReadOnlySpan) error {
	s.begun <- struct{}{}
	<-s.leave
	s.got.Add(int64(len(list)))
	return nil
}

func (*stuck) Shutdown(context.Context) error { return nil }

func TestACollectorThatIsAwayDoesNotHoldTheShutdown(t *testing.T) {
	t.Parallel()
	arrived := make(chan struct{}, 16)
	leave := make(chan struct{})
	collector := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		arrived <- struct{}{}
		<-leave
	}))
	defer collector.Close()
	defer close(leave)
	tel := open(t, telemetry.Config{OTLP: telemetry.OTLP{Endpoint: collector.URL}, SampleRatio: 1})
	_, span := tel.Tracer.Start(t.Context(), "work")
	span.End()
	<-arrived // the batch is on its way
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, tel.Shutdown(ctx), context.DeadlineExceeded)
}

func TestMetricsDoNotWaitForSpansAtTheEnd(t *testing.T) {
	t.Parallel()
	metrics := make(chan struct{}, 1)
	leave := make(chan struct{})
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if r.URL.Path == "/v1/metrics" {
			metrics <- struct{}{}
			return
		}
		<-leave
	}))
	defer collector.Close()
	defer close(leave)
	tel := open(t, telemetry.Config{OTLP: telemetry.OTLP{Endpoint: collector.URL, MetricsEvery: time.Hour}, SampleRatio: 1})
	_, span := tel.Tracer.Start(t.Context(), "work")
	span.End()
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, tel.Shutdown(ctx), context.DeadlineExceeded)
	require.Len(t, metrics, 1)
}

func TestLinesSayWhichServiceAndLevelsFilter(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	tel := open(t, telemetry.Config{LogLevel: "warn", LogWriter: &out})
	tel.Log.Info().Msg("not shown")
	require.Empty(t, out.String())
	tel.Log.Warn().Msg("shown")
	var line map[string]string
	require.NoError(t, json.Unmarshal(out.Bytes(), &line))
	require.Equal(t, "ingest", line["service"])
	require.Equal(t, "warn", line["level"])
	at, err := time.Parse(time.RFC3339, line["time"])
	require.NoError(t, err)
	require.WithinDuration(t, time.Now(), at, time.Minute)
}

func TestBadLogLevel(t *testing.T) {
	t.Parallel()
	_, err := telemetry.New(t.Context(), telemetry.Config{LogLevel: "loud"})
	require.ErrorContains(t, err, `parse log level "loud"`)
}

func TestTwoInstancesFitInOneProcess(t *testing.T) {
	t.Parallel()
	one, two := open(t, telemetry.Config{}), open(t, telemetry.Config{})
	require.NotSame(t, one.Registry, two.Registry)
	const want = `
# HELP beaconpost_build_info Always 1; the labels say what runs.
# TYPE beaconpost_build_info gauge
beaconpost_build_info{service="ingest",version="1.2.3"} 1
`
	for _, tel := range []*telemetry.Telemetry{one, two} {
		require.NoError(t, testutil.GatherAndCompare(tel.Registry, strings.NewReader(want), "beaconpost_build_info"))
	}
}

func TestTheLogLevelCanBeChanged(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	tel := open(t, telemetry.Config{LogWriter: &out})
	child := tel.Log.With().Str("part", "x").Logger()
	ask := func(method, body string) (int, string) {
		w := httptest.NewRecorder()
		tel.LogLevel.ServeHTTP(w, httptest.NewRequest(method, "/log-level", strings.NewReader(body)))
		return w.Code, w.Body.String()
	}
	logged := func() int {
		out.Reset()
		child.Debug().Msg("d")
		child.Info().Msg("i")
		child.Error().Msg("e")
		return strings.Count(out.String(), "\n")
	}
	require.Equal(t, 2, logged())
	code, text := ask(http.MethodPut, "debug\n")
	require.Equal(t, 200, code)
	require.Equal(t, "debug\n", text)
	require.Equal(t, 3, logged())
	for _, wrong := range []string{"", "loud", "fatal", "disabled", strings.Repeat("x", 1000)} {
		code, text = ask(http.MethodPut, wrong)
		require.Equal(t, 400, code, wrong)
		require.Contains(t, text, "trace, debug, info, warn, error")
	}
	code, _ = ask(http.MethodPut, "error")
	require.Equal(t, 200, code)
	require.Equal(t, 1, logged())
	_, text = ask(http.MethodGet, "")
	require.Equal(t, "error\n", text)
	code, _ = ask(http.MethodPost, "debug")
	require.Equal(t, 405, code)
}
