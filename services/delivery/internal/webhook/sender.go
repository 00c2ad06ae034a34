// Package webhook makes attempts: it signs by Standard Webhooks and POSTs, with hard bounds on everything an endpoint can do to us.
//
// It decides nothing about retries. Redirects are refused, proxies from the environment ignored, and addresses checked when dialled.
package webhook

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"syscall"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/beaconpost/beaconpost/pkg/signature"
	"github.com/beaconpost/beaconpost/pkg/telemetry"
	"github.com/beaconpost/beaconpost/services/delivery/internal/delivery"
	"github.com/beaconpost/beaconpost/services/delivery/internal/wire"
)

var (
	_ delivery.Sender     = (*Sender)(nil)
	_ delivery.TestSender = (*Sender)(nil)
)

// Config of a Sender.
type Config struct {
	UserAgent string
	// Control sees every address before it is dialled and may refuse it, see net.Dialer.Control.
	Control   func(network, address string, c syscall.RawConn) error
	HTTPSOnly bool          // an http URL is a blocked address
	Resolver  *net.Resolver // nil: the system's
	Tracer    *telemetry.Tracer
	TLS       *tls.Config // nil: the system's roots
	Limits    wire.Limits
	// RetryAfterMax is what a longer Retry-After is taken for; 0: Retry-After is ignored.
	RetryAfterMax time.Duration
}

// Sender makes attempts. It is safe for concurrent use.
type Sender struct {
	client    *wire.Client
	userAgent string
	tracer    *telemetry.Tracer
	longest   time.Duration // of a Retry-After
}

// ExcerptBytes is how much of an answer's body is kept.
const ExcerptBytes = 4 << 10

// NewSender makes a Sender with its own connections.
func NewSender(cfg Config) *Sender {
	return &Sender{
		client: wire.NewClient(wire.Config{
			Control: cfg.Control, SecureOnly: cfg.HTTPSOnly, Resolver: cfg.Resolver, TLS: cfg.TLS, Limits: cfg.Limits,
		}),
		userAgent: cfg.UserAgent, tracer: cfg.Tracer, longest: cfg.RetryAfterMax,
	}
}

// Close closes idle connections.
func (s *Sender) Close() { s.client.Close() }

// Send implements delivery.Sender. The target's timeout bounds everything from the dial to the end of the answer's body.
func (s *Sender) Send(ctx context.Context, job *delivery.Job) *delivery.Attempt {
	return s.send(ctx, job, nil)
}

// Test implements delivery.TestSender.
func (s *Sender) Test(ctx context.Context, job *delivery.Job) (*delivery.Attempt, []delivery.Phase) {
	var t wire.Timing
	attempt := s.send(ctx, job, &t)
	var phases []delivery.Phase
	for _, p := range []delivery.Phase{
		{Name: "resolve", Took: t.Resolve}, {Name: "connect", Took: t.Connect}, {Name: "handshake", Took: t.Handshake},
		{Name: "send", Took: t.Send}, {Name: "wait", Took: t.Wait}, {Name: "receive", Took: t.Receive},
	} {
		if p.Took > 0 {
			phases = append(phases, p)
		}
	}
	return attempt, phases
}

func (s *Sender) send(ctx context.Context, job *delivery.Job, timing *wire.Timing) *delivery.Attempt {
	// Retries, hours later and by another process, are in the same trace, and link to each other: the ids follow from what is attempted.
	ids := telemetry.IDs{Trace: telemetry.TraceIDOf(job.EventID), Span: telemetry.SpanIDOf(job.ID, job.Attempt)}
	traced, unit := s.tracer.Begin(telemetry.WithTraceparent(ctx, job.Traceparent), http.MethodPost, trace.SpanKindClient, ids)
	sc := unit.Context()
	attempt := &delivery.Attempt{Number: job.Attempt, StartedAt: time.Now().UTC(), TraceID: sc.TraceID().String(), SpanID: sc.SpanID().String(), Sampled: sc.IsSampled()}
	id, err := uuid.NewV7()
	if err != nil {
		return nil // no randomness: nothing was sent, the message comes back
	}
	attempt.ID = id
	err = s.exchange(ctx, job, &wire.Request{URL: job.Target.URL, Body: job.Payload, Timing: timing}, telemetry.Traceparent(traced), attempt)
	attempt.Duration = time.Since(attempt.StartedAt)
	if err != nil && ctx.Err() != nil {
		return nil // cut by our own shutdown
	}
	if err != nil {
		attempt.Class, attempt.Detail = classify(err)
	}
	if span := unit.Ending(!attempt.Succeeded()); span != nil {
		describe(span, job, attempt, sc)
		span.End()
	}
	return attempt
}

// describe says on the span what was attempted and what came of it (OpenTelemetry semantic conventions, HTTP client). A retry is linked to the attempt before.
// Of the URL there is only whom it goes to: paths and queries have tokens.
func describe(span trace.Span, job *delivery.Job, attempt *delivery.Attempt, sc trace.SpanContext) {
	span.SetAttributes(
		semconv.HTTPRequestMethodPost, semconv.HTTPRequestResendCount(job.Attempt-1), semconv.HTTPRequestBodySize(len(job.Payload)),
		telemetry.Attr("tenant.id", job.Tenant.String()), telemetry.Attr("delivery.id", job.ID.String()),
		telemetry.Attr("event.id", job.EventID.String()), telemetry.Attr("endpoint.id", job.Target.EndpointID.String()),
	)
	if u, err := url.Parse(job.Target.URL); err == nil {
		span.SetAttributes(semconv.URLScheme(u.Scheme), semconv.ServerAddress(u.Hostname()), semconv.ServerPort(portOf(u)))
	}
	if job.Attempt > 1 {
		before := sc.WithSpanID(telemetry.SpanIDOf(job.ID, job.Attempt-1))
		span.AddLink(trace.Link{SpanContext: before, Attributes: []attribute.KeyValue{telemetry.Attr("link", "attempt before")}})
	}
	if attempt.StatusCode != 0 {
		span.SetAttributes(semconv.HTTPResponseStatusCode(attempt.StatusCode))
	}
	switch {
	case attempt.Class != "":
		telemetry.Fail(span, string(attempt.Class), attempt.Detail)
	case !attempt.Succeeded():
		telemetry.Fail(span, strconv.Itoa(attempt.StatusCode), "")
	}
}

func portOf(u *url.URL) int {
	if port, err := strconv.Atoi(u.Port()); err == nil {
		return port
	}
	if u.Scheme == "http" {
		return 80
	}
	return 443
}

func (s *Sender) exchange(ctx context.Context, job *delivery.Job, r *wire.Request, traceparent string, attempt *delivery.Attempt) error {
	at := attempt.StartedAt
	var room [16]wire.Field
	r.Header = s.header(room[:0], job, at)
	if traceparent != "" {
		r.Header = append(r.Header, wire.Field{Name: "Traceparent", Value: traceparent})
	}
	answer, err := s.client.Post(ctx, r, at.Add(job.Target.Timeout))
	attempt.StatusCode, attempt.Excerpt, attempt.Truncated = answer.Status, answer.Excerpt, answer.Truncated
	if answer.RetryAfter != "" && !attempt.Succeeded() {
		attempt.NotBefore = notBefore(answer.RetryAfter, time.Now(), s.longest)
	}
	return err
}

// header appends the fields of a request.
func (s *Sender) header(header []wire.Field, job *delivery.Job, at time.Time) []wire.Field {
	id, stamp := job.EventID.String(), signature.Timestamp(at)
	signed := signature.Sign(job.Target.SecretsAt(at), id, at, job.Payload)
	header = append(header, wire.Field{Name: "Content-Type", Value: "application/json"}, wire.Field{Name: "User-Agent", Value: s.userAgent})
	if !job.Target.SvixOnly {
		header = append(header,
			wire.Field{Name: signature.HeaderID, Value: id}, wire.Field{Name: signature.HeaderTimestamp, Value: stamp}, wire.Field{Name: signature.HeaderSignature, Value: signed})
	}
	if job.Target.Svix {
		header = append(header,
			wire.Field{Name: signature.SvixID, Value: id}, wire.Field{Name: signature.SvixTimestamp, Value: stamp}, wire.Field{Name: signature.SvixSignature, Value: signed})
	}
	header = append(header,
		wire.Field{Name: "Beaconpost-Event-Type", Value: job.EventType},
		wire.Field{Name: "Beaconpost-Delivery-Id", Value: job.ID.String()},
		wire.Field{Name: "Beaconpost-Attempt", Value: strconv.Itoa(job.Attempt)})
	for _, f := range job.Target.Header {
		header = append(header, wire.Field{Name: f.Name, Value: f.Value})
	}
	return header
}
