package up

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/beaconpost/beaconpost/migrations"
	"github.com/beaconpost/beaconpost/pkg/httpapi"
	"github.com/beaconpost/beaconpost/pkg/lifecycle"
	"github.com/beaconpost/beaconpost/pkg/postgres/pgcluster"
	"github.com/beaconpost/beaconpost/pkg/service"
	"github.com/beaconpost/beaconpost/pkg/stream/natsembed"
	"github.com/beaconpost/beaconpost/services/beaconpost/internal/demo"
	"github.com/beaconpost/beaconpost/services/delivery"
	"github.com/beaconpost/beaconpost/services/ingest"
	"github.com/beaconpost/beaconpost/services/monitor"
)

// database is the name of ours in the private cluster.
const database = "beaconpost"

type options struct {
	dir, listen, logLevel, version string
	admin                          []string
	environ                        []string
	observe                        bool      // with Prometheus
	out                            io.Writer // for people
	log                            io.Writer
}

// system is everything that `up` has started.
type system struct {
	options
	stack   lifecycle.Stack
	handler switchable
	public  *httpapi.Server
	failed  chan error // receives what must not end by itself

	ingest   ingest.Config
	delivery delivery.Config
	monitor  monitor.Config

	databaseURL string
	natsOptions []nats.Option
	services    []service.Service
	adminAddrs  map[string]string

	prometheusURL string // "": there is none
}

// run starts everything, waits for ctx or a failure, and stops everything in reverse order.
func run(ctx context.Context, o options) error {
	s := &system{options: o, failed: make(chan error, 1), adminAddrs: map[string]string{}}
	started := time.Now()
	err := s.start(ctx)
	switch {
	case err == nil:
		s.announce(time.Since(started))
		select {
		case <-ctx.Done():
			_, _ = fmt.Fprintln(o.out, "\nStopping: finishing what is in flight …")
		case err = <-s.failed:
		}
	case ctx.Err() != nil:
		err = nil // stopped while starting, which whatever was under way took for a failure
	}
	stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopLimit)
	defer cancel()
	if stopErr := s.stack.Unwind(stopCtx); stopErr != nil {
		return errors.Join(err, stopErr)
	}
	if err == nil {
		_, _ = fmt.Fprintln(o.out, "Stopped.")
	}
	return err
}

// start brings up one thing after the other; each pushes its own stop step. The address is taken first: a port in use should be told
// before anything was started.
func (s *system) start(ctx context.Context) error {
	prometheus := ""
	if s.observe {
		var err error
		if prometheus, err = findPrometheus(); err != nil {
			return err
		}
	}
	if err := prepareDir(s.dir); err != nil {
		return err
	}
	lock, err := lockDir(s.dir)
	if err != nil {
		return err
	}
	s.stack.Push("data directory lock", time.Second, func(context.Context) error { return lock.Close() })
	if err := s.serve(ctx); err != nil {
		return err
	}
	if err := s.configure(); err != nil {
		return err
	}
	if err := s.startPostgres(ctx); err != nil {
		return err
	}
	if err := s.startNATS(); err != nil {
		return err
	}
	if err := s.startServices(ctx); err != nil {
		return err
	}
	if s.observe {
		if err := s.startPrometheus(ctx, prometheus); err != nil {
			return err
		}
	}
	file, err := s.ensureDemo(ctx)
	if err != nil {
		return fmt.Errorf("set up demo tenant: %w", err)
	}
	if err := demo.Write(s.dir, file); err != nil {
		return err
	}
	s.handler.set(s.routes(s.ready))
	// Pushed last, so it runs first: readiness off, then requests in flight end, then the services drain.
	s.stack.Push("public API", 30*time.Second, func(ctx context.Context) error {
		for _, svc := range s.services {
			svc.Drain()
		}
		return s.public.Stop(ctx)
	})
	return nil
}

// serve listens at once; until everything is ready it answers 503.
func (s *system) serve(ctx context.Context) error {
	s.handler.set(httpapi.Readyz(func(context.Context) error { return errors.New("starting") }))
	var err error
	if s.public, err = httpapi.Serve(ctx, s.listen, &s.handler); err != nil {
		return fmt.Errorf("%w (choose another with --listen)", err)
	}
	// Harmless after the step that start pushes last; needed when starting fails before that.
	s.stack.Push("public listener", 5*time.Second, s.public.Stop)
	return nil
}

func (s *system) startPostgres(ctx context.Context) error {
	if url := variable(s.environ, "BEACONPOST_DATABASE_URL"); url != "" {
		s.databaseURL = url
		if err := migrate(ctx, url); err != nil {
			return fmt.Errorf("prepare the database of BEACONPOST_DATABASE_URL: %w", err)
		}
		return nil
	}
	cluster, err := pgcluster.Start(ctx, pgcluster.Config{
		Dir: filepath.Join(s.dir, "postgres"), BinDir: variable(s.environ, "BEACONPOST_POSTGRES_BIN"),
	})
	if err != nil {
		return fmt.Errorf("start private Postgres: %w", err)
	}
	var stopping atomic.Bool
	s.stack.Push("private Postgres", 30*time.Second, func(ctx context.Context) error {
		stopping.Store(true)
		return cluster.Stop(ctx)
	})
	go func() {
		<-cluster.Exited()
		if !stopping.Load() {
			s.fail(fmt.Errorf("private Postgres ended by itself: %w", cluster.Err()))
		}
	}()
	_, s.databaseURL, err = pgcluster.Bootstrap(ctx, cluster.URL(pgcluster.Superuser, "postgres"), database, migrate)
	if err != nil {
		return fmt.Errorf("prepare private Postgres: %w", err)
	}
	return nil
}

func migrate(ctx context.Context, url string) error {
	_, err := migrations.Up(ctx, url)
	return err
}

func (s *system) startNATS() error {
	if variable(s.environ, "BEACONPOST_NATS_URL") != "" {
		return nil // the services read it themselves
	}
	server, err := natsembed.Start(natsembed.Config{
		StoreDir: filepath.Join(s.dir, "nats"), Logger: zerolog.New(s.log).Level(zerolog.WarnLevel).With().Timestamp().Str("service", "nats").Logger(),
	})
	if err != nil {
		return fmt.Errorf("start embedded NATS: %w", err)
	}
	s.natsOptions = server.ClientOptions()
	s.stack.Push("embedded NATS", 15*time.Second, server.Shutdown)
	return nil
}

func (s *system) fail(err error) {
	select {
	case s.failed <- err:
	default: // the first failure is the one to tell
	}
}

// ready says whether all services are.
func (s *system) ready(ctx context.Context) error {
	for _, svc := range s.services {
		if err := svc.Ready(ctx); err != nil {
			return err
		}
	}
	return nil
}

// switchable is a handler that can be exchanged while it serves.
type switchable struct {
	current atomic.Pointer[http.Handler]
}

func (h *switchable) set(next http.Handler) { h.current.Store(&next) }

func (h *switchable) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	(*h.current.Load()).ServeHTTP(w, r)
}

func prepareDir(dir string) error {
	// Others may pass through: Postgres runs as another user when this process is root. What is secret has its own mode.
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // see above
		return fmt.Errorf("make data directory: %w (choose another with --data-dir)", err)
	}
	probe := filepath.Join(dir, ".writable")
	if err := os.WriteFile(probe, nil, 0o600); err != nil {
		return fmt.Errorf("data directory %s is not writable: %w (choose another with --data-dir)", dir, err)
	}
	return os.Remove(probe)
}
