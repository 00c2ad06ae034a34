package telemetry

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
	"golang.org/x/time/rate"
)

// Tracer makes spans. Whether a trace is exported is decided where it begins, by the ratio; whoever continues it keeps to that, only of what callers from outside
// want there is a bound. What ends in an
// error in a trace that is not exported may be exported nevertheless, see Unit. It is safe for concurrent use.
type Tracer struct {
	trace.Tracer // for what happens inside of a unit

	provider *sdktrace.TracerProvider
	exports  bool
	below    uint64 // trace ids that are sampled, by their second half without its highest bit
	kept     *rate.Limiter
	asked    *rate.Limiter // requests that are exported because their caller says so
}

func limiter(perSecond float64) *rate.Limiter {
	return rate.NewLimiter(rate.Limit(perSecond), int(math.Ceil(perSecond)))
}

func newTracer(ctx context.Context, cfg Config) (*Tracer, error) {
	t := &Tracer{below: uint64(cfg.SampleRatio * (1 << 63)), kept: limiter(cfg.KeepErrors), asked: limiter(cfg.Callers)}
	options := []sdktrace.TracerProviderOption{sdktrace.WithIDGenerator(ids{}), sdktrace.WithResource(serviceResource(cfg))}
	exporter := cfg.Exporter
	if exporter == nil && cfg.OTLP.Endpoint != "" {
		var err error
		if exporter, err = cfg.OTLP.spans(ctx); err != nil {
			return nil, fmt.Errorf("make trace exporter: %w", err)
		}
	}
	if exporter == nil {
		// Nobody gets our spans, but a caller's wish to see the trace is handed on to whom we call.
		options = append(options, sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.NeverSample())))
		t.below = 0
	} else {
		t.exports = true
		options = append(options,
			sdktrace.WithSampler(sampler{sdktrace.ParentBased(sdktrace.TraceIDRatioBased(cfg.SampleRatio))}),
			sdktrace.WithSpanProcessor(newSpanQueue(exporter, cfg.exports)))
	}
	t.provider = sdktrace.NewTracerProvider(options...)
	t.Tracer = t.provider.Tracer("github.com/beaconpost/beaconpost", trace.WithInstrumentationVersion(cfg.Version), trace.WithSchemaURL(semconv.SchemaURL))
	return t, nil
}

// NoTracer makes one that exports nothing.
func NoTracer() *Tracer {
	t, _ := newTracer(context.Background(), Config{}) // only an exporter can fail
	return t
}

// Exports says whether there is somebody who gets spans.
func (t *Tracer) Exports() bool { return t.exports }

// Provider is for libraries that make spans of their own.
func (t *Tracer) Provider() trace.TracerProvider { return t.provider }

// serviceResource says who exports (OpenTelemetry semantic conventions, service).
func serviceResource(cfg Config) *resource.Resource {
	return resource.NewWithAttributes(semconv.SchemaURL,
		semconv.ServiceNamespace("beaconpost"), semconv.ServiceName("beaconpost-"+cfg.Service), semconv.ServiceVersion(cfg.Version), semconv.ServiceInstanceID(cfg.instance))
}

// Unit is work at a border of the system that a span tells about: a request, an attempt, a check. What a unit is worth is known when it ends, so that
// is when it is described. It is used by one goroutine.
type Unit struct {
	tracer *Tracer
	span   trace.Span // if the trace is sampled
	sc     trace.SpanContext
	parent trace.SpanContext
	name   string
	kind   trace.SpanKind
	begun  time.Time
}

// IDs are those that a unit is to have because others can work them out, see TraceIDOf and SpanIDOf. The zero value leaves them open.
type IDs struct {
	Trace trace.TraceID // if the unit begins a trace
	Span  trace.SpanID
}

// Begin begins a unit in the trace of ctx, or in a new one. What is not sampled costs no more than its ids.
func (t *Tracer) Begin(ctx context.Context, name string, kind trace.SpanKind, want IDs) (context.Context, Unit) {
	u := Unit{tracer: t, parent: trace.SpanContextFromContext(ctx), name: name, kind: kind, begun: time.Now()}
	traceID, flags := u.parent.TraceID(), u.parent.TraceFlags()
	if !u.parent.IsValid() {
		u.parent = trace.SpanContext{}
		if traceID, flags = want.Trace, 0; !traceID.IsValid() {
			traceID = newTraceID()
		}
		if t.shares(traceID) {
			flags = trace.FlagsSampled
		}
	} else if t.exports && kind == trace.SpanKindServer && u.parent.IsRemote() && flags.IsSampled() && !t.shares(traceID) && !t.asked.Allow() {
		flags &^= trace.FlagsSampled
	}
	id := want.Span
	if !id.IsValid() {
		id = newSpanID()
	}
	u.sc = trace.NewSpanContext(trace.SpanContextConfig{TraceID: traceID, SpanID: id, TraceFlags: flags, TraceState: u.parent.TraceState()})
	if t.exports && flags.IsSampled() {
		u.span = t.start(ctx, &u)
		return trace.ContextWithSpan(ctx, u.span), u
	}
	return trace.ContextWithSpanContext(ctx, u.sc), u
}

// shares says whether a trace is of the ratio's share.
func (t *Tracer) shares(id trace.TraceID) bool {
	return binary.BigEndian.Uint64(id[8:])>>1 < t.below
}

// Context names the unit's span.
func (u *Unit) Context() trace.SpanContext { return u.sc }

// Ending gives the span to describe and to end, or nil if nobody gets to see it. A unit that failed is seen though its trace is not sampled, with the ids that
// it had all along, as long as there are not too many of them.
func (u *Unit) Ending(failed bool) trace.Span {
	if u.span != nil || !failed || !u.tracer.exports || !u.tracer.kept.Allow() {
		return u.span
	}
	return u.tracer.start(trace.ContextWithSpanContext(context.Background(), u.parent), u)
}

// start starts the unit's span. What it was to be called is not left in any context that others start spans from.
func (t *Tracer) start(ctx context.Context, u *Unit) trace.Span {
	sc := u.sc // so that units themselves stay on the stack
	_, span := t.Start(context.WithValue(ctx, asKey{}, &sc), u.name, trace.WithSpanKind(u.kind), trace.WithTimestamp(u.begun))
	return span
}

// Joint starts a span for work that is done for many traces at once: inside of the first that is sampled, linked to the others. Without one that is
// sampled ctx comes back, and a span that records nothing. End the span.
func (t *Tracer) Joint(ctx context.Context, name string, kind trace.SpanKind, contexts func(yield func(trace.SpanContext) bool)) (context.Context, trace.Span) {
	if !t.exports {
		return ctx, noop.Span{}
	}
	var first trace.SpanContext
	var links []trace.Link
	for sc := range contexts {
		switch {
		case !sc.IsSampled() || sc.Equal(first) || len(links) > 0 && sc.Equal(links[len(links)-1].SpanContext): // an event's deliveries follow each other
		case !first.IsValid():
			first = sc
		case len(links) < mostLinks:
			links = append(links, trace.Link{SpanContext: sc})
		}
	}
	if !first.IsValid() {
		return ctx, noop.Span{}
	}
	return t.Start(trace.ContextWithSpanContext(ctx, first), name, trace.WithSpanKind(kind), trace.WithLinks(links...))
}

// mostLinks is what the SDK keeps of a span's links.
const mostLinks = 128

// Contexts gives the contexts of those traceparents that are sampled, for Joint.
func Contexts[T any](list []T, traceparent func(*T) string) func(yield func(trace.SpanContext) bool) {
	return func(yield func(trace.SpanContext) bool) {
		for i := range list {
			text := traceparent(&list[i])
			if !sampledText(text) {
				continue
			}
			if sc := trace.SpanContextFromContext(WithTraceparent(context.Background(), text)); sc.IsValid() && !yield(sc) {
				return
			}
		}
	}
}

// sampledText says whether a traceparent may be sampled, without reading it.
func sampledText(traceparent string) bool {
	const flags = 54 // the last of its digits
	return len(traceparent) > flags && traceparent[flags]&1 == 1
}

// Fail says on a span that it ended in an error. kind is a class of few values, text says more or is empty.
func Fail(span trace.Span, kind, text string) {
	if kind != "" {
		span.SetAttributes(semconv.ErrorTypeKey.String(kind))
	}
	span.SetStatus(codes.Error, text)
}

// SpanIDOf works out a span's id from what it is about, a UUIDv7, so that others can name it without having heard of it. It says the same everywhere and always.
func SpanIDOf(of [16]byte, number int) (id trace.SpanID) {
	binary.BigEndian.PutUint64(id[:], mixed(of, uint64(number))) //nolint:gosec // any number will do
	return id
}

// TraceIDOf works out the id of the trace of what is in no other, a UUIDv7.
func TraceIDOf(of [16]byte) (id trace.TraceID) {
	const first, second = 1 << 62, 1 << 63 // no number of a span
	binary.BigEndian.PutUint64(id[:8], mixed(of, first))
	binary.BigEndian.PutUint64(id[8:], mixed(of, second))
	return id
}

// mixed spreads the end of a UUIDv7, which is random, and a number over all bits (splitmix64). It is not 0.
func mixed(of [16]byte, number uint64) uint64 {
	x := binary.BigEndian.Uint64(of[8:]) + number*0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return max(x^x>>31, 1)
}

func newSpanID() (id trace.SpanID) {
	for !id.IsValid() {
		binary.BigEndian.PutUint64(id[:], rand.Uint64())
	}
	return id
}

func newTraceID() (id trace.TraceID) {
	for !id.IsValid() {
		binary.BigEndian.PutUint64(id[:8], rand.Uint64())
		binary.BigEndian.PutUint64(id[8:], rand.Uint64())
	}
	return id
}

// asKey is for the context of a span that is exported whatever its trace is.
type asKey struct{}

// named gives that context, nil if there is none.
func named(ctx context.Context) *trace.SpanContext {
	sc, _ := ctx.Value(asKey{}).(*trace.SpanContext)
	return sc
}

// ids makes the ids of spans.
type ids struct{}

var _ sdktrace.IDGenerator = ids{}

// NewIDs implements sdktrace.IDGenerator.
func (ids) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	if sc := named(ctx); sc != nil {
		return sc.TraceID(), sc.SpanID()
	}
	return newTraceID(), newSpanID()
}

// NewSpanID implements sdktrace.IDGenerator.
func (ids) NewSpanID(ctx context.Context, _ trace.TraceID) trace.SpanID {
	if sc := named(ctx); sc != nil {
		return sc.SpanID()
	}
	return newSpanID()
}

// sampler exports what is to be exported whatever its trace is, and leaves the rest to another.
type sampler struct{ sdktrace.Sampler }

// ShouldSample implements sdktrace.Sampler.
func (s sampler) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	if named(p.ParentContext) != nil {
		return sdktrace.SamplingResult{Decision: sdktrace.RecordAndSample, Tracestate: trace.SpanContextFromContext(p.ParentContext).TraceState()}
	}
	return s.Sampler.ShouldSample(p)
}

// Attr is short for attributes that are our own.
func Attr(key, value string) attribute.KeyValue { return attribute.String("beaconpost."+key, value) }
