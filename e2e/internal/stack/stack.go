// Package stack runs Beaconpost as it is run for real: Postgres with fsync on, nats-server, ingest, delivery, each a process that may be
// killed and started again. The end-to-end tests and the benchmark stand on it.
//
// It owns the processes, their ports and their configuration. It knows nothing of load, sinks or what a run proves.
package stack

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/beaconpost/beaconpost/pkg/auth"
	"github.com/beaconpost/beaconpost/pkg/postgres/pgcluster"
	"github.com/beaconpost/beaconpost/pkg/secretbox"
)

const (
	database   = "beaconpost"
	issuer     = "e2e"
	startLimit = 30 * time.Second
)

// Binaries are the programs that a stack runs.
type Binaries struct{ Beaconpost, NATSServer string }

// Config describes a stack.
type Config struct {
	Dir         string // for everything that the processes write; owned by the stack
	Binaries    Binaries
	Environ     []string          // variables of the services, over the defaults of this package
	Settings    map[string]string // of Postgres
	DiscardLogs bool              // of the processes: they are formatted and thrown away
	// Database, if set, says how the services reach the database whose URL it is given.
	Database func(ctx context.Context, url string) (string, error)
	// Brokers, if set, are the hosts of the servers of a cluster, an odd number of them. Without any there is one server, here.
	Brokers []Host
}

// Stack is a running system. Its methods are not safe for concurrent use, except Query and the calls of the API.
type Stack struct {
	Postgres   *pgcluster.Cluster
	NATS       *Process   // the only broker
	Brokers    []*Process // instead of it, those of a cluster
	Ingest     *Process
	Deliveries []*Process
	Monitor    *Process            // nil unless started
	Probers    map[string]*Process // more monitors, by the region that each checks from

	APIURL     string // of ingest
	MonitorURL string // of the monitor that was started last
	Tenant     string // a first tenant
	APIKey     string // its key, which may do everything in the tenant

	cfg      Config
	natsPort int // in a cluster of all servers; the next one is for their routes, the one after for their health
	keyFile  string
	environ  []string
	varied   []string
}

// Start brings Postgres, nats-server, ingest and a first tenant up. Stop it, also after an error if the stack is not nil.
func Start(ctx context.Context, cfg Config) (*Stack, error) {
	s, err := Prepare(ctx, cfg)
	if err != nil {
		return s, err
	}
	return s, runSteps(ctx, []step{{"start ingest", s.StartIngest}, {"create tenant", s.FirstTenant}})
}

// Prepare brings up what services need: Postgres, with the schema, and nats-server. Stop it, also after an error.
func Prepare(ctx context.Context, cfg Config) (*Stack, error) {
	s := &Stack{cfg: cfg}
	return s, runSteps(ctx, []step{{"choose ports", s.choosePorts}, {"start postgres", s.StartPostgres}, {"configure", s.configure}, {"start nats-server", s.StartNATS}})
}

type step struct {
	name string
	run  func(context.Context) error
}

func runSteps(ctx context.Context, steps []step) error {
	for _, step := range steps {
		if err := step.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return nil
}

func (s *Stack) choosePorts(ctx context.Context) (err error) {
	port, err := FreePort(ctx)
	if err != nil {
		return err
	}
	s.APIURL = fmt.Sprintf("http://127.0.0.1:%d", port)
	if len(s.cfg.Brokers) == 0 {
		s.natsPort, err = FreePort(ctx)
	} else {
		s.natsPort, s.Brokers = natsPort, make([]*Process, len(s.cfg.Brokers)) // hosts have their ports for themselves
	}
	return err
}

func (s *Stack) configure(ctx context.Context) error {
	appURL, err := s.migrate(ctx)
	if err != nil {
		return err
	}
	if s.cfg.Database != nil {
		if appURL, err = s.cfg.Database(ctx, appURL); err != nil {
			return err
		}
	}
	s.keyFile = filepath.Join(s.cfg.Dir, "local.jwk")
	if _, err := auth.LoadOrCreateLocalKey(s.keyFile); err != nil {
		return err
	}
	keys, err := secretbox.GenerateKey(issuer)
	if err != nil {
		return err
	}
	s.environ = append(append(os.Environ(),
		"BEACONPOST_DATABASE_URL="+appURL,
		"BEACONPOST_NATS_URL="+s.NATSURL(),
		"BEACONPOST_SECRETS_KEYS="+keys,
		"BEACONPOST_AUTH_JWKS="+auth.PublicPath(s.keyFile),
		"BEACONPOST_AUTH_ISSUER="+issuer, "BEACONPOST_AUTH_AUDIENCE=beaconpost",
		"BEACONPOST_NETWORK_ALLOW_LOOPBACK=true", "BEACONPOST_MONITOR_NETWORK_ALLOW_LOOPBACK=true",
		"BEACONPOST_LOG_LEVEL=warn",
	), s.cfg.Environ...)
	return nil
}

// Migrate brings the schema to the version of the program that services are started from, if it is older.
func (s *Stack) Migrate(ctx context.Context) error {
	_, err := s.migrate(ctx)
	return err
}

func (s *Stack) migrate(ctx context.Context) (appURL string, err error) {
	_, appURL, err = pgcluster.Bootstrap(ctx, s.Postgres.URL(pgcluster.Superuser, "postgres"), database, func(ctx context.Context, url string) error {
		return Command(ctx, ".", s.cfg.Binaries.Beaconpost, "migrate", "up", "--database-url", url)
	})
	if err != nil {
		err = fmt.Errorf("prepare database: %w", err)
	}
	return appURL, err
}

// Vary sets variables of the services that are started from now on, over all others and instead of those of the last call.
func (s *Stack) Vary(environ []string) { s.varied = environ }

// Use has services that are started from now on be those of another program.
func (s *Stack) Use(beaconpost string) { s.cfg.Binaries.Beaconpost = beaconpost }

// NATSURL is where the broker listens, or all that a cluster has.
func (s *Stack) NATSURL() string {
	if len(s.cfg.Brokers) > 0 {
		return s.clusterURL(s.natsPort)
	}
	return "nats://127.0.0.1:" + strconv.Itoa(s.natsPort)
}

// Dir is where the processes write, their logs too.
func (s *Stack) Dir() string { return s.cfg.Dir }

// NATSDir is where the broker keeps its streams.
func (s *Stack) NATSDir() string { return filepath.Join(s.cfg.Dir, "nats") }

// DatabaseURL is the database for its superuser, past row-level security.
func (s *Stack) DatabaseURL() string { return s.Postgres.URL(pgcluster.Superuser, database) }

// StartPostgres starts the database server, for the first time or again.
func (s *Stack) StartPostgres(ctx context.Context) (err error) {
	s.Postgres, err = pgcluster.Start(ctx, pgcluster.Config{Dir: filepath.Join(s.cfg.Dir, "postgres"), Settings: s.cfg.Settings})
	return err
}

// StopPostgres stops it in an orderly way.
func (s *Stack) StopPostgres() error {
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	return s.Postgres.Stop(ctx)
}

// StartNATS starts the broker, for the first time or again, or all servers of the cluster.
func (s *Stack) StartNATS(ctx context.Context) (err error) {
	if len(s.cfg.Brokers) > 0 {
		return s.startBrokers(ctx)
	}
	s.NATS, err = s.spawn("nats-server", s.cfg.Binaries.NATSServer, os.Environ(), "-js", "-a", "127.0.0.1", "-p", strconv.Itoa(s.natsPort), "-sd", s.NATSDir())
	if err != nil {
		return err
	}
	return s.NATS.await(ctx, func() bool {
		conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", "127.0.0.1:"+strconv.Itoa(s.natsPort))
		return err == nil && conn.Close() == nil
	})
}

// StartIngest starts ingest, for the first time or again, on the same port.
func (s *Stack) StartIngest(ctx context.Context) (err error) {
	s.Ingest, err = s.service(ctx, "ingest", s.APIURL[len("http://"):])
	return err
}

// StartDelivery starts one more replica of delivery.
func (s *Stack) StartDelivery(ctx context.Context) error {
	p, err := s.serviceAnywhere(ctx, "delivery")
	if err == nil {
		s.Deliveries = append(s.Deliveries, p)
	}
	return err
}

// ReplaceDelivery starts a replica in the place of the nth, which has ended.
func (s *Stack) ReplaceDelivery(ctx context.Context, n int) (err error) {
	s.Deliveries[n], err = s.serviceAnywhere(ctx, "delivery")
	return err
}

// StartMonitor starts monitor.
func (s *Stack) StartMonitor(ctx context.Context) error {
	port, err := FreePort(ctx)
	if err != nil {
		return err
	}
	s.Monitor, err = s.service(ctx, "monitor", fmt.Sprintf("127.0.0.1:%d", port))
	s.MonitorURL = fmt.Sprintf("http://127.0.0.1:%d", port)
	return err
}

// StartProber starts a monitor that checks from a region, for the first time or again, on the same ports.
func (s *Stack) StartProber(ctx context.Context, region string) error {
	listen, admin, err := freeAddresses(ctx)
	if err != nil {
		return err
	}
	if before := s.Probers[region]; before != nil {
		listen, admin = before.API, before.Admin
	}
	p, err := s.launch(ctx, Host{}, "monitor", "monitor", listen, admin, "BEACONPOST_MONITOR_REGION="+region)
	if err == nil {
		if s.Probers == nil {
			s.Probers = map[string]*Process{}
		}
		s.Probers[region] = p
	}
	return err
}

func freeAddresses(ctx context.Context) (listen, admin string, err error) {
	first, err := FreePort(ctx)
	if err != nil {
		return "", "", err
	}
	second, err := FreePort(ctx)
	return fmt.Sprintf("127.0.0.1:%d", first), fmt.Sprintf("127.0.0.1:%d", second), err
}

// Stop ends everything that still runs, in an orderly way.
func (s *Stack) Stop() error {
	var errs []error
	processes := append(slices.Collect(maps.Values(s.Probers)), s.Deliveries...)
	processes = append(processes, s.Monitor, s.Ingest, s.NATS)
	for _, p := range append(processes, s.Brokers...) {
		if p != nil {
			errs = append(errs, p.Terminate())
		}
	}
	if s.Postgres != nil {
		errs = append(errs, s.StopPostgres())
	}
	return errors.Join(errs...)
}

// Query asks the database, past row-level security, for one value as text.
func (s *Stack) Query(ctx context.Context, sql string, args ...any) (string, error) {
	conn, err := pgx.Connect(ctx, s.DatabaseURL())
	if err != nil {
		return "", err
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // only read
	var value string
	err = conn.QueryRow(ctx, sql, args...).Scan(&value)
	return value, err
}

// Logs gives the ends of all logs by file name.
func (s *Stack) Logs() map[string]string {
	ends := map[string]string{}
	files, err := filepath.Glob(filepath.Join(s.cfg.Dir, "*.log"))
	if err != nil {
		return nil
	}
	for _, file := range files {
		if body, err := os.ReadFile(file); err == nil {
			ends[filepath.Base(file)] = string(body[max(0, len(body)-4000):])
		}
	}
	return ends
}

// Ports are chosen below those that Linux gives to outgoing connections and to whoever asks for any: a free one would be taken by one of these before it is
// listened on.
const (
	firstPort = 15000
	portCount = 15000
)

var nextPort atomic.Int64 //nolint:gochecknoglobals // of this process: behind the first one

// FreePort gives a TCP port of loopback that nobody listens on, another one each time.
func FreePort(ctx context.Context) (int, error) {
	var refused error
	for range 100 {
		port := firstPort + (os.Getpid()*97+int(nextPort.Add(1)))%portCount
		ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			return port, ln.Close()
		}
		refused = err
	}
	return 0, refused
}
