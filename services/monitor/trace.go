package monitor

import (
	"context"

	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/beaconpost/beaconpost/pkg/telemetry"
	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
	"github.com/beaconpost/beaconpost/services/monitor/internal/monitor"
)

// traced makes a span of each check. What it looks at is told nothing of it.
type traced struct {
	monitor.Prober
	tracer *telemetry.Tracer
}

// Check implements monitor.Prober.
func (t traced) Check(ctx context.Context, job *check.Job) check.Result {
	ctx, unit := t.tracer.Begin(ctx, "check "+string(job.Spec.Kind), trace.SpanKindClient, telemetry.IDs{})
	result := t.Prober.Check(ctx, job)
	result.Traceparent = telemetry.TraceparentOf(unit.Context())
	if span := unit.Ending(result.Outcome == check.Down); span != nil {
		describe(span, job, &result)
		span.End()
	}
	return result
}

// traceRefused makes the span of a check that was not begun, so that its line and its record have a trace like others.
func traceRefused(tracer *telemetry.Tracer, f *monitor.Finding) (traceparent string) {
	_, unit := tracer.Begin(context.Background(), "check "+string(f.Monitor.Spec.Kind), trace.SpanKindClient, telemetry.IDs{})
	if span := unit.Ending(true); span != nil {
		describe(span, &check.Job{Monitor: f.Monitor.ID, Spec: &f.Monitor.Spec}, &f.Result)
		telemetry.Fail(span, string(f.Cause), "")
		span.End()
	}
	return telemetry.TraceparentOf(unit.Context())
}

// describe says on the span what was checked and found. Of the target there is nothing: URLs have tokens.
func describe(span trace.Span, job *check.Job, result *check.Result) {
	span.SetAttributes(telemetry.Attr("monitor.id", job.Monitor.String()), telemetry.Attr("check.kind", string(job.Spec.Kind)), telemetry.Attr("check.outcome", string(result.Outcome)))
	if result.Status != 0 && job.Spec.Kind == check.HTTP {
		span.SetAttributes(semconv.HTTPResponseStatusCode(result.Status))
	}
	if result.Outcome == check.Down {
		telemetry.Fail(span, string(result.Cause), "")
	}
}
