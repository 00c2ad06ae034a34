package cluster

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/beaconpost/beaconpost/e2e/internal/proxy"
	"github.com/beaconpost/beaconpost/e2e/internal/sink"
	"github.com/beaconpost/beaconpost/e2e/internal/stack"
	"github.com/beaconpost/beaconpost/pkg/lifecycle"
	"github.com/beaconpost/beaconpost/proto/subject"
)

const (
	hosts    = 3
	tenants  = 3
	monitors = 6
	failEach = 10 // one in so many events is refused once by the endpoint that fails
)

// system is everything that runs.
type system struct {
	cfg      Config
	lan      *lan
	stack    *stack.Stack
	postgres *proxy.Proxy

	ingest, delivery, monitor *deployment

	sinks []*sink.Sink
	flows []*flow
	clock clock

	stopLoad context.CancelFunc
	loading  sync.WaitGroup
}

// start brings everything up. Stop it, also after an error.
func start(ctx context.Context, cfg Config) (*system, error) {
	s := &system{cfg: cfg}
	for _, step := range []struct {
		name string
		run  func(context.Context) error
	}{
		{"make hosts", s.makeHosts}, {"start Postgres and NATS", s.startStack}, {"start services", s.startServices},
		{"make tenants", s.makeTenants}, {"make monitors", s.makeMonitors},
	} {
		if err := step.run(ctx); err != nil {
			return s, fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return s, nil
}

func (s *system) makeHosts(ctx context.Context) (err error) {
	s.lan, err = newLAN(ctx, hosts)
	return err
}

// startStack starts what services need. Postgres is at this process' address, for whoever is not cut off.
func (s *system) startStack(ctx context.Context) (err error) {
	binaries := s.cfg.Binaries
	if s.cfg.older != "" {
		binaries.Beaconpost = s.cfg.older
	}
	s.stack, err = stack.Prepare(ctx, stack.Config{
		Dir: filepath.Join(s.cfg.Data, "system"), Binaries: binaries, Brokers: s.lan.hosts,
		Environ: append([]string{
			"BEACONPOST_STREAM_REPLICAS=3", "BEACONPOST_SHUTDOWN_GRACE=" + grace.String(),
			"BEACONPOST_NETWORK_ALLOW=" + s.lan.here + "/32", "BEACONPOST_MONITOR_NETWORK_ALLOW=" + s.lan.here + "/32",
		}, s.cfg.Environ...),
		Settings: map[string]string{"max_connections": "200"}, // as the chart has it: during a roll there are twice as many processes
		Database: func(ctx context.Context, direct string) (through string, err error) {
			s.postgres, through, err = proxy.Postgres(context.WithoutCancel(ctx), s.lan.here, direct)
			return through, err
		},
	})
	return err
}

// startServices starts replicas where a scheduler that spreads them would.
func (s *system) startServices(ctx context.Context) error {
	for _, d := range []struct {
		to      **deployment
		service string
		hosts   []int
		api     bool
	}{{&s.ingest, "ingest", []int{0, 1}, true}, {&s.delivery, "delivery", []int{0, 1, 2}, false}, {&s.monitor, "monitor", []int{2, 0}, true}} {
		made := &deployment{system: s, service: d.service}
		*d.to = made
		for _, host := range d.hosts {
			if err := made.start(ctx, host); err != nil {
				return err
			}
		}
		if d.api {
			if err := made.expose(ctx); err != nil {
				return err
			}
		}
	}
	s.stack.APIURL, s.stack.MonitorURL = s.ingest.url(), s.monitor.url()
	return s.stack.FirstTenant(ctx)
}

func (s *system) deployments() []*deployment {
	return slices.DeleteFunc([]*deployment{s.ingest, s.delivery, s.monitor}, func(d *deployment) bool { return d == nil })
}

// makeTenants makes tenants with an endpoint each that is well; the first one has another, which refuses some events once.
func (s *system) makeTenants(ctx context.Context) error {
	operator, err := s.stack.OperatorToken()
	if err != nil {
		return err
	}
	for n := range tenants {
		_, key, err := s.stack.CreateTenant(ctx, operator, fmt.Sprintf("shop %d", n))
		if err != nil {
			return err
		}
		f := &flow{key: key}
		s.flows = append(s.flows, f)
		if err := s.makeEndpoint(ctx, f, nil); err != nil {
			return err
		}
		if n == 0 {
			if err := s.makeEndpoint(ctx, f, refuseOnce); err != nil {
				return err
			}
		}
	}
	return nil
}

// refuseOnce answers 500 to the first request for one in failEach events, whichever replica it comes from.
func refuseOnce(id uuid.UUID, nth int) int {
	hash := fnv.New32a()
	hash.Write(id[:])
	if nth == 1 && hash.Sum32()%failEach == 0 {
		return http.StatusInternalServerError
	}
	return http.StatusOK
}

func (s *system) makeEndpoint(ctx context.Context, f *flow, answer func(uuid.UUID, int) int) error {
	to, err := sink.Start(ctx, sink.Config{Host: s.lan.here, Answer: answer, First: s.clock.arrived})
	if err != nil {
		return err
	}
	s.sinks, f.sinks = append(s.sinks, to), append(f.sinks, to)
	var created struct{ Secret string }
	if err := s.stack.Call(ctx, f.key, http.MethodPost, "/v1/endpoints", map[string]any{"url": "http://" + to.Addr + "/webhooks"}, &created); err != nil {
		return err
	}
	return to.Verify(created.Secret)
}

// makeMonitors makes monitors of targets that are well whatever happens here.
func (s *system) makeMonitors(ctx context.Context) error {
	for n := range monitors {
		body := map[string]any{"name": fmt.Sprintf("shop %d", n), "kind": "http", "url": fmt.Sprintf("http://%s/health/%d", s.sinks[0].Addr, n), "interval": "10s", "timeout": "2s"}
		if err := s.stack.Call(ctx, s.stack.APIKey, http.MethodPost, "/v1/monitors", body, &struct{}{}); err != nil {
			return err
		}
	}
	return nil
}

// startLoad has all tenants post.
func (s *system) startLoad(ctx context.Context) {
	ctx, s.stopLoad = context.WithCancel(context.WithoutCancel(ctx))
	pace := time.Duration(len(s.flows)) * time.Second / time.Duration(s.cfg.Rate)
	for n, f := range s.flows {
		s.loading.Go(func() {
			if lifecycle.Wait(ctx, pace*time.Duration(n)/time.Duration(len(s.flows))) { // not all at the same moment
				s.load(ctx, f, pace)
			}
		})
	}
}

func (s *system) endLoad() {
	if s.stopLoad != nil {
		s.stopLoad()
	}
	s.loading.Wait()
}

// settle waits until all events that were accepted by now have been taken by their endpoints, and says how many were not.
func (s *system) settle(ctx context.Context) (missing int) {
	ids := make([][]uuid.UUID, len(s.flows))
	for n, f := range s.flows {
		f.mu.Lock()
		ids[n] = slices.Clone(f.accepted)
		f.mu.Unlock()
	}
	for deadline := time.Now().Add(s.cfg.Settle); ; {
		missing = 0
		for n, f := range s.flows {
			for _, to := range f.sinks {
				missing += to.Missing(ids[n])
			}
		}
		if missing == 0 || time.Now().After(deadline) || !lifecycle.Wait(ctx, 200*time.Millisecond) {
			return missing
		}
	}
}

// leader is the server that leads the stream of deliveries.
func (s *system) leader(ctx context.Context) (int, error) {
	nc, err := nats.Connect(s.stack.NATSURL(), nats.Timeout(5*time.Second))
	if err != nil {
		return 0, err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return 0, err
	}
	stream, err := js.Stream(ctx, subject.StreamDeliveries)
	if err != nil {
		return 0, err
	}
	info := stream.CachedInfo()
	if info.Config.Replicas != hosts || info.Cluster == nil {
		return 0, fmt.Errorf("the stream has %d replicas, not %d", info.Config.Replicas, hosts)
	}
	for n, at := range s.lan.hosts {
		if at.Name == info.Cluster.Leader {
			return n, nil
		}
	}
	return 0, fmt.Errorf("the stream's leader is %q", info.Cluster.Leader)
}

// stop ends everything.
func (s *system) stop() error {
	s.endLoad()
	var ending sync.WaitGroup
	errs := make(chan error, 100)
	for _, d := range s.deployments() {
		for _, p := range d.all() {
			ending.Go(func() { errs <- p.Terminate() })
		}
	}
	ending.Wait()
	close(errs)
	var failed []error
	for err := range errs {
		failed = append(failed, err)
	}
	for _, d := range s.deployments() {
		if d.front != nil {
			d.front.Close()
		}
	}
	if s.stack != nil {
		failed = append(failed, s.stack.Stop())
	}
	if s.postgres != nil {
		s.postgres.Close()
	}
	failed = append(failed, sink.Close(s.sinks...))
	if s.lan != nil {
		failed = append(failed, s.lan.remove())
	}
	return errors.Join(failed...)
}
