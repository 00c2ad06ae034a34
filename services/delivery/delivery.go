// Package delivery is the service that delivers: it pulls due deliveries from the broker, signs and POSTs them, records every
// attempt, plans retries, and finds what was lost. It also answers the deliveries API and keeps partitions ahead.
//
// See docs/architecture.md for its place in the flow, README.md for what it owns.
package delivery

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/beaconpost/beaconpost/pkg/backoff"
	"github.com/beaconpost/beaconpost/pkg/config"
	"github.com/beaconpost/beaconpost/pkg/httpapi"
	"github.com/beaconpost/beaconpost/pkg/lifecycle"
	"github.com/beaconpost/beaconpost/pkg/netguard"
	"github.com/beaconpost/beaconpost/pkg/postgres"
	"github.com/beaconpost/beaconpost/pkg/secretbox"
	"github.com/beaconpost/beaconpost/pkg/service"
	"github.com/beaconpost/beaconpost/pkg/stream"
	"github.com/beaconpost/beaconpost/pkg/usage"
	"github.com/beaconpost/beaconpost/proto/subject"
	"github.com/beaconpost/beaconpost/services/delivery/internal/delivery"
	"github.com/beaconpost/beaconpost/services/delivery/internal/health"
	deliveryhttp "github.com/beaconpost/beaconpost/services/delivery/internal/httpapi"
	deliverypg "github.com/beaconpost/beaconpost/services/delivery/internal/postgres"
	"github.com/beaconpost/beaconpost/services/delivery/internal/stats"
	deliverystream "github.com/beaconpost/beaconpost/services/delivery/internal/stream"
	"github.com/beaconpost/beaconpost/services/delivery/internal/webhook"
	"github.com/beaconpost/beaconpost/services/delivery/internal/wire"
)

// Config of the service. Variables have the prefix BEACONPOST_.
type Config struct {
	service.Config
	Listen      string             `env:"LISTEN" envDefault:":8081" doc:"Address of the public API."`
	AdminListen string             `env:"ADMIN_LISTEN" envDefault:":9091" doc:"Address of metrics, health and pprof."`
	SecretsKeys *secretbox.Keyring `env:"SECRETS_KEYS,required" doc:"The keys that ingest seals signing secrets with."`
	Network     netguard.Policy    `envPrefix:"NETWORK_"`
	Delivery    Settings           `envPrefix:"DELIVERY_"`
}

// Settings of the engine.
type Settings struct {
	Concurrency     int `env:"CONCURRENCY" envDefault:"4096" doc:"Attempts at the same time per replica; one endpoint gets up to 256 of them, one tenant half."`
	Limits          Limits
	RetryAfterMax   time.Duration   `env:"RETRY_AFTER_MAX" envDefault:"24h" doc:"A Retry-After that asks for more is taken as this."`
	Timeout         time.Duration   `env:"TIMEOUT" envDefault:"15s" doc:"Bound on one attempt, from the dial to the end of the answer's body, unless the endpoint has its own."`
	MaxAttempts     int             `env:"MAX_ATTEMPTS" envDefault:"15" doc:"Attempts in total, unless the endpoint has its own policy."`
	RetryBase       time.Duration   `env:"RETRY_BASE" envDefault:"1s" doc:"The wait after n failures is 2^n times this."`
	RetryCap        time.Duration   `env:"RETRY_CAP" envDefault:"1h" doc:"The longest wait between attempts."`
	RetryPreset     string          `env:"RETRY_PRESET" doc:"A retry policy by name instead of base, cap, maximum and schedule: exponential or standard-webhooks."`
	RetryMaxAge     time.Duration   `env:"RETRY_MAX_AGE" doc:"No retry is planned that would start later than this after the event was accepted, unless the endpoint has its own; 0: no limit."`
	RetrySchedule   []time.Duration `env:"RETRY_SCHEDULE" doc:"Waits between attempts, separated by commas, instead of base, cap and maximum."`
	Grace           time.Duration   `env:"RECONCILE_GRACE" envDefault:"60s" doc:"How overdue a delivery must be for the reconciler to publish it again."`
	Interval        time.Duration   `env:"RECONCILE_INTERVAL" envDefault:"5s" doc:"Time between the reconciler's rounds."`
	Rate            int             `env:"RECONCILE_RATE" envDefault:"2000" doc:"Deliveries that the reconciler publishes per second and replica at most."`
	Breaker         Breaker         `envPrefix:"BREAKER_"`
	DisableAfter    time.Duration   `env:"DISABLE_AFTER" envDefault:"120h" doc:"An endpoint whose every attempt failed for so long is disabled; 0: never."`
	DrainRate       int             `env:"DRAIN_RATE_MAX" envDefault:"1000" doc:"Parked deliveries of an endpoint that are let go per second; more only while more comes in."`
	SweepInterval   time.Duration   `env:"SWEEP_INTERVAL" envDefault:"5m" doc:"Time between looks for parked deliveries that nobody takes up, and for payloads to scrub."`
	ParkedRetention time.Duration   `env:"PARKED_RETENTION" doc:"Age at which deliveries that wait for an endpoint are cancelled; 0: never."`
	StatsRetention  time.Duration   `env:"STATS_RETENTION" envDefault:"2160h" doc:"Age at which hourly statistics of endpoints are dropped."`
	UsageRetention  time.Duration   `env:"USAGE_RETENTION" envDefault:"9600h" doc:"Age at which the hours of what tenants used are dropped; 0: never."`
	Retention       time.Duration   `env:"RETENTION" envDefault:"720h" doc:"Age at which events, deliveries and attempts are dropped, in whole days; days with a pending delivery stay. 0: never."`
}

// Limits hold for each attempt, within its timeout.
type Limits struct {
	Connect     time.Duration `env:"CONNECT_TIMEOUT" envDefault:"5s" doc:"Bound on resolving the name and connecting."`
	TLS         time.Duration `env:"TLS_TIMEOUT" envDefault:"5s" doc:"Bound on the TLS handshake."`
	Header      time.Duration `env:"HEADER_TIMEOUT" doc:"Bound from the end of the request to the end of the answer's header; 0: none but TIMEOUT."`
	HeaderBytes int           `env:"MAX_RESPONSE_HEADER_BYTES" envDefault:"65536" doc:"A larger header of an answer fails the attempt."`
	BodyBytes   int           `env:"MAX_RESPONSE_BODY_BYTES" envDefault:"69632" doc:"A longer body is not read on; the answer counts by its status. The first 4096 bytes are kept."`
}

// Validate implements config.Validator.
func (l Limits) Validate() []error {
	var problems []error
	if l.Connect <= 0 {
		problems = append(problems, config.Invalid("CONNECT_TIMEOUT", "expected more than 0, got %s", l.Connect))
	}
	if l.TLS <= 0 {
		problems = append(problems, config.Invalid("TLS_TIMEOUT", "expected more than 0, got %s", l.TLS))
	}
	if l.Header < 0 {
		problems = append(problems, config.Invalid("HEADER_TIMEOUT", "expected 0 (no limit of its own) or more, got %s", l.Header))
	}
	if l.HeaderBytes < 1024 || l.HeaderBytes > 16<<20 {
		problems = append(problems, config.Invalid("MAX_RESPONSE_HEADER_BYTES", "expected 1024 to 16777216, got %d", l.HeaderBytes))
	}
	if l.BodyBytes <= webhook.ExcerptBytes || l.BodyBytes > 1<<30 {
		problems = append(problems, config.Invalid("MAX_RESPONSE_BODY_BYTES", "expected %d to %d, got %d", webhook.ExcerptBytes+1, 1<<30, l.BodyBytes))
	}
	return problems
}

// Breaker is when deliveries of an endpoint are parked.
type Breaker struct {
	Failures   int           `env:"FAILURES" envDefault:"5" doc:"An endpoint that failed so many times without a success is left alone: its deliveries are parked and one at a time is tried."`
	After      time.Duration `env:"AFTER" envDefault:"10s" doc:"Provided that it has been failing for so long."`
	ProbeFirst time.Duration `env:"PROBE_FIRST" envDefault:"5s" doc:"Wait before the first of these trials; each next wait is twice as long."`
	ProbeMost  time.Duration `env:"PROBE_MOST" envDefault:"10m" doc:"The longest wait."`
}

// Validate implements config.Validator.
func (b Breaker) Validate() []error {
	var problems []error
	if b.Failures < 1 {
		problems = append(problems, config.Invalid("FAILURES", "expected at least 1, got %d", b.Failures))
	}
	if b.After < 0 {
		problems = append(problems, config.Invalid("AFTER", "expected 0 or more, got %s", b.After))
	}
	if b.ProbeFirst <= 0 || b.ProbeMost < b.ProbeFirst {
		problems = append(problems, config.Invalid("PROBE_FIRST", "expected more than 0 and at most PROBE_MOST, got %s and %s", b.ProbeFirst, b.ProbeMost))
	}
	return problems
}

// Validate implements config.Validator.
func (s Settings) Validate() []error {
	var problems []error
	if s.RetryAfterMax < 0 || s.RetryAfterMax > backoff.MaxDelay {
		problems = append(problems, config.Invalid("RETRY_AFTER_MAX", "expected 0 (Retry-After is ignored) to %s, got %s", backoff.MaxDelay, s.RetryAfterMax))
	}
	if s.Concurrency < 1 || s.Concurrency > 100000 {
		problems = append(problems, config.Invalid("CONCURRENCY", "expected 1 to 100000, got %d", s.Concurrency))
	}
	if s.Timeout <= 0 {
		problems = append(problems, config.Invalid("TIMEOUT", "expected more than 0, got %s", s.Timeout))
	}
	if s.Grace <= 0 || s.Interval <= 0 || s.Rate <= 0 {
		problems = append(problems, config.Invalid("RECONCILE_GRACE", "expected grace, interval and rate above 0"))
	}
	if s.Retention != 0 && s.Retention < 24*time.Hour {
		problems = append(problems, config.Invalid("RETENTION", "expected 0 or at least 24h, got %s", s.Retention))
	}
	if s.DisableAfter < 0 || s.DisableAfter > 0 && s.DisableAfter < time.Minute {
		problems = append(problems, config.Invalid("DISABLE_AFTER", "expected 0 (never) or at least 1m, got %s", s.DisableAfter))
	}
	if s.SweepInterval <= 0 {
		problems = append(problems, config.Invalid("SWEEP_INTERVAL", "expected more than 0, got %s", s.SweepInterval))
	}
	if s.ParkedRetention < 0 || s.ParkedRetention > 0 && s.ParkedRetention < time.Hour {
		problems = append(problems, config.Invalid("PARKED_RETENTION", "expected 0 (never) or at least 1h, got %s", s.ParkedRetention))
	}
	if s.StatsRetention < time.Hour {
		problems = append(problems, config.Invalid("STATS_RETENTION", "expected at least 1h, got %s", s.StatsRetention))
	}
	if s.UsageRetention < 0 || s.UsageRetention > 0 && s.UsageRetention < 744*time.Hour {
		problems = append(problems, config.Invalid("USAGE_RETENTION", "expected at least 744h (31 days), or 0, got %s", s.UsageRetention))
	}
	if s.DrainRate < drainFirst {
		problems = append(problems, config.Invalid("DRAIN_RATE_MAX", "expected at least %d, got %d", drainFirst, s.DrainRate))
	}
	if _, ok := backoff.Preset(s.RetryPreset); !ok && s.RetryPreset != "" {
		problems = append(problems, config.Invalid("RETRY_PRESET", "expected one of %s, got %q", strings.Join(backoff.Presets(), ", "), s.RetryPreset))
	}
	if err := s.retry().Validate(); err != nil {
		problems = append(problems, config.Invalid("RETRY_SCHEDULE", "retry policy: %v", err))
	}
	return problems
}

func (s Settings) retry() backoff.Policy {
	p := backoff.Policy{Base: s.RetryBase, Cap: s.RetryCap, MaxAttempts: s.MaxAttempts}
	if len(s.RetrySchedule) > 0 {
		p = backoff.Policy{Schedule: s.RetrySchedule}
	}
	if preset, ok := backoff.Preset(s.RetryPreset); ok {
		p = preset
	}
	p.MaxAge = s.RetryMaxAge
	if len(p.Schedule) > 0 {
		return p
	}
	return p.WithDefaults()
}

// Service is a running delivery.
type Service struct{ service.Hosted }

// New opens the service and starts delivering. Stop it.
func New(ctx context.Context, cfg Config) (_ *Service, err error) {
	platform, err := service.Open(ctx, "delivery", postgres.RoleDelivery, cfg.Config)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, platform.Close(context.WithoutCancel(ctx)))
		}
	}()
	tel := platform.Telemetry
	publisher, err := stream.NewPublisher(platform.NATS, tel)
	if err != nil {
		return nil, err
	}
	platform.Push("publisher", 5*time.Second, publisher.Close)
	scheduler := deliverystream.NewScheduler(publisher, tel.Log)
	store, err := deliverypg.NewStore(platform.DB, cfg.SecretsKeys, deliverypg.Defaults{
		Timeout: cfg.Delivery.Timeout, Retry: cfg.Delivery.retry(), Fresh: min(cfg.Delivery.Grace, stream.AckWait),
		Rules: cfg.Delivery.rules(), Announce: publisher.Ready,
	}, tel.Log)
	if err != nil {
		return nil, err
	}
	obs := newObserver(tel.Metrics, tel.Log)
	engine, err := startEngine(platform, cfg, store, scheduler, obs)
	if err != nil {
		return nil, err
	}
	if err := startBackground(platform, cfg, store, scheduler, obs); err != nil {
		return nil, err
	}

	api := httpapi.New(httpapi.Config{
		Service: "delivery", Title: "Beaconpost delivery", Version: cfg.Version, Authenticator: platform.Authenticator, Telemetry: tel,
	})
	handlers := &deliveryhttp.Handlers{Store: deliverypg.NewDeliveries(platform.DB, cfg.Delivery.Timeout), Broker: scheduler, Engine: engine}
	handlers.Register(api)
	s := &Service{service.Hosted{Platform: platform}}
	if s.API, err = api.Handler(); err != nil {
		return nil, err
	}
	return s, nil
}

func startEngine(platform *service.Platform, cfg Config, store *deliverypg.Store, scheduler *deliverystream.Scheduler, obs *observer) (*delivery.Engine, error) {
	sender := webhook.NewSender(webhook.Config{
		UserAgent: "Beaconpost/" + cfg.Version, Control: cfg.Network.Control, HTTPSOnly: cfg.Network.HTTPSOnly, Tracer: platform.Telemetry.Tracer,
		RetryAfterMax: cfg.Delivery.RetryAfterMax,
		Limits: wire.Limits{
			Connect: cfg.Delivery.Limits.Connect, Handshake: cfg.Delivery.Limits.TLS, Header: cfg.Delivery.Limits.Header,
			HeaderBytes: cfg.Delivery.Limits.HeaderBytes, Excerpt: webhook.ExcerptBytes, Drain: cfg.Delivery.Limits.BodyBytes - webhook.ExcerptBytes,
		},
	})
	platform.Push("endpoint connections", time.Second, func(context.Context) error { sender.Close(); return nil })
	tally, counter := health.NewTally(), stats.NewCounter(store, obs.Trouble)
	platform.Push("statistics", 5*time.Second, counter.Stop)
	engine := delivery.NewEngine(delivery.Config{Attempts: cfg.Delivery.Concurrency, Slots: heldShare * cfg.Delivery.Concurrency}, delivery.Ports{
		Store: store, Sender: sender, Scheduler: scheduler, Watcher: delivery.Watchers{tally, counter}, Observer: obs,
	})
	platform.Push("engine", cfg.ShutdownGrace, engine.Stop)
	keeper := health.NewKeeper(cfg.Delivery.rules(), store, tally, engine, obs)
	platform.Push("health keeper", 5*time.Second, keeper.Stop)
	consumer, err := deliverystream.NewConsumer(platform.NATS, cfg.StreamReplicas, engine.Submit, platform.Telemetry)
	if err != nil {
		return nil, err
	}
	platform.Push("consumer", 5*time.Second, consumer.Stop)
	tests, err := deliverystream.NewTests(platform.NATS, &delivery.Tester{Targets: store, Sender: sender}, platform.Telemetry.Log)
	if err != nil {
		return nil, err
	}
	platform.Push("test attempts", 5*time.Second, tests.Stop)
	workGauges(platform.Telemetry.Metrics, heldShare*cfg.Delivery.Concurrency, engine.InFlight, consumer.Live)
	queues(platform.Telemetry.Metrics, heldShare*cfg.Delivery.Concurrency, engine.Queued)
	return engine, nil
}

// heldShare is how many deliveries are held for each attempt that may be made at the same time: the others wait for their turn, or for the record.
const heldShare = 2

const (
	drainFirst = 10 // deliveries per second
	reopen     = 3  // failures that end a drain
)

func (s Settings) rules() health.Rules {
	return health.Rules{
		Failures: s.Breaker.Failures, After: s.Breaker.After, ProbeFirst: s.Breaker.ProbeFirst, ProbeMost: s.Breaker.ProbeMost,
		Reopen: reopen, DrainFirst: drainFirst, DrainMost: s.DrainRate, DisableAfter: s.DisableAfter,
	}
}

const lagEvery = 15 * time.Second

func startBackground(platform *service.Platform, cfg Config, store *deliverypg.Store, scheduler *deliverystream.Scheduler, obs *observer) error {
	lag, err := stream.NewLag(platform.NATS, platform.Telemetry.Metrics, subject.StreamDeliveries)
	if err != nil {
		return err
	}
	reconciler := delivery.NewReconciler(delivery.ReconcilerConfig{
		Shards: subject.Shards, Grace: cfg.Delivery.Grace, PerRound: max(int(float64(cfg.Delivery.Rate)*cfg.Delivery.Interval.Seconds()), 1),
	}, store, scheduler)
	group := lifecycle.NewGroup(context.Background())
	work := func(doing string, most time.Duration, round func(context.Context) (bool, error)) func(context.Context) {
		return lifecycle.Rounds(obs.Trouble, doing, most, obs.jobs.Timed(doing, round))
	}
	group.Every(cfg.Delivery.Interval, work("reconcile", roundMost, func(ctx context.Context) (bool, error) {
		report, err := reconciler.Round(ctx, time.Now())
		obs.reconciled(report)
		return false, err
	}))
	maintain := work("maintain partitions", longMost, func(ctx context.Context) (bool, error) {
		ahead, err := store.Maintain(ctx, cfg.Delivery.Retention)
		obs.ahead.Set(float64(ahead))
		return false, err
	})
	group.Go(maintain)
	group.Every(time.Hour, maintain)
	expire := work("expire statistics", longMost, func(ctx context.Context) (bool, error) {
		return false, store.ExpireStats(ctx, cfg.Delivery.StatsRetention)
	})
	group.Go(expire)
	group.Every(time.Hour, expire)
	group.Every(lagEvery, work("look at consumers", lagEvery, func(ctx context.Context) (bool, error) { return false, lag.Look(ctx) }))
	group.Every(lagEvery, work("count endpoints in trouble", lagEvery, func(ctx context.Context) (bool, error) {
		counts, err := store.Breakers(ctx)
		if err == nil {
			obs.inTrouble(counts)
		}
		return false, err
	}))
	drop := work("drop old usage", longMost, func(ctx context.Context) (bool, error) {
		return false, store.Usage().DropOld(ctx, cfg.Delivery.UsageRetention)
	})
	group.Go(drop)
	group.Every(time.Hour, drop)
	count := store.Usage().Work(obs.Trouble, obs.jobs, func(behind time.Duration) { obs.usageBehind.Set(behind.Seconds()) })
	group.Go(count)
	group.Every(usage.Every, count)
	startSweeps(group, cfg.Delivery, store, obs, work)
	platform.Push("reconciler", 5*time.Second, group.Stop)
	return nil
}

const (
	// A round that takes longer waits for something that will not come, such as an answer of a database that the network has cut off.
	roundMost = time.Minute
	longMost  = 10 * time.Minute // of one that writes much
)

// working makes a job of rounds.
type working func(doing string, most time.Duration, round func(context.Context) (more bool, err error)) func(context.Context)

// startSweeps does what is late when it is a few minutes late.
func startSweeps(group *lifecycle.Group, cfg Settings, store *deliverypg.Store, obs *observer, work working) {
	group.Every(cfg.SweepInterval, work("adopt parked deliveries", longMost, func(ctx context.Context) (bool, error) {
		adopted, err := store.Adopt(ctx)
		obs.adopted.Add(float64(adopted))
		return false, err
	}))
	group.Every(cfg.SweepInterval, work("scrub payloads", longMost, func(ctx context.Context) (bool, error) {
		n, more, err := store.Scrub(ctx)
		obs.scrubbed.Add(float64(n))
		return more, err
	}))
	if cfg.ParkedRetention <= 0 {
		return
	}
	group.Every(cfg.SweepInterval, work("expire parked deliveries", longMost, func(ctx context.Context) (bool, error) {
		n, err := store.ExpireParked(ctx, cfg.ParkedRetention)
		obs.expired.Add(float64(n))
		return n > 0, err
	}))
}

// Run serves until ctx ends, then stops in order.
func Run(ctx context.Context, cfg Config) error {
	s, err := New(ctx, cfg)
	if err != nil {
		return err
	}
	return service.Host(ctx, s, cfg.Listen, cfg.AdminListen, cfg.ShutdownGrace+10*time.Second)
}
