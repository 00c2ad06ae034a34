package e2e

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/auth"
	"github.com/beaconpost/beaconpost/pkg/postgres/pgcluster"
	"github.com/beaconpost/beaconpost/pkg/secretbox"
)

// system is Beaconpost as processes: Postgres, nats-server, ingest, and replicas of delivery.
type system struct {
	t   *testing.T
	dir string

	postgres   *pgcluster.Cluster
	appURL     string
	natsPort   int
	nats       *process
	ingest     *process
	deliveries []*process

	environ []string
	keyFile string
	apiURL  string
	tenant  string
	apiKey  string
}

// process is a program that a test may kill.
type process struct {
	t     *testing.T
	name  string
	cmd   *exec.Cmd
	done  chan struct{}
	admin string // address of the admin port; "" for nats-server
}

// startSystem starts everything with replicas of delivery. extra are variables of the services.
func startSystem(t *testing.T, replicas int, extra ...string) *system {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.Chmod(filepath.Dir(dir), 0o755))
	s := &system{t: t, dir: dir, natsPort: freePort(t)}
	s.startPostgres()
	var err error
	_, s.appURL, err = pgcluster.Bootstrap(t.Context(), s.postgres.URL(pgcluster.Superuser, "postgres"), "beaconpost", func(_ context.Context, url string) error {
		return command(".", bin.beaconpost, "migrate", "up", "--database-url", url)
	})
	require.NoError(t, err)
	s.startNATS()
	s.configure(extra)
	s.startIngest()
	for range replicas {
		s.startDelivery()
	}
	s.createTenant()
	t.Cleanup(s.stop)
	return s
}

func (s *system) configure(extra []string) {
	s.t.Helper()
	s.keyFile = filepath.Join(s.dir, "local.jwk")
	_, err := auth.LoadOrCreateLocalKey(s.keyFile)
	require.NoError(s.t, err)
	keys, err := secretbox.GenerateKey("e2e")
	require.NoError(s.t, err)
	s.environ = append(append(os.Environ(),
		"BEACONPOST_DATABASE_URL="+s.appURL,
		"BEACONPOST_NATS_URL=nats://127.0.0.1:"+strconv.Itoa(s.natsPort),
		"BEACONPOST_SECRETS_KEYS="+keys,
		"BEACONPOST_AUTH_JWKS="+auth.PublicPath(s.keyFile),
		"BEACONPOST_AUTH_ISSUER=e2e", "BEACONPOST_AUTH_AUDIENCE=beaconpost",
		"BEACONPOST_NETWORK_ALLOW_LOOPBACK=true",
		"BEACONPOST_LOG_LEVEL=warn",
		"BEACONPOST_DELIVERY_TIMEOUT=2s",
		"BEACONPOST_DELIVERY_RETRY_BASE=100ms",
		"BEACONPOST_DELIVERY_RECONCILE_GRACE=10s",
		"BEACONPOST_DELIVERY_RECONCILE_INTERVAL=500ms",
	), extra...)
}

func (s *system) createTenant() {
	s.t.Helper()
	key, err := auth.LoadOrCreateLocalKey(s.keyFile)
	require.NoError(s.t, err)
	token, err := auth.Mint(key, auth.Claims{Scopes: auth.Scopes{auth.ScopeOperator}, Subject: "e2e", TTL: time.Hour, Issuer: "e2e", Audience: "beaconpost"})
	require.NoError(s.t, err)
	var created struct {
		ID     string `json:"id"`
		APIKey string `json:"api_key"`
	}
	s.call(token, "POST", "/v1/tenants", map[string]string{"name": "acme"}, &created)
	s.tenant, s.apiKey = created.ID, created.APIKey
}

func (s *system) startPostgres() {
	s.t.Helper()
	var err error
	s.postgres, err = pgcluster.Start(s.t.Context(), pgcluster.Config{Dir: filepath.Join(s.dir, "postgres")})
	require.NoError(s.t, err)
}

func (s *system) stopPostgres() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	require.NoError(s.t, s.postgres.Stop(ctx))
}

func (s *system) natsDir() string { return filepath.Join(s.dir, "nats") }

func (s *system) startNATS() {
	s.t.Helper()
	s.nats = s.spawn("nats-server", bin.natsServer, nil, "-js", "-a", "127.0.0.1", "-p", strconv.Itoa(s.natsPort), "-sd", s.natsDir())
	require.Eventually(s.t, func() bool {
		conn, err := net.DialTimeout("tcp", "127.0.0.1:"+strconv.Itoa(s.natsPort), time.Second)
		if err != nil {
			return false
		}
		return conn.Close() == nil
	}, 20*time.Second, 10*time.Millisecond)
}

func (s *system) startIngest() {
	s.t.Helper()
	if s.apiURL == "" {
		s.apiURL = fmt.Sprintf("http://127.0.0.1:%d", freePort(s.t))
	}
	s.ingest = s.service("ingest", strings.TrimPrefix(s.apiURL, "http://"))
}

func (s *system) startDelivery() *process {
	s.t.Helper()
	p := s.service("delivery", fmt.Sprintf("127.0.0.1:%d", freePort(s.t)))
	s.deliveries = append(s.deliveries, p)
	return p
}

// service starts one of our services and waits until it is ready.
func (s *system) service(name, listen string) *process {
	s.t.Helper()
	admin := fmt.Sprintf("127.0.0.1:%d", freePort(s.t))
	p := s.spawn(name, bin.beaconpost, append(s.environ, "BEACONPOST_LISTEN="+listen, "BEACONPOST_ADMIN_LISTEN="+admin), name)
	p.admin = admin
	require.Eventually(s.t, func() bool {
		resp, err := http.Get("http://" + admin + "/readyz")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	}, 30*time.Second, 20*time.Millisecond, "%s is not ready", name)
	return p
}

func (s *system) spawn(name, path string, environ []string, args ...string) *process {
	s.t.Helper()
	cmd := exec.CommandContext(context.Background(), path, args...)
	cmd.Env = environ
	log, err := os.OpenFile(filepath.Join(s.dir, name+".log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	require.NoError(s.t, err)
	cmd.Stdout, cmd.Stderr = log, log
	require.NoError(s.t, cmd.Start())
	p := &process{t: s.t, name: name, cmd: cmd, done: make(chan struct{})}
	go func() {
		_ = cmd.Wait()
		_ = log.Close()
		close(p.done)
	}()
	return p
}

// kill ends the process at once, as a crash does.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// terminate asks the process to end and waits for it.
func (p *process) terminate() {
	p.t.Helper()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(60 * time.Second):
		p.kill()
		require.Fail(p.t, p.name+" did not end after SIGTERM")
	}
}

func (s *system) stop() {
	for _, p := range s.deliveries {
		p.terminate()
	}
	s.ingest.terminate()
	s.nats.terminate()
	s.stopPostgres()
	if s.t.Failed() {
		s.showLogs()
	}
}

// showLogs prints the ends of all logs after a failure.
func (s *system) showLogs() {
	files, _ := filepath.Glob(filepath.Join(s.dir, "*.log"))
	for _, file := range files {
		body, err := os.ReadFile(file)
		if err == nil {
			s.t.Logf("%s:\n%s", filepath.Base(file), body[max(0, len(body)-4000):])
		}
	}
}

// query asks the database, past row-level security, for one value as text.
func (s *system) query(sql string, args ...any) string {
	s.t.Helper()
	conn, err := pgx.Connect(context.Background(), s.postgres.URL(pgcluster.Superuser, "beaconpost"))
	require.NoError(s.t, err)
	defer conn.Close(context.Background())
	var value string
	require.NoError(s.t, conn.QueryRow(context.Background(), sql, args...).Scan(&value))
	return value
}

func freePort(t *testing.T) int {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port
}
