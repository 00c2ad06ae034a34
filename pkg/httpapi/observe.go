package httpapi

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/rs/zerolog"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/beaconpost/beaconpost/pkg/auth"
	"github.com/beaconpost/beaconpost/pkg/telemetry"
)

// note is what is learnt about a request on its way: who sent it, and what its one log line says. It belongs to the request's goroutine.
type note struct {
	err       error
	principal auth.Principal
	aborted   bool // the answer was begun and cannot be finished
}

type noteKey struct{}

// noted is a request's context with its note, and the writer of its answer, in one.
type noted struct {
	context.Context
	note   note
	answer answer
}

// Value implements context.Context.
func (c *noted) Value(key any) any {
	if _, ok := key.(noteKey); ok {
		return &c.note
	}
	return c.Context.Value(key)
}

// noteOf gives the note of a request; nil in a context that is not of one.
func noteOf(ctx context.Context) *note {
	n, _ := ctx.Value(noteKey{}).(*note)
	return n
}

func noteError(ctx context.Context, err error) {
	if n := noteOf(ctx); n != nil {
		n.err = err
	}
}

func notePrincipal(ctx context.Context, p auth.Principal) {
	if n := noteOf(ctx); n != nil {
		n.principal = p
	}
}

// answer notes what is written.
type answer struct {
	http.ResponseWriter
	status int // 0: nothing yet
	bytes  int
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// WriteHeader implements http.ResponseWriter. Interim answers are not the answer.
func (a *answer) WriteHeader(status int) {
	if a.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (a *answer) Write(p []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	n, err := a.ResponseWriter.Write(p)
	a.bytes += n
	return n, err
}

// WriteString implements io.StringWriter.
func (a *answer) WriteString(s string) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	n, err := io.WriteString(a.ResponseWriter, s)
	a.bytes += n
	return n, err
}

// observe counts, times, traces and logs each request, and answers 500 for a handler that panics.
func observe(m *metrics, tel *telemetry.Telemetry) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			start := time.Now()
			ctx := telemetry.WithTraceparent(r.Context(), r.Header.Get("Traceparent"))
			ctx, unit := tel.Tracer.Begin(ctx, r.Method, trace.SpanKindServer, telemetry.IDs{})
			known := &noted{Context: ctx}
			n := &known.note
			r = r.WithContext(known)
			ww := &known.answer
			ww.ResponseWriter = w
			func() {
				defer recoverTo(ww, r, n)
				next.ServeHTTP(ww, r)
			}()
			status := ww.status
			if status == 0 {
				status = http.StatusOK
			}
			route := routeOf(r)
			elapsed := time.Since(start)
			m.observe(ctx, r.Method, route, status, elapsed)
			if span := unit.Ending(status >= http.StatusInternalServerError || n.aborted); span != nil {
				describe(span, r, route, status, n)
				span.End()
			}
			logRequest(&tel.Log, r, unit.Context(), route, status, ww.bytes, elapsed, n)
			if n.aborted {
				panic(http.ErrAbortHandler) // only a broken connection says that the answer is incomplete
			}
		})
	}
}

func recoverTo(w *answer, r *http.Request, n *note) {
	p := recover()
	if p == nil {
		return
	}
	if p == http.ErrAbortHandler { //nolint:errorlint // a panic value, compared as net/http does
		n.aborted = true
		return
	}
	err := fmt.Errorf("handler panicked: %v\n%s", p, debug.Stack())
	if w.status != 0 {
		n.err, n.aborted = err, true
		return
	}
	WriteError(w, r, err)
}

// routeOf gives the template, so that ids never become labels.
func routeOf(r *http.Request) string {
	if pattern := chi.RouteContext(r.Context()).RoutePattern(); pattern != "" {
		return pattern
	}
	return "none"
}

// describe says on the span what was asked and answered (OpenTelemetry semantic conventions, HTTP server). The path is the route's: paths have ids, and some
// have tokens.
func describe(span trace.Span, r *http.Request, route string, status int, n *note) {
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	method, named := r.Method, r.Method
	if methodLabel(method) != method {
		method, named = "_OTHER", "HTTP"
	}
	span.SetName(named + " " + route)
	span.SetAttributes(
		semconv.HTTPRequestMethodKey.String(method), semconv.HTTPRoute(route), semconv.HTTPResponseStatusCode(status), semconv.URLScheme(scheme), semconv.URLPath(route),
		semconv.ServerAddress(short(r.Host)), semconv.NetworkProtocolVersion(strings.TrimPrefix(r.Proto, "HTTP/")), semconv.UserAgentOriginal(short(r.UserAgent())),
	)
	if n.principal.Kind != "" && !n.principal.Tenant.IsZero() {
		span.SetAttributes(telemetry.Attr("tenant.id", n.principal.Tenant.String()))
	}
	if status < http.StatusInternalServerError && !n.aborted {
		return
	}
	text := ""
	if n.err != nil {
		text = n.err.Error()
	}
	telemetry.Fail(span, strconv.Itoa(status), text)
}

const (
	shortMost  = 256
	methodMost = 32
	errorMost  = 8 << 10 // with the stack of a panic
)

// short is a caller's text that spans may have. Thousands of them wait for a collector that is slow, and one that gets too much at once takes none of it.
func short(text string) string { return cut(text, shortMost) }

func cut(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.Clone(strings.ToValidUTF8(text[:most], ""))
}

func logRequest(log *zerolog.Logger, r *http.Request, sc trace.SpanContext, route string, status, size int, elapsed time.Duration, n *note) {
	level := zerolog.InfoLevel
	if status >= http.StatusInternalServerError || n.aborted {
		level = zerolog.ErrorLevel
	}
	event := log.WithLevel(level)
	if !event.Enabled() {
		return // what follows is worked out for each request
	}
	event = event.Str("method", cut(r.Method, methodMost)).Str("route", route).Int("status", status).Int("response_bytes", size).
		Int64("request_bytes", r.ContentLength).Dur("duration_ms", elapsed).
		Str("trace_id", sc.TraceID().String()).Str("span_id", sc.SpanID().String())
	if n.principal.Kind != "" {
		event = event.Str("credential_id", n.principal.CredentialID)
		if !n.principal.Tenant.IsZero() { // not an operator
			event = event.Str("tenant_id", n.principal.Tenant.String())
		}
	}
	if n.err != nil {
		most := errorMost
		if status < http.StatusInternalServerError && !n.aborted {
			most = shortMost // some of it may be the caller's
		}
		event = event.Str("error", cut(n.err.Error(), most))
	}
	event.Msg("request")
}
