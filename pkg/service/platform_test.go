package service_test

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/beaconpost/beaconpost/pkg/stream/natsembed"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/beaconpost/beaconpost/pkg/auth"
	"github.com/beaconpost/beaconpost/pkg/config"
	"github.com/beaconpost/beaconpost/pkg/fault"
	"github.com/beaconpost/beaconpost/pkg/httpapi"
	"github.com/beaconpost/beaconpost/pkg/postgres"
	"github.com/beaconpost/beaconpost/pkg/postgres/pgcluster"
	"github.com/beaconpost/beaconpost/pkg/service"
	"github.com/beaconpost/beaconpost/pkg/service/servicetest"
	"github.com/beaconpost/beaconpost/pkg/tenant"
)

type bench struct {
	*servicetest.Bench
	t    *testing.T
	root *pgx.Conn // past row-level security, in another database, so that this one can be closed
}

func setup(t *testing.T) *bench {
	t.Helper()
	b := &bench{Bench: servicetest.New(t), t: t}
	b.root = b.connect()
	return b
}

func (b *bench) connect() *pgx.Conn {
	b.t.Helper()
	conn, err := pgx.Connect(b.t.Context(), b.Database.URL(pgcluster.Superuser))
	require.NoError(b.t, err)
	b.t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// config reads the bench's configuration, without the secrets that only some services have.
func (b *bench) config(extra ...string) service.Config {
	b.t.Helper()
	var environ []string
	for _, v := range append(b.Environ, extra...) {
		if !strings.HasPrefix(v, "BEACONPOST_SECRETS_") && !strings.HasPrefix(v, "BEACONPOST_NETWORK_") {
			environ = append(environ, v)
		}
	}
	var cfg service.Config
	require.NoError(b.t, config.Load(environ, &cfg, nil))
	return cfg
}

func (b *bench) open(role postgres.Role, extra ...string) *service.Platform {
	b.t.Helper()
	p, err := service.Open(b.t.Context(), "shop", role, b.config(extra...))
	require.NoError(b.t, err)
	b.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		require.NoError(b.t, p.Close(ctx))
	})
	return p
}

func TestReadiness(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p := b.open(postgres.RoleIngest)
	require.NoError(t, p.Ready(t.Context()))

	elsewhere, err := pgx.Connect(t.Context(), strings.Replace(b.Database.URL(pgcluster.Superuser), b.Database.Name, "postgres", 1))
	require.NoError(t, err)
	defer elsewhere.Close(context.Background())
	exec := func(sql string) {
		_, err := elsewhere.Exec(t.Context(), sql)
		require.NoError(t, err)
	}
	exec(`ALTER DATABASE ` + b.Database.Name + ` ALLOW_CONNECTIONS false`)
	exec(`SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '` + b.Database.Name + `'`)
	require.Error(t, p.Ready(t.Context()))
	exec(`ALTER DATABASE ` + b.Database.Name + ` ALLOW_CONNECTIONS true`)
	require.Eventually(t, func() bool { return p.Ready(t.Context()) == nil }, 10*time.Second, time.Millisecond, "it comes back by itself, each connection when it is used")

	require.NoError(t, b.NATS.Shutdown(t.Context()))
	require.Eventually(t, func() bool { return !p.NATS.IsConnected() }, 10*time.Second, time.Millisecond)
	require.NoError(t, p.Ready(t.Context()), "the broker is not needed")

	p.Drain()
	require.EqualError(t, p.Ready(t.Context()), "shutting down")
}

func closedPort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	return ln.Addr().String()
}

func TestOpenNeedsNothingToBeUp(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p := b.open(postgres.RoleIngest, "BEACONPOST_DATABASE_URL=postgres://x:hunter2@"+closedPort(t)+"/x", "BEACONPOST_NATS_URL=nats://"+closedPort(t))
	err := p.Ready(t.Context())
	require.Equal(t, fault.KindUnavailable, fault.KindOf(err))
	require.NotContains(t, err.Error(), "hunter2")
	key, _, _ := auth.NewAPIKey()
	_, err = p.Authenticator.Verify(t.Context(), key)
	require.Equal(t, fault.KindUnavailable, fault.KindOf(err), "nobody is refused because we cannot look")
}

type exporter struct{ shutdown chan struct{} }

func (exporter) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error { return nil }

func (e exporter) Shutdown(context.Context) error {
	close(e.shutdown)
	return nil
}

func TestWhatWasOpenedIsClosedWhenOpenFails(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for want, spoil := range map[string]func(*service.Config){
		"parse database url": func(cfg *service.Config) { cfg.DatabaseURL = "postgres://x:notaport/x" },
		"connect to broker":  func(cfg *service.Config) { cfg.NATSURL = "nats://127.0.0.1:notaport" },
		"read jwks":          func(cfg *service.Config) { cfg.Auth.JWKS = filepath.Join(t.TempDir(), "none") },
	} {
		cfg := b.config()
		e := exporter{make(chan struct{})}
		cfg.SpanExporter = e
		spoil(&cfg)
		_, err := service.Open(t.Context(), "shop", postgres.RoleIngest, cfg)
		require.ErrorContains(t, err, want)
		<-e.shutdown
	}
	cfg := b.config()
	cfg.LogLevel = "loud"
	_, err := service.Open(t.Context(), "shop", postgres.RoleIngest, cfg)
	require.ErrorContains(t, err, `parse log level "loud"`)
}

func TestCloseRunsStepsInReverse(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p := b.open(postgres.RoleIngest)
	var order []string
	for _, name := range []string{"publisher", "engine"} {
		p.Push(name, time.Second, func(ctx context.Context) error {
			require.NoError(t, p.DB.Ping(ctx), "the database is closed after %s", name)
			require.True(t, p.NATS.IsConnected(), "the broker too")
			order = append(order, name)
			return errors.New(name + " is stuck")
		})
	}
	err := p.Close(t.Context())
	require.EqualError(t, err, "stop engine: engine is stuck\nstop publisher: publisher is stuck")
	require.Equal(t, []string{"engine", "publisher"}, order)
	require.EqualError(t, p.Ready(t.Context()), "shutting down")
	require.True(t, p.NATS.IsClosed())
	require.Equal(t, fault.KindUnavailable, fault.KindOf(p.DB.Ping(t.Context())))
}

// hung is a collector that takes spans and never answers.
type hung struct{ leave chan struct{} }

func (h hung) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error { <-h.leave; return nil }
func (hung) Shutdown(context.Context) error                               { return nil }

func TestACollectorThatHangsDoesNotFailTheStop(t *testing.T) {
	t.Parallel()
	b := setup(t)
	cfg := b.config()
	collector := hung{make(chan struct{})}
	defer close(collector.leave)
	cfg.SpanExporter = collector
	p, err := service.Open(t.Context(), "shop", postgres.RoleIngest, cfg)
	require.NoError(t, err)
	_, span := p.Telemetry.Tracer.Start(t.Context(), "work")
	span.End()
	start := time.Now()
	require.NoError(t, p.Close(t.Context()), "the exit code would be 1")
	require.Less(t, time.Since(start), 10*time.Second)
}

func TestPlatformMetrics(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p := b.open(postgres.RoleIngest, "BEACONPOST_DATABASE_MAX_CONNS=7")
	require.NoError(t, p.Ready(t.Context()))
	metrics := func() string {
		w := httptest.NewRecorder()
		httpapi.Admin(p.Telemetry.Registry, p.Ready).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody))
		return w.Body.String()
	}
	require.Contains(t, metrics(), "\nbeaconpost_postgres_connections{state=\"max\"} 7\n")
	idle := regexp.MustCompile(`\nbeaconpost_postgres_connections{state="idle"} [12]\n`) // two if somebody looked whether Postgres is up at the same moment
	require.Eventually(t, func() bool {
		text := metrics()
		return idle.MatchString(text) && strings.Contains(text, "\nbeaconpost_postgres_connections{state=\"used\"} 0\n")
	}, 10*time.Second, time.Millisecond)
	require.Contains(t, metrics(), "\nbeaconpost_postgres_up 1\n")
	require.Contains(t, metrics(), "\nbeaconpost_broker_connected 1\n")
	require.Contains(t, metrics(), `beaconpost_build_info{service="shop"`)
	require.NoError(t, b.NATS.Shutdown(t.Context()))
	require.Eventually(t, func() bool { return strings.Contains(metrics(), "\nbeaconpost_broker_connected 0\n") }, 10*time.Second, 5*time.Millisecond)
}

// key stores an API key and gives its text.
func (b *bench) key(owner tenant.ID, scopes []string, expires, revoked *time.Time) (text string, id uuid.UUID) {
	b.t.Helper()
	text, hash, prefix := auth.NewAPIKey()
	id = uuid.Must(uuid.NewV7())
	_, err := b.root.Exec(b.t.Context(), `INSERT INTO api_keys (tenant_id, id, name, prefix, key_hash, scopes, expires_at, revoked_at) VALUES ($1, $2, 'the name', $3, $4, $5, $6, $7)`,
		owner.UUID(), id, prefix, hash, scopes, expires, revoked)
	require.NoError(b.t, err)
	return text, id
}

func (b *bench) tenant() tenant.ID {
	b.t.Helper()
	id := tenant.ID(uuid.Must(uuid.NewV7()))
	_, err := b.root.Exec(b.t.Context(), `INSERT INTO tenants (id, name) VALUES ($1, 'acme')`, id.UUID())
	require.NoError(b.t, err)
	return id
}

func TestEveryServiceLooksUpAPIKeys(t *testing.T) {
	t.Parallel()
	b := setup(t)
	acme, other := b.tenant(), b.tenant()
	past, future := time.Now().Add(-time.Minute), time.Now().Add(time.Hour).Truncate(time.Microsecond)
	good, goodID := b.key(acme, []string{"events:write", "made:up", "events:read"}, nil, nil)
	theirs, _ := b.key(other, []string{"events:read"}, &future, nil)
	expired, _ := b.key(acme, []string{"events:read"}, &past, nil)
	revoked, _ := b.key(acme, []string{"events:read"}, nil, &past)
	unknown, _, _ := auth.NewAPIKey()
	for _, role := range []postgres.Role{postgres.RoleIngest, postgres.RoleDelivery, postgres.RoleMonitor} {
		t.Run(string(role), func(t *testing.T) {
			t.Parallel()
			p := b.open(role)
			principal, err := p.Authenticator.Verify(t.Context(), good)
			require.NoError(t, err)
			require.Equal(t, auth.Principal{
				Tenant: acme, CredentialID: goodID.String(), Kind: auth.KindAPIKey, Scopes: auth.Scopes{auth.ScopeEventsWrite, auth.ScopeEventsRead},
			}, principal)
			principal, err = p.Authenticator.Verify(t.Context(), theirs)
			require.NoError(t, err)
			require.Equal(t, other, principal.Tenant)
			require.True(t, future.Equal(principal.ExpiresAt))
			for text, code := range map[string]fault.Code{expired: auth.CodeExpiredCredentials, revoked: auth.CodeInvalidCredentials, unknown: auth.CodeInvalidCredentials, good[:20] + rand.Text()[:16]: auth.CodeInvalidCredentials} {
				_, err = p.Authenticator.Verify(t.Context(), text)
				require.Equal(t, fault.KindUnauthenticated, fault.KindOf(err), "%v", err)
				require.Equal(t, code, fault.CodeOf(err))
			}
			for _, hidden := range []string{`SELECT name FROM api_keys`, `SELECT prefix FROM api_keys`, `SELECT * FROM api_keys`, `UPDATE api_keys SET revoked_at = NULL`, `DELETE FROM api_keys`, `SELECT FROM projects`} {
				err := p.DB.As(t.Context(), role, func(ctx context.Context, q postgres.Querier) error {
					_, err := q.Exec(ctx, hidden)
					return err
				})
				require.ErrorContains(t, err, "permission denied", hidden)
			}
		})
	}
}

func TestKeysAndTokensAreBothAccepted(t *testing.T) {
	t.Parallel()
	b := setup(t)
	acme := b.tenant()
	key, _ := b.key(acme, []string{"events:read"}, nil, nil)
	p := b.open(postgres.RoleMonitor)
	for token, kind := range map[string]auth.Kind{key: auth.KindAPIKey, b.Token(acme): auth.KindJWT} {
		r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
		r.Header.Set("Authorization", "Bearer "+token)
		principal, err := p.Authenticator.Authenticate(r)
		require.NoError(t, err)
		require.Equal(t, acme, principal.Tenant)
		require.Equal(t, kind, principal.Kind)
	}
	cfg := b.config()
	cfg.Auth = auth.JWTConfig{}
	without, err := service.Open(t.Context(), "shop", postgres.RoleMonitor, cfg)
	require.NoError(t, err)
	defer func() { require.NoError(t, without.Close(context.Background())) }()
	_, err = without.Authenticator.Verify(t.Context(), b.Token(acme))
	require.ErrorContains(t, err, "This kind of credential is not accepted here.")
	require.NoError(t, without.Ready(t.Context()))
}

// Processes remember keys for a minute; that one was revoked they hear over NATS, or find out when they were away.
func TestARevocationIsHeardByAll(t *testing.T) {
	t.Parallel()
	b := setup(t)
	caches := []string{"BEACONPOST_API_KEY_CACHE_TTL=1h", "BEACONPOST_API_KEY_CACHE_OFFLINE_TTL=2s"}
	one, other := b.open(postgres.RoleIngest, caches...), b.open(postgres.RoleDelivery, caches...)
	key, hash, prefix := auth.NewAPIKey()
	owner, id := uuid.Must(uuid.NewV7()), uuid.Must(uuid.NewV7())
	exec := func(sql string, args ...any) {
		_, err := b.root.Exec(t.Context(), sql, args...)
		require.NoError(t, err)
	}
	exec(`INSERT INTO tenants (id, name) VALUES ($1, 'acme')`, owner)
	exec(`INSERT INTO api_keys (tenant_id, id, name, prefix, key_hash, scopes) VALUES ($1, $2, 'key', $3, $4, '{events:read}')`, owner, id, prefix, hash)
	accepted := func(p *service.Platform) bool {
		_, err := p.Authenticator.Verify(t.Context(), key)
		return err == nil
	}
	require.Eventually(t, func() bool { return one.NATS.IsConnected() && other.NATS.IsConnected() }, 20*time.Second, time.Millisecond)
	require.NoError(t, other.NATS.Flush(), "its subscription is in place")
	require.True(t, accepted(one) && accepted(other))

	exec(`UPDATE api_keys SET revoked_at = now()`)
	require.True(t, accepted(other), "remembered")
	one.ForgetAPIKey(id.String())
	require.False(t, accepted(one))
	require.Eventually(t, func() bool { return !accepted(other) }, 5*time.Second, time.Millisecond)

	exec(`UPDATE api_keys SET revoked_at = NULL`)
	one.ForgetAPIKey(id.String())
	require.Eventually(t, func() bool { return accepted(other) }, 5*time.Second, time.Millisecond)
	address := strings.TrimPrefix(b.NATS.URL(), "nats://")
	require.NoError(t, b.NATS.Shutdown(t.Context()))
	require.Eventually(t, func() bool { return !one.NATS.IsConnected() && !other.NATS.IsConnected() }, 20*time.Second, time.Millisecond)
	exec(`UPDATE api_keys SET revoked_at = now()`)
	one.ForgetAPIKey(id.String()) // nobody hears it
	require.Eventually(t, func() bool { return !accepted(other) }, 20*time.Second, 10*time.Millisecond, "without the broker nothing is remembered for long")

	// One comes up while there is no broker, and remembers the key as it was.
	exec(`UPDATE api_keys SET revoked_at = NULL`)
	late := b.open(postgres.RoleMonitor, "BEACONPOST_API_KEY_CACHE_TTL=1h", "BEACONPOST_API_KEY_CACHE_OFFLINE_TTL=1h")
	require.True(t, accepted(late))
	exec(`UPDATE api_keys SET revoked_at = now()`)
	require.True(t, accepted(late))
	again, err := natsembed.Start(natsembed.Config{StoreDir: t.TempDir(), Listen: address})
	require.NoError(t, err)
	defer func() { require.NoError(t, again.Shutdown(context.Background())) }()
	require.Eventually(t, func() bool { return !accepted(late) }, 20*time.Second, 10*time.Millisecond, "what may have been missed is forgotten")
}
