package telemetry_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/beaconpost/beaconpost/pkg/telemetry"
)

// exported keeps what it was given when the provider shuts down.
type exported struct{ *tracetest.InMemoryExporter }

func (exported) Shutdown(context.Context) error { return nil }

// record opens telemetry whose spans come back.
func record(t *testing.T, cfg telemetry.Config) (*telemetry.Tracer, func() map[string]tracetest.SpanStub) {
	t.Helper()
	spans := exported{tracetest.NewInMemoryExporter()}
	cfg.Exporter = spans
	tel := open(t, cfg)
	return tel.Tracer, func() map[string]tracetest.SpanStub {
		shutdown(t, tel)
		by := map[string]tracetest.SpanStub{}
		for _, span := range spans.GetSpans() {
			require.NotContains(t, by, span.Name)
			by[span.Name] = span
		}
		return by
	}
}

// traceOf gives the id of the trace in ctx, "" if there is none.
func traceOf(ctx context.Context) string {
	id, _, _ := telemetry.IDsOf(telemetry.Traceparent(ctx))
	return id
}

// end ends a unit as whoever has one does.
func end(u *telemetry.Unit, err error) (seen bool) {
	span := u.Ending(err != nil)
	if span == nil {
		return false
	}
	if err != nil {
		telemetry.Fail(span, "it", err.Error())
	}
	span.End()
	return true
}

func TestAUnitOfASampledTraceIsExported(t *testing.T) {
	t.Parallel()
	tracer, spans := record(t, telemetry.Config{SampleRatio: 1})
	ctx, unit := tracer.Begin(t.Context(), "root", trace.SpanKindServer, telemetry.IDs{})
	require.True(t, unit.Context().IsSampled())
	require.Equal(t, unit.Context().SpanID(), trace.SpanContextFromContext(ctx).SpanID())
	inner, child := tracer.Start(ctx, "inside")
	_, grandchild := tracer.Start(inner, "deeper")
	grandchild.End()
	child.End()
	require.True(t, end(&unit, nil))

	got := spans()
	require.Len(t, got, 3)
	root := got["root"]
	require.False(t, root.Parent.IsValid())
	require.Equal(t, unit.Context().SpanID(), root.SpanContext.SpanID())
	require.Equal(t, root.SpanContext.SpanID(), got["inside"].Parent.SpanID())
	require.Equal(t, got["inside"].SpanContext.SpanID(), got["deeper"].Parent.SpanID())
	require.NotEqual(t, root.SpanContext.SpanID(), got["deeper"].SpanContext.SpanID(), "only the unit has the unit's id")
	for _, span := range got {
		require.Equal(t, unit.Context().TraceID(), span.SpanContext.TraceID())
	}
}

func TestWhatFailsIsExportedThoughItsTraceIsNot(t *testing.T) {
	t.Parallel()
	tracer, spans := record(t, telemetry.Config{SampleRatio: 0, KeepErrors: 2})
	_, fine := tracer.Begin(t.Context(), "fine", trace.SpanKindServer, telemetry.IDs{})
	require.False(t, end(&fine, nil))

	caller := telemetry.WithTraceparent(t.Context(), traceparent[:len(traceparent)-2]+"00")
	ctx, failed := tracer.Begin(caller, "failed", trace.SpanKindServer, telemetry.IDs{})
	require.False(t, failed.Context().IsSampled(), "whoever is called is not asked to record")
	require.Equal(t, telemetry.TraceparentOf(failed.Context()), telemetry.Traceparent(ctx))
	_, inside := tracer.Start(ctx, "inside")
	inside.End()
	require.True(t, end(&failed, errors.New("broken")))

	_, root := tracer.Begin(t.Context(), "root", trace.SpanKindClient, telemetry.IDs{})
	require.True(t, end(&root, errors.New("broken")))
	_, many := tracer.Begin(t.Context(), "one too many", trace.SpanKindClient, telemetry.IDs{})
	require.False(t, end(&many, errors.New("broken")), "an outage does not flood the collector")

	got := spans()
	require.Len(t, got, 2)
	require.Equal(t, failed.Context().SpanID(), got["failed"].SpanContext.SpanID(), "the id that the logs and whoever was called know")
	require.Equal(t, traceID, got["failed"].SpanContext.TraceID().String())
	require.Equal(t, "00f067aa0ba902b7", got["failed"].Parent.SpanID().String())
	require.Equal(t, codes.Error, got["failed"].Status.Code)
	require.Equal(t, "broken", got["failed"].Status.Description)
	require.WithinRange(t, got["failed"].StartTime, time.Now().Add(-time.Minute), got["failed"].EndTime)
	require.Equal(t, root.Context().TraceID(), got["root"].SpanContext.TraceID())
	require.False(t, got["root"].Parent.IsValid())
}

func TestTheShareOfTracesIsThatOfTheRatio(t *testing.T) {
	t.Parallel()
	const n, ratio = 20000, 0.1
	tracer, spans := record(t, telemetry.Config{SampleRatio: ratio})
	defer spans()
	of := func(ids func() telemetry.IDs) (sampled int) {
		for range n {
			_, unit := tracer.Begin(t.Context(), "x", trace.SpanKindServer, ids())
			if unit.Context().IsSampled() {
				sampled++
			}
		}
		return sampled
	}
	// Six standard deviations: 0.06 of 20,000 is 254.
	require.InDelta(t, ratio*n, of(func() telemetry.IDs { return telemetry.IDs{} }), 254)
	require.InDelta(t, ratio*n, of(func() telemetry.IDs { return telemetry.IDs{Trace: telemetry.TraceIDOf(uuid.Must(uuid.NewV7()))} }), 254, "ids that can be worked out are as good")
}

// Whoever can send a request can say that its trace is to be recorded, and libraries do with every one of them.
func TestCallersDoNotDecideOnMoreThanTheyMay(t *testing.T) {
	t.Parallel()
	tracer, spans := record(t, telemetry.Config{SampleRatio: 0.1, Callers: 2})
	defer spans()
	sampled := func(kind trace.SpanKind) (n int) {
		for range 1000 {
			parent := "00-" + telemetry.TraceIDOf(uuid.New()).String() + "-00f067aa0ba902b7-01"
			ctx, unit := tracer.Begin(telemetry.WithTraceparent(t.Context(), parent), "x", kind, telemetry.IDs{})
			require.Equal(t, parent[:35], telemetry.Traceparent(ctx)[:35], "the trace is the caller's all the same")
			if unit.Context().IsSampled() {
				n++
			}
		}
		return n
	}
	require.InDelta(t, 102, sampled(trace.SpanKindServer), 70, "two, and the ratio's share")
	require.Equal(t, 1000, sampled(trace.SpanKindClient), "what our own rows and messages say was decided before")
}

func TestIDsThatFollowFromWhatTheyAreAbout(t *testing.T) {
	t.Parallel()
	// These must never change: another version of a service works out the same.
	id := uuid.MustParse("01938d6c-0f00-7abc-9def-0123456789ab")
	require.Equal(t, "a7c96ec4ce5f9bc1", telemetry.SpanIDOf(id, 1).String())
	require.Equal(t, "c632fee69a36b6fc17a5126d972b95c9", telemetry.TraceIDOf(id).String())
	seen := map[trace.SpanID]bool{}
	for range 1000 {
		of := uuid.Must(uuid.NewV7())
		for number := range 20 {
			span := telemetry.SpanIDOf(of, number)
			require.True(t, span.IsValid())
			require.False(t, seen[span])
			seen[span] = true
		}
	}
	require.True(t, telemetry.SpanIDOf(uuid.Nil, 0).IsValid())
	require.True(t, telemetry.TraceIDOf(uuid.Nil).IsValid())
}

func TestJointWorkIsInOneTraceAndLinkedToTheOthers(t *testing.T) {
	t.Parallel()
	tracer, spans := record(t, telemetry.Config{SampleRatio: 1})
	type row struct{ traceparent string }
	var rows []row
	for _, flags := range []string{"00", "01", "00", "01", "01"} {
		id := telemetry.TraceIDOf(uuid.New())
		rows = append(rows, row{"00-" + id.String() + "-00f067aa0ba902b7-" + flags})
	}
	rows = append(rows, rows[4], rows[4], row{}, row{"garbage that ends in 1 and is as long as a trace parent1"}, rows[1])
	contexts := telemetry.Contexts(rows, func(r *row) string { return r.traceparent })
	ctx, span := tracer.Joint(t.Context(), "joint", trace.SpanKindInternal, contexts)
	require.Equal(t, rows[1].traceparent[3:35], traceOf(ctx))
	span.End()

	nothing, span := tracer.Joint(t.Context(), "nothing", trace.SpanKindInternal, telemetry.Contexts(rows[:1], func(r *row) string { return r.traceparent }))
	require.Empty(t, traceOf(nothing))
	span.End()

	got := spans()
	require.Len(t, got, 1)
	require.Len(t, got["joint"].Links, 2)
	for i, link := range got["joint"].Links {
		require.Equal(t, rows[3+i].traceparent[3:35], link.SpanContext.TraceID().String())
	}
}

func TestWithoutAnExporterACallersWishIsHandedOn(t *testing.T) {
	t.Parallel()
	tracer := telemetry.NoTracer()
	require.False(t, tracer.Exports())
	ctx, unit := tracer.Begin(telemetry.WithTraceparent(t.Context(), traceparent), "x", trace.SpanKindServer, telemetry.IDs{})
	require.Nil(t, unit.Ending(true), "nobody would see it")
	id, _, sampled := telemetry.IDsOf(telemetry.Traceparent(ctx))
	require.Equal(t, traceID, id)
	require.True(t, sampled)
	_, span := tracer.Joint(ctx, "x", trace.SpanKindInternal, func(yield func(trace.SpanContext) bool) { yield(unit.Context()) })
	require.False(t, span.IsRecording())

	_, own := tracer.Begin(t.Context(), "x", trace.SpanKindServer, telemetry.IDs{})
	require.True(t, own.Context().IsValid(), "logs have ids")
	require.False(t, own.Context().IsSampled())
}
