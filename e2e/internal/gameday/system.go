package gameday

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/beaconpost/beaconpost/e2e/internal/observe"
	"github.com/beaconpost/beaconpost/e2e/internal/proxy"
	"github.com/beaconpost/beaconpost/e2e/internal/sink"
	"github.com/beaconpost/beaconpost/e2e/internal/stack"
)

const (
	regionKept = "eu"
	regionLost = "us"

	manyTenants   = 3
	manyEndpoints = 20 // of each; an event goes to all of them
	floodRate     = 20 // deliveries per second that the flooded endpoint wants
	floodSenders  = 4  // connections
	monitors      = 6
)

// system is everything that runs.
type system struct {
	cfg        Config
	stack      *stack.Stack
	prometheus *observe.Server
	postgres   *proxy.Proxy

	steady, lone, many, flooded *sink.Sink
	tls                         *httptest.Server // has the certificate that the ingress alert looks at
	own                         *http.Server     // this process' metrics
	ownAddr                     string
	posted                      *prometheus.CounterVec
	flows                       []*flow
	floodKey, floodEndpoint     string
	flood                       *flood // nil while there is none

	stopLoad context.CancelFunc
	load     sync.WaitGroup
}

// start brings everything up. Stop it, also after an error.
func start(ctx context.Context, cfg Config) (*system, error) {
	s := &system{cfg: cfg}
	for _, step := range []struct {
		name string
		run  func(context.Context) error
	}{
		{"start sinks", s.startSinks}, {"start the system", s.startStack}, {"make tenants", s.makeTenants}, {"make monitors", s.makeMonitors},
		{"start Prometheus", s.startPrometheus}, {"start the load", s.startLoad},
	} {
		if err := step.run(ctx); err != nil {
			return s, fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return s, nil
}

func (s *system) startSinks(ctx context.Context) (err error) {
	registry := prometheus.NewRegistry()
	latency := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "gameday_arrival_latency_seconds", Help: "Time from an event's acceptance to its first arrival.", Buckets: prometheus.ExponentialBuckets(.001, 1.5, 32),
	}, []string{"tenants"})
	s.posted = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "gameday_posted_total", Help: "Posted events."}, []string{"result"})
	registry.MustRegister(latency, s.posted)
	for name, to := range map[string]**sink.Sink{"steady": &s.steady, "lone": &s.lone, "many": &s.many, "flooding": &s.flooded} {
		seconds := latency.WithLabelValues(name)
		if *to, err = sink.Start(ctx, sink.Config{First: func(_ uuid.UUID, latency time.Duration) { seconds.Observe(latency.Seconds()) }}); err != nil {
			return err
		}
	}
	s.tls = httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s.own, s.ownAddr = &http.Server{Handler: promhttp.HandlerFor(registry, promhttp.HandlerOpts{}), ReadHeaderTimeout: 10 * time.Second}, ln.Addr().String()
	go func() { _ = s.own.Serve(ln) }() // ends with stop
	return nil
}

func (s *system) startStack(ctx context.Context) (err error) {
	s.stack, err = stack.Start(ctx, stack.Config{Dir: filepath.Join(s.cfg.Data, "system"), Binaries: s.cfg.Binaries, Environ: s.cfg.Environ, Database: s.slowly})
	if err != nil {
		return err
	}
	if err := s.stack.StartDelivery(ctx); err != nil {
		return err
	}
	for _, region := range []string{regionKept, regionLost} {
		if err := s.stack.StartProber(ctx, region); err != nil {
			return err
		}
	}
	s.stack.MonitorURL = "http://" + s.stack.Probers[regionKept].API
	return nil
}

// slowly puts a proxy between the services and the database.
func (s *system) slowly(ctx context.Context, direct string) (through string, err error) {
	s.postgres, through, err = proxy.Postgres(context.WithoutCancel(ctx), "127.0.0.1", direct)
	return through, err
}

// tenant makes one with endpoints at a sink.
func (s *system) tenant(ctx context.Context, operator, name string, to *sink.Sink, endpoints int, settings map[string]any) (key, endpoint string, err error) {
	if _, key, err = s.stack.CreateTenant(ctx, operator, name); err != nil {
		return "", "", err
	}
	for n := range endpoints {
		body := map[string]any{"url": fmt.Sprintf("http://%s/%s/%d", to.Addr, url.PathEscape(name), n)}
		for k, v := range settings {
			body[k] = v
		}
		var created struct{ ID string }
		if err := s.stack.Call(ctx, key, http.MethodPost, "/v1/endpoints", body, &created); err != nil {
			return "", "", err
		}
		endpoint = created.ID
	}
	return key, endpoint, nil
}

func (s *system) makeTenants(ctx context.Context) error {
	operator, err := s.stack.OperatorToken()
	if err != nil {
		return err
	}
	flows := func(name string, n int, to *sink.Sink, endpoints int, pace time.Duration) error {
		for i := range n {
			key, _, err := s.tenant(ctx, operator, fmt.Sprintf("%s %d", name, i), to, endpoints, nil)
			if err != nil {
				return err
			}
			s.flows = append(s.flows, &flow{stack: s.stack, key: key, sink: to, pace: pace, posted: s.posted})
		}
		return nil
	}
	err = errors.Join(flows("steady", s.cfg.Tenants, s.steady, 1, s.cfg.Pace), flows("lone", 1, s.lone, 1, s.cfg.Pace), flows("many", manyTenants, s.many, manyEndpoints, 4*time.Second))
	if err != nil {
		return err
	}
	s.floodKey, s.floodEndpoint, err = s.tenant(ctx, operator, "flooding", s.flooded, 1, map[string]any{"rate_limit": map[string]any{"per_second": floodRate}})
	return err
}

func (s *system) makeMonitors(ctx context.Context) error {
	regions := []string{regionKept, regionLost}
	for n := range monitors {
		body := map[string]any{"name": fmt.Sprintf("shop %d", n), "kind": "http", "url": fmt.Sprintf("http://%s/health/%d", s.steady.Addr, n), "interval": "10s", "timeout": "2s", "regions": regions}
		if n == 0 {
			body["url"], body["tls"] = s.tls.URL, map[string]any{"insecure_skip_verify": true}
		}
		if err := s.stack.Call(ctx, s.stack.APIKey, http.MethodPost, "/v1/monitors", body, &struct{}{}); err != nil {
			return err
		}
	}
	return nil
}

func (s *system) startPrometheus(ctx context.Context) error {
	program, err := observe.Program(s.cfg.Root, "prometheus")
	if err != nil {
		return err
	}
	rules := filepath.Join(s.cfg.Root, observe.Dir, "alerts.yaml")
	if s.cfg.Hasten > 1 {
		rules = filepath.Join(s.cfg.Data, "alerts.yaml")
		if err := observe.Hasten(s.cfg.Root, rules, s.cfg.Hasten); err != nil {
			return err
		}
	}
	targets := []string{s.stack.Ingest.Admin, s.stack.Deliveries[0].Admin, s.stack.Probers[regionKept].Admin, s.stack.Probers[regionLost].Admin}
	s.prometheus, err = observe.Start(ctx, observe.Config{Dir: filepath.Join(s.cfg.Data, "prometheus"), Program: program, Rules: rules, Interval: s.cfg.Interval, Jobs: []observe.Job{
		{Name: "beaconpost", Targets: targets},
		{Name: "beaconpost-ingress", Path: "/v1/monitors/metrics", Token: s.stack.APIKey, Targets: []string{s.stack.Probers[regionKept].API}},
		{Name: "gameday", Targets: []string{s.ownAddr}},
	}})
	return err
}

func (s *system) startLoad(ctx context.Context) error {
	ctx, s.stopLoad = context.WithCancel(context.WithoutCancel(ctx))
	for n, f := range s.flows {
		s.load.Go(func() {
			// Not all at the same moment.
			timer := time.NewTimer(f.pace * time.Duration(n) / time.Duration(len(s.flows)))
			defer timer.Stop()
			select {
			case <-timer.C:
				f.run(ctx)
			case <-ctx.Done():
			}
		})
	}
	return nil
}

func (s *system) endLoad() {
	if s.stopLoad != nil {
		s.stopLoad()
	}
	s.load.Wait()
}

// stop ends everything.
func (s *system) stop() error {
	if s.flood != nil {
		s.flood.end()
	}
	s.endLoad()
	if s.postgres != nil {
		s.postgres.Set(0)
	}
	var errs []error
	if s.stack != nil {
		errs = append(errs, s.stack.Stop())
	}
	if s.prometheus != nil {
		errs = append(errs, s.prometheus.Stop())
	}
	if s.postgres != nil {
		s.postgres.Close()
	}
	errs = append(errs, sink.Close(s.steady, s.lone, s.many, s.flooded))
	if s.tls != nil {
		s.tls.Close()
	}
	if s.own != nil {
		errs = append(errs, s.own.Close())
	}
	return errors.Join(errs...)
}

// makeData makes the directory for everything; Postgres' user has to get through.
func makeData(cfg *Config) (remove func() error, err error) {
	if cfg.Data == "" {
		if cfg.Data, err = os.MkdirTemp("", "beaconpost-gameday-"); err != nil {
			return nil, err
		}
		remove = func() error { return os.RemoveAll(cfg.Data) }
	} else {
		remove = func() error { return os.RemoveAll(filepath.Join(cfg.Data, "system")) }
	}
	return remove, errors.Join(os.MkdirAll(filepath.Join(cfg.Data, "system"), 0o755), os.Chmod(cfg.Data, 0o755)) //nolint:gosec // as it says
}
