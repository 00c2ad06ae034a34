// Package webhook makes attempts: it signs by Standard Webhooks and POSTs, with hard bounds on everything an endpoint can do to us.
//
// It decides nothing about retries. Redirects are refused, proxies from the environment ignored, and addresses checked when dialled.
package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/beaconpost/beaconpost/pkg/signature"
	"github.com/beaconpost/beaconpost/pkg/telemetry"
	"github.com/beaconpost/beaconpost/services/delivery/internal/delivery"
)

const (
	maxExcerpt      = 4 << 10  // bytes of the answer's body that are kept
	maxDrain        = 64 << 10 // bytes read beyond that, so that the connection can be used again
	maxHeaderBytes  = 64 << 10
	dialTimeout     = 5 * time.Second
	tlsTimeout      = 5 * time.Second
	idlePerEndpoint = 512
	idleTimeout     = 90 * time.Second
)

var _ delivery.Sender = (*Sender)(nil)

// Config of a Sender.
type Config struct {
	UserAgent string
	// Control sees every address before it is dialled and may refuse it, see net.Dialer.Control.
	Control func(network, address string, c syscall.RawConn) error
	Tracer  trace.Tracer
	TLS     *tls.Config // nil: the system's roots
}

// Sender makes attempts. It is safe for concurrent use.
type Sender struct {
	transport *http.Transport // without a Client: redirects are not followed, cookies not kept
	userAgent string
	tracer    trace.Tracer
}

// NewSender makes a Sender with its own connections.
func NewSender(cfg Config) *Sender {
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second, Control: cfg.Control}
	transport := &http.Transport{
		Proxy:                  nil, // a proxy of the environment would be dialled instead of the checked address
		DialContext:            dialer.DialContext,
		TLSClientConfig:        cfg.TLS,
		TLSHandshakeTimeout:    tlsTimeout,
		MaxResponseHeaderBytes: maxHeaderBytes,
		MaxIdleConnsPerHost:    idlePerEndpoint,
		MaxIdleConns:           4096,
		IdleConnTimeout:        idleTimeout,
		DisableCompression:     true, // nothing is decompressed, so a small answer stays small
		ForceAttemptHTTP2:      true,
	}
	return &Sender{transport: transport, userAgent: cfg.UserAgent, tracer: cfg.Tracer}
}

// Close closes idle connections.
func (s *Sender) Close() { s.transport.CloseIdleConnections() }

// Send implements delivery.Sender. The target's timeout bounds everything from the dial to the end of the answer's body.
func (s *Sender) Send(ctx context.Context, job *delivery.Job) *delivery.Attempt {
	ctx = telemetry.WithTraceparent(ctx, job.Traceparent)
	ctx, span := s.tracer.Start(ctx, http.MethodPost, trace.WithSpanKind(trace.SpanKindClient))
	defer span.End()
	attempt := &delivery.Attempt{Number: job.Attempt, StartedAt: time.Now().UTC(), TraceID: telemetry.TraceID(ctx)}
	id, err := uuid.NewV7()
	if err != nil {
		return nil // no randomness: nothing was sent, the message comes back
	}
	attempt.ID = id
	bounded, cancel := context.WithTimeout(ctx, job.Target.Timeout)
	defer cancel()
	err = s.exchange(bounded, job, attempt)
	attempt.Duration = time.Since(attempt.StartedAt)
	if err != nil && ctx.Err() != nil {
		return nil // cut by our own shutdown
	}
	if err != nil {
		attempt.Class, attempt.Detail = classify(err)
	}
	if span.IsRecording() {
		describe(span, job, attempt)
	}
	return attempt
}

// describe says on the span what was attempted and what came of it.
func describe(span trace.Span, job *delivery.Job, attempt *delivery.Attempt) {
	span.SetAttributes(
		attribute.String("http.request.method", http.MethodPost),
		attribute.String("beaconpost.delivery.id", job.ID.String()),
		attribute.Int("http.request.resend_count", job.Attempt-1),
	)
	if attempt.Class != "" {
		span.SetStatus(codes.Error, string(attempt.Class))
		span.SetAttributes(attribute.String("error.type", string(attempt.Class)))
	}
	if attempt.StatusCode != 0 {
		span.SetAttributes(attribute.Int("http.response.status_code", attempt.StatusCode))
	}
}

func (s *Sender) exchange(ctx context.Context, job *delivery.Job, attempt *delivery.Attempt) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, job.Target.URL, bytes.NewReader(job.Payload))
	if err != nil {
		return &invalidURLError{err}
	}
	s.setHeaders(ctx, req, job, attempt.StartedAt)
	resp, err := s.transport.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("post webhook: %w", err)
	}
	defer resp.Body.Close()
	attempt.StatusCode = resp.StatusCode
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return nil // its body is the connection itself, which no deadline of ours bounds any more
	}
	return readExcerpt(resp.Body, attempt)
}

func (s *Sender) setHeaders(ctx context.Context, req *http.Request, job *delivery.Job, at time.Time) {
	id := job.EventID.String()
	h := req.Header
	h["Content-Type"] = []string{"application/json"}
	h["User-Agent"] = []string{s.userAgent}
	h["Webhook-Id"] = []string{id}
	h["Webhook-Timestamp"] = []string{signature.Timestamp(at)}
	h["Webhook-Signature"] = []string{signature.Sign(job.Target.SecretsAt(at), id, at, job.Payload)}
	h["Beaconpost-Event-Type"] = []string{job.EventType}
	h["Beaconpost-Delivery-Id"] = []string{job.ID.String()}
	h["Beaconpost-Attempt"] = []string{strconv.Itoa(job.Attempt)}
	if traceparent := telemetry.Traceparent(ctx); traceparent != "" {
		h["Traceparent"] = []string{traceparent}
	}
}

// readExcerpt keeps the start of the body and reads a bounded part of the rest. A body that goes on after that is cut off by closing
// the connection; one that fails or is too slow before that fails the attempt.
func readExcerpt(body io.Reader, attempt *delivery.Attempt) error {
	excerpt, err := io.ReadAll(io.LimitReader(body, maxExcerpt+1))
	if len(excerpt) > maxExcerpt {
		excerpt, attempt.Truncated = excerpt[:maxExcerpt], true
	}
	if len(excerpt) > 0 {
		attempt.Excerpt = excerpt
	}
	if err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	if attempt.Truncated {
		if _, err := io.CopyN(io.Discard, body, maxDrain); err != nil && err != io.EOF { //nolint:errorlint // CopyN returns io.EOF itself
			return fmt.Errorf("read answer: %w", err)
		}
	}
	return nil
}
