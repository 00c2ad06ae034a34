// Package monitor is the service that watches: it checks on a schedule, judges what it saw, keeps incidents, and tells about them. It also answers the
// monitors API and takes heartbeats.
//
// See docs/monitors.md for what it does, README.md for what it owns.
package monitor

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/beaconpost/beaconpost/pkg/httpapi"
	"github.com/beaconpost/beaconpost/pkg/lifecycle"
	"github.com/beaconpost/beaconpost/pkg/postgres"
	"github.com/beaconpost/beaconpost/pkg/service"
	"github.com/beaconpost/beaconpost/pkg/stream"
	"github.com/beaconpost/beaconpost/proto/subject"
	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
	"github.com/beaconpost/beaconpost/services/monitor/internal/monitor"
	monitorpg "github.com/beaconpost/beaconpost/services/monitor/internal/postgres"
	"github.com/beaconpost/beaconpost/services/monitor/internal/probe"
	monitorstream "github.com/beaconpost/beaconpost/services/monitor/internal/stream"
)

// Service is a running monitor.
type Service struct{ service.Hosted }

// parts are what the service is made of.
type parts struct {
	cfg       Config
	platform  *service.Platform
	obs       *observer
	store     *monitorpg.Store
	prober    *probe.Prober
	engine    *monitor.Engine
	topology  *stream.Topology
	schedules *monitorstream.Schedules
	lag       *stream.Lag // of the stream's consumers
}

// New opens the service and starts watching. Stop it.
func New(ctx context.Context, cfg Config) (_ *Service, err error) {
	platform, err := service.Open(ctx, "monitor", postgres.RoleMonitor, cfg.Config)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, platform.Close(context.WithoutCancel(ctx)))
		}
	}()
	tel := platform.Telemetry
	p := &parts{cfg: cfg, platform: platform, obs: newObserver(tel.Metrics, cfg.Monitor.Region, tel.Tracer, tel.Log)}
	publisher, err := stream.NewPublisher(platform.NATS, tel)
	if err != nil {
		return nil, err
	}
	platform.Push("publisher", 5*time.Second, publisher.Close)
	if p.store, err = monitorpg.NewStore(platform.DB, cfg.SecretsKeys, publisher.Ready, tel.Log); err != nil {
		return nil, err
	}
	if err := p.startSchedules(); err != nil {
		return nil, err
	}
	if err := p.startEngine(); err != nil {
		return nil, err
	}
	notify, err := newNotifier(cfg.SMTP, p.store, tel, p.obs)
	if err != nil {
		return nil, err
	}
	alerts := lifecycle.NewGroup(context.Background())
	notify.run(alerts)
	platform.Push("alerts", cfg.SMTP.Timeout+10*time.Second, alerts.Stop) // mails under way are sent to their end
	p.startBackground()

	api := httpapi.New(httpapi.Config{
		Service: "monitor", Title: "Beaconpost monitor", Version: cfg.Version, Authenticator: platform.Authenticator, Telemetry: tel,
	})
	p.register(api, notify)
	s := &Service{service.Hosted{Platform: platform}}
	if s.API, err = api.Handler(); err != nil {
		return nil, err
	}
	return s, nil
}

func (p *parts) startSchedules() (err error) {
	p.topology, err = stream.NewTopology(p.platform.NATS, p.cfg.StreamReplicas, p.platform.Telemetry)
	if err != nil {
		return err
	}
	p.schedules, err = monitorstream.NewSchedules(p.platform.NATS, p.topology, source{p.store}, p.obs.compared, p.obs.Trouble, p.platform.Telemetry.Log)
	if err != nil {
		return err
	}
	p.platform.Push("schedules", 5*time.Second, p.schedules.Stop)
	p.lag, err = stream.NewLag(p.platform.NATS, p.platform.Telemetry.Metrics, subject.StreamChecks)
	return err
}

func (p *parts) startEngine() (err error) {
	cfg := p.cfg.Monitor
	p.prober = probe.New(probe.Config{Network: cfg.Network, Nameserver: cfg.Nameserver, AllowProxies: cfg.AllowProxies, UserAgent: "Beaconpost/" + p.cfg.Version, Trouble: p.obs.Trouble})
	p.platform.Push("prober", time.Second, func(context.Context) error { p.prober.Close(); return nil })
	egress := monitor.NewCanaries(canaries(cfg.Canaries)...)
	p.platform.Push("rounds of canaries", 5*time.Second, egress.Stop)
	looks := lifecycle.NewGroup(context.Background())
	looks.Go(egress.Run)
	p.platform.Push("canaries", 5*time.Second, looks.Stop)
	p.engine, err = monitor.NewEngine(cfg.Region, cfg.Concurrency, monitor.Ports{Store: p.store, Prober: traced{p.checks(), p.platform.Telemetry.Tracer}, Egress: egress, Broker: p.schedules, Observer: p.obs})
	if err != nil {
		return err
	}
	p.platform.Push("engine", p.cfg.ShutdownGrace, p.engine.Stop)
	consumer := monitorstream.NewConsumer(p.platform.NATS, cfg.Region, p.topology, p.engine.Submit, p.platform.Telemetry.Log)
	p.platform.Push("consumer", 5*time.Second, consumer.Stop)
	gauges(p.platform.Telemetry.Metrics, cfg.Region, working{
		inFlight: p.engine.InFlight, loading: p.engine.Loading, waiting: p.engine.Waiting, age: p.engine.Age, egress: egress.IsUp, live: consumer.Live, most: cfg.Concurrency,
	})
	return nil
}

// checks is what makes the checks of the schedule.
func (p *parts) checks() monitor.Prober {
	if p.cfg.Monitor.DryRun {
		return dryRun{}
	}
	return p.prober
}

// dryRun makes no check.
type dryRun struct{}

// Check implements monitor.Prober.
func (dryRun) Check(context.Context, *check.Job) check.Result {
	return check.Result{Outcome: check.Up, Detail: "A dry run: nothing was looked at."}
}

// canaries tries to connect to places.
func canaries(places []string) (reach []func(context.Context) error) {
	for _, place := range places {
		reach = append(reach, func(ctx context.Context) error {
			conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", place)
			if err != nil {
				return err
			}
			return conn.Close()
		})
	}
	return reach
}

// source gives the broker's adapter what the database's says.
type source struct{ store *monitorpg.Store }

var _ monitorstream.Source = source{}

// Changed implements monitorstream.Source.
func (s source) Changed(ctx context.Context, since time.Time, limit int) (changes []monitorstream.Change, until time.Time, err error) {
	planned, until, err := s.store.Changed(ctx, since, limit)
	for _, p := range planned {
		changes = append(changes, monitorstream.Change{Scheduled: scheduled(p), Version: p.Version, Gone: p.Gone})
	}
	return changes, until, err
}

// All implements monitorstream.Source.
func (s source) All(ctx context.Context, each func(monitorstream.Scheduled)) error {
	return s.store.All(ctx, func(p monitorpg.Planned) { each(scheduled(p)) })
}

func scheduled(p monitorpg.Planned) monitorstream.Scheduled {
	return monitorstream.Scheduled{Key: p.Key, Interval: p.Interval, Regions: p.Regions}
}

// Run serves until ctx ends, then stops in order.
func Run(ctx context.Context, cfg Config) error {
	s, err := New(ctx, cfg)
	if err != nil {
		return err
	}
	return service.Host(ctx, s, cfg.Listen, cfg.AdminListen, cfg.ShutdownGrace+10*time.Second)
}
