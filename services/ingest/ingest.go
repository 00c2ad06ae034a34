// Package ingest is the service that takes events in: it authenticates, validates, commits events with their deliveries to
// Postgres and announces the deliveries to the broker. It also keeps endpoints, projects, API keys and tenants.
//
// See docs/architecture.md for its place in the flow, README.md for what it owns.
package ingest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/beaconpost/beaconpost/pkg/config"
	"github.com/beaconpost/beaconpost/pkg/httpapi"
	"github.com/beaconpost/beaconpost/pkg/lifecycle"
	"github.com/beaconpost/beaconpost/pkg/netguard"
	"github.com/beaconpost/beaconpost/pkg/postgres"
	"github.com/beaconpost/beaconpost/pkg/secretbox"
	"github.com/beaconpost/beaconpost/pkg/service"
	"github.com/beaconpost/beaconpost/pkg/stream"
	"github.com/beaconpost/beaconpost/services/ingest/internal/endpoint"
	"github.com/beaconpost/beaconpost/services/ingest/internal/event"
	ingesthttp "github.com/beaconpost/beaconpost/services/ingest/internal/httpapi"
	ingestpg "github.com/beaconpost/beaconpost/services/ingest/internal/postgres"
	ingeststream "github.com/beaconpost/beaconpost/services/ingest/internal/stream"
)

// Config of the service. Variables have the prefix BEACONPOST_.
type Config struct {
	service.Config
	Listen         string             `env:"LISTEN" envDefault:":8080" doc:"Address of the public API."`
	AdminListen    string             `env:"ADMIN_LISTEN" envDefault:":9090" doc:"Address of metrics, health and pprof."`
	SecretsKeys    *secretbox.Keyring `env:"SECRETS_KEYS,required" doc:"Keys that seal signing secrets, as id:base64 separated by commas; the first seals, all open. beaconpost keygen makes one."`
	MaxPayload     config.ByteSize    `env:"MAX_PAYLOAD" envDefault:"256KiB" doc:"Largest payload of an event."`
	AcceptTimeout  time.Duration      `env:"ACCEPT_TIMEOUT" envDefault:"5s" doc:"Bound on accepting one event; then 503."`
	MaxTimeout     time.Duration      `env:"ENDPOINT_MAX_TIMEOUT" envDefault:"30s" doc:"Longest time limit that an endpoint can have for an attempt."`
	IdempotencyTTL time.Duration      `env:"IDEMPOTENCY_TTL" envDefault:"24h" doc:"How long an Idempotency-Key is remembered."`
	Network        netguard.Policy    `envPrefix:"NETWORK_"`
}

// testPatience is how long a test may take: delivery bounds the attempt to 30 s.
const testPatience = 35 * time.Second

// Service is a running ingest.
type Service struct {
	service.Hosted
	accounts *ingestpg.Accounts
}

// New opens the service. Stop it.
func New(ctx context.Context, cfg Config) (_ *Service, err error) {
	platform, err := service.Open(ctx, "ingest", postgres.RoleIngest, cfg.Config)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, platform.Close(context.WithoutCancel(ctx)))
		}
	}()
	s := &Service{Hosted: service.Hosted{Platform: platform}, accounts: ingestpg.NewAccounts(platform.DB)}
	s.Check = s.checkPartitions
	publisher, err := stream.NewPublisher(platform.NATS, platform.Telemetry)
	if err != nil {
		return nil, err
	}
	platform.Push("publisher", cfg.ShutdownGrace, publisher.Close)
	appender, err := ingestpg.NewAppender(platform.DB, ingeststream.NewAnnouncer(publisher), cfg.AcceptTimeout, ingestpg.NewMetrics(platform.Telemetry.Metrics))
	if err != nil {
		return nil, err
	}
	platform.Push("group commit", cfg.ShutdownGrace, appender.Close)
	platform.Telemetry.Metrics.Queues(appender.Queue())

	api := httpapi.New(httpapi.Config{
		Service: "ingest", Title: "Beaconpost ingest", Version: cfg.Version, Authenticator: platform.Authenticator, Telemetry: platform.Telemetry,
	})
	handlers := &ingesthttp.Handlers{
		Acceptor:  event.NewService(appender),
		Events:    ingestpg.NewEvents(platform.DB),
		Endpoints: ingestpg.NewEndpoints(platform.DB, cfg.SecretsKeys),
		Accounts:  s.accounts,
		Tester:    ingeststream.NewTester(platform.NATS, testPatience),
		Limits:    endpoint.Limits{MaxTimeout: cfg.MaxTimeout, CheckURL: cfg.Network.CheckURL},

		MaxPayload: int(cfg.MaxPayload), ForgetKey: platform.ForgetAPIKey,
	}
	handlers.Register(api)
	if s.API, err = api.Handler(); err != nil {
		return nil, err
	}
	s.startMaintenance(cfg)
	return s, nil
}

func (s *Service) startMaintenance(cfg Config) {
	group := lifecycle.NewGroup(context.Background())
	group.Every(time.Minute, func(ctx context.Context) {
		n, err := s.accounts.ExpireIdempotencyKeys(ctx, cfg.IdempotencyTTL)
		if err != nil && ctx.Err() == nil {
			s.Platform.Telemetry.Log.Warn().Err(err).Int64("expired", n).Msg("idempotency keys were not all expired")
		}
	})
	s.Platform.Push("maintenance", 5*time.Second, group.Stop)
}

// checkPartitions says whether events of today can be stored.
func (s *Service) checkPartitions(ctx context.Context) error {
	days, err := s.accounts.PartitionsAhead(ctx)
	if err != nil {
		return fmt.Errorf("look at partitions (was `beaconpost migrate up` run?): %w", err)
	}
	if days < 0 {
		return errors.New("there is no partition for today: is a delivery service running?")
	}
	return nil
}

// Run serves until ctx ends, then stops in order.
func Run(ctx context.Context, cfg Config) error {
	s, err := New(ctx, cfg)
	if err != nil {
		return err
	}
	return service.Host(ctx, s, cfg.Listen, cfg.AdminListen, cfg.ShutdownGrace+5*time.Second)
}
