// Package monitor is the service that will watch URLs (issue #5). Today it is the process around that: configuration, credentials,
// health, metrics and an API without routes, so that deployments, dashboards and the single binary have their third service.
package monitor

import (
	"context"
	"errors"
	"time"

	"github.com/beaconpost/beaconpost/pkg/httpapi"
	"github.com/beaconpost/beaconpost/pkg/postgres"
	"github.com/beaconpost/beaconpost/pkg/service"
)

// Config of the service. Variables have the prefix BEACONPOST_.
type Config struct {
	service.Config
	Listen      string `env:"LISTEN" envDefault:":8082" doc:"Address of the public API."`
	AdminListen string `env:"ADMIN_LISTEN" envDefault:":9092" doc:"Address of metrics, health and pprof."`
}

// Service is a running monitor.
type Service struct{ service.Hosted }

// New opens the service. Stop it.
func New(ctx context.Context, cfg Config) (*Service, error) {
	platform, err := service.Open(ctx, "monitor", postgres.RoleMonitor, cfg.Config)
	if err != nil {
		return nil, err
	}
	api := httpapi.New(httpapi.Config{
		Service: "monitor", Title: "Beaconpost monitor", Version: cfg.Version, Authenticator: platform.Authenticator, Telemetry: platform.Telemetry,
	})
	handler, err := api.Handler()
	if err != nil {
		return nil, errors.Join(err, platform.Close(context.WithoutCancel(ctx)))
	}
	return &Service{service.Hosted{Platform: platform, API: handler}}, nil
}

// Run serves until ctx ends, then stops in order.
func Run(ctx context.Context, cfg Config) error {
	s, err := New(ctx, cfg)
	if err != nil {
		return err
	}
	return service.Host(ctx, s, cfg.Listen, cfg.AdminListen, cfg.ShutdownGrace+5*time.Second)
}
