// Package service owns what every service process is made of: configuration that all share, database, broker, credentials and
// telemetry opened in order and closed in reverse, readiness, and the two listeners.
//
// It knows no service's routes or work.
package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"golang.org/x/net/http/httpguts"

	"github.com/beaconpost/beaconpost/pkg/auth"
	"github.com/beaconpost/beaconpost/pkg/config"
	"github.com/beaconpost/beaconpost/pkg/lifecycle"
	"github.com/beaconpost/beaconpost/pkg/postgres"
	"github.com/beaconpost/beaconpost/pkg/stream"
	"github.com/beaconpost/beaconpost/pkg/telemetry"
)

// Config is what all services read. Fields without a tag are set by the process that starts the service.
type Config struct {
	DatabaseURL      config.Secret `env:"DATABASE_URL,required" doc:"Postgres, as a URL or key=value pairs. The login needs membership in the beaconpost_ roles and nothing else."`
	DatabaseMaxConns int32         `env:"DATABASE_MAX_CONNS" envDefault:"10" doc:"Connections per service and replica."`

	NATSURL        string `env:"NATS_URL" envDefault:"nats://127.0.0.1:4222" doc:"NATS servers, separated by commas."`
	StreamReplicas int    `env:"STREAM_REPLICAS" envDefault:"1" doc:"Copies that JetStream keeps: 1, 3 or 5."`

	Auth    auth.JWTConfig   `envPrefix:"AUTH_"`
	APIKeys auth.CacheConfig `envPrefix:"API_KEY_CACHE_"`

	LogLevel         string        `env:"LOG_LEVEL" envDefault:"info" doc:"trace, debug, info, warn or error."`
	OTLPEndpoint     string        `env:"OTLP_ENDPOINT" doc:"URL of an OpenTelemetry collector for traces, without /v1/traces; none: nothing is exported."`
	OTLPProtocol     string        `env:"OTLP_PROTOCOL" envDefault:"http/protobuf" doc:"http/protobuf or grpc."`
	OTLPHeaders      config.Secret `env:"OTLP_HEADERS" doc:"Sent with each export: name=value, separated by commas, values percent-encoded."`
	OTLPMetricsEvery time.Duration `env:"OTLP_METRICS_INTERVAL" envDefault:"0s" doc:"How often the collector is sent the metrics too; 0s: never, they are scraped."`
	TraceSampleRatio float64       `env:"TRACE_SAMPLE_RATIO" envDefault:"1" doc:"Share of new traces that are exported, 0 to 1."`
	TraceKeepErrors  float64       `env:"TRACE_KEEP_ERRORS" envDefault:"5" doc:"How many requests, attempts and checks per second and process are exported for having failed, though their trace is not."`
	TraceCallers     float64       `env:"TRACE_CALLERS" envDefault:"100" doc:"How many requests per second and process are exported because their caller's traceparent says so; of more TRACE_SAMPLE_RATIO decides."`
	ShutdownGrace    time.Duration `env:"SHUTDOWN_GRACE" envDefault:"25s" doc:"How long a stop may take; longer than the longest attempt."`

	Version      string
	LogWriter    io.Writer
	NATSOptions  []nats.Option
	SpanExporter sdktrace.SpanExporter
}

// Validate implements config.Validator.
func (c Config) Validate() []error {
	var problems []error
	if c.StreamReplicas != 1 && c.StreamReplicas != 3 && c.StreamReplicas != 5 {
		problems = append(problems, config.Invalid("STREAM_REPLICAS", "expected 1, 3 or 5, got %d", c.StreamReplicas))
	}
	if !(c.TraceSampleRatio >= 0 && c.TraceSampleRatio <= 1) { // also catches NaN
		problems = append(problems, config.Invalid("TRACE_SAMPLE_RATIO", "expected 0 to 1, got %v", c.TraceSampleRatio))
	}
	if !(c.TraceKeepErrors >= 0 && c.TraceKeepErrors <= 1e6) {
		problems = append(problems, config.Invalid("TRACE_KEEP_ERRORS", "expected 0 to 1000000, got %v", c.TraceKeepErrors))
	}
	if !(c.TraceCallers >= 0 && c.TraceCallers <= 1e6) {
		problems = append(problems, config.Invalid("TRACE_CALLERS", "expected 0 to 1000000, got %v", c.TraceCallers))
	}
	problems = append(problems, c.validateOTLP()...)
	if c.DatabaseMaxConns < 2 {
		problems = append(problems, config.Invalid("DATABASE_MAX_CONNS", "expected 2 or more, got %d", c.DatabaseMaxConns))
	}
	if _, err := zerolog.ParseLevel(c.LogLevel); err != nil {
		problems = append(problems, config.Invalid("LOG_LEVEL", "expected trace, debug, info, warn or error, got %q", c.LogLevel))
	}
	if c.ShutdownGrace <= 0 {
		problems = append(problems, config.Invalid("SHUTDOWN_GRACE", "expected more than 0, got %s", c.ShutdownGrace))
	}
	if a := c.Auth; (a.JWKS == "") != (a.Issuer == "") || (a.JWKS == "") != (a.Audience == "") {
		problems = append(problems, config.Invalid("AUTH_JWKS", "expected AUTH_JWKS, AUTH_ISSUER and AUTH_AUDIENCE together, or none of them"))
	}
	return problems
}

func (c Config) validateOTLP() []error {
	_, err := otlpHeader(c.OTLPHeaders)
	if err != nil {
		return []error{config.Invalid("OTLP_HEADERS", "%v", err)}
	}
	field, err := c.otlp().Validate()
	if err == nil {
		return nil
	}
	return []error{config.Invalid(map[string]string{"protocol": "OTLP_PROTOCOL", "endpoint": "OTLP_ENDPOINT", "metrics": "OTLP_METRICS_INTERVAL"}[field], "%v", err)}
}

func (c Config) otlp() telemetry.OTLP {
	header, _ := otlpHeader(c.OTLPHeaders) // validated
	return telemetry.OTLP{Endpoint: c.OTLPEndpoint, Protocol: c.OTLPProtocol, Header: header, MetricsEvery: c.OTLPMetricsEvery}
}

// otlpHeader reads what OTEL_EXPORTER_OTLP_HEADERS has. No error shows any of it.
func otlpHeader(text config.Secret) (map[string]string, error) {
	header := map[string]string{}
	for i, field := range strings.Split(text.Reveal(), ",") {
		if field = strings.TrimSpace(field); field == "" {
			continue
		}
		name, value, found := strings.Cut(field, "=")
		value, err := url.PathUnescape(strings.TrimSpace(value))
		if name = strings.TrimSpace(name); !found || err != nil || !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) {
			return nil, fmt.Errorf("expected name=value, separated by commas, which number %d is not", i+1)
		}
		header[name] = value
	}
	return header, nil
}

// Platform is an opened service: what its parts are built on.
type Platform struct {
	Telemetry     *telemetry.Telemetry
	DB            *postgres.DB
	NATS          *nats.Conn
	Authenticator *auth.Authenticator

	cfg      Config
	keys     *auth.APIKeys
	news     *keyNews
	jwt      *auth.JWT
	stack    lifecycle.Stack
	reached  atomic.Bool // Postgres answered at the last look
	draining atomic.Bool
}

// Open prepares the platform of the named service. It needs neither Postgres nor the broker to be up. role is what the service looks
// up credentials as. Close it.
func Open(ctx context.Context, name string, role postgres.Role, cfg Config) (_ *Platform, err error) {
	p := &Platform{cfg: cfg}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.Close(context.WithoutCancel(ctx)))
		}
	}()
	p.Telemetry, err = telemetry.New(ctx, telemetry.Config{
		Service: name, Version: cfg.Version, LogLevel: cfg.LogLevel, LogWriter: cfg.LogWriter,
		OTLP: cfg.otlp(), SampleRatio: cfg.TraceSampleRatio, KeepErrors: cfg.TraceKeepErrors, Callers: cfg.TraceCallers, Exporter: cfg.SpanExporter,
	})
	if err != nil {
		return nil, err
	}
	p.Push("telemetry", 5*time.Second, func(ctx context.Context) error {
		if err := p.Telemetry.Shutdown(ctx); err != nil {
			p.Telemetry.Log.Warn().Err(err).Msg("the collector did not get all") // the stop is none the worse for it
		}
		return nil
	})
	p.DB, err = postgres.Open(ctx, postgres.Config{
		URL: cfg.DatabaseURL.Reveal(), MaxConns: cfg.DatabaseMaxConns, ApplicationName: "beaconpost-" + name, Tracer: p.Telemetry.Tracer,
	})
	if err != nil {
		return nil, err
	}
	p.Push("database pool", 5*time.Second, func(context.Context) error { p.DB.Close(); return nil })
	keysCache := cfg.APIKeys
	p.news = newKeyNews(p.Telemetry.Log)
	keysCache.Informed = p.news.heard
	p.keys = auth.NewAPIKeyVerifier(&apiKeys{db: p.DB, role: role}, keysCache)
	p.news.keys = p.keys
	p.NATS, err = stream.Connect(stream.Config{
		URL: cfg.NATSURL, Name: "beaconpost-" + name, There: p.news.there, Lost: p.news.lost, Options: cfg.NATSOptions,
	}, p.Telemetry.Log)
	if err != nil {
		return nil, err
	}
	p.Push("broker connection", 5*time.Second, p.closeNATS)
	if err := p.openAuth(ctx); err != nil {
		return nil, err
	}
	p.registerMetrics()
	p.startLooks()
	return p, nil
}

func (p *Platform) closeNATS(ctx context.Context) error {
	defer p.NATS.Close()
	if !p.NATS.IsConnected() {
		return nil
	}
	// Acknowledgements are written without waiting: a flush is what brings the last ones out.
	if err := p.NATS.FlushWithContext(ctx); err != nil && p.NATS.IsConnected() {
		return fmt.Errorf("flush: %w", err)
	}
	return nil
}

func (p *Platform) openAuth(ctx context.Context) error {
	if err := p.news.listen(p.NATS); err != nil {
		return err
	}
	if p.cfg.Auth.JWKS == "" {
		p.Authenticator = auth.NewAuthenticator(p.keys, nil)
		return nil
	}
	jc := p.cfg.Auth
	jc.OnRefresh = func(err error) {
		if err != nil {
			p.Telemetry.Log.Warn().Err(err).Msg("keys for JWTs were not refreshed; the old ones stay")
		}
	}
	jwt, err := auth.NewJWTVerifier(ctx, jc)
	if err != nil {
		return err
	}
	p.jwt = jwt
	p.Push("key refresh", 5*time.Second, func(context.Context) error { jwt.Close(); return nil })
	p.Authenticator = auth.NewAuthenticator(p.keys, jwt)
	return nil
}

// ForgetAPIKey makes every process ask the database about a key again: this one at once, the others when they hear of it.
func (p *Platform) ForgetAPIKey(id string) {
	p.keys.Forget(id)
	p.news.tell(id)
}

// Push adds a stop step; the last one pushed runs first.
func (p *Platform) Push(name string, limit time.Duration, stop func(context.Context) error) {
	p.stack.Push(name, limit, stop)
}

// Drain makes Ready fail, so that no new work is sent here.
func (p *Platform) Drain() { p.draining.Store(true) }

// Ready says whether requests can be served now, or why not. The broker is not needed for it.
func (p *Platform) Ready(ctx context.Context) error {
	if p.draining.Load() {
		return errors.New("shutting down")
	}
	if err := p.DB.Ping(ctx); err != nil {
		return err
	}
	if p.jwt != nil {
		return p.jwt.Ready(ctx)
	}
	return nil
}

// Close runs all stop steps.
func (p *Platform) Close(ctx context.Context) error {
	p.Drain()
	return p.stack.Unwind(ctx)
}
