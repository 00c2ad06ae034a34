package delivery_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/beaconpost/beaconpost/pkg/postgres"
	"github.com/beaconpost/beaconpost/pkg/secretbox"
	"github.com/beaconpost/beaconpost/pkg/service/servicetest"
	"github.com/beaconpost/beaconpost/pkg/signature"
	"github.com/beaconpost/beaconpost/pkg/stream"
	"github.com/beaconpost/beaconpost/pkg/stream/streamtest"
	"github.com/beaconpost/beaconpost/pkg/telemetry"
	"github.com/beaconpost/beaconpost/pkg/tenant"
	"github.com/beaconpost/beaconpost/pkg/uuid7"
	"github.com/beaconpost/beaconpost/services/delivery"
)

// bundle is a delivery service on a database and broker of its own; rows are written as ingest would write them.
type bundle struct {
	*servicetest.Bench
	t       *testing.T
	service *delivery.Service
	tenant  tenant.ID
	client  servicetest.Client
	nats    *nats.Conn
	publish *stream.Publisher
	spans   sdktrace.SpanExporter
}

func setup(t *testing.T, extra ...string) *bundle {
	t.Helper()
	b := prepare(t)
	b.start(extra...)
	return b
}

// prepare makes everything but the service.
func prepare(t *testing.T) *bundle {
	t.Helper()
	b := &bundle{Bench: servicetest.New(t), t: t, tenant: tenant.ID(uuid.Must(uuid.NewV7()))}
	var err error
	b.Exec(`INSERT INTO tenants (id, name) VALUES ($1, 'acme')`, b.tenant.UUID())
	b.nats = streamtest.Connect(t, b.NATS)
	b.publish, err = stream.NewPublisher(b.nats, telemetry.Silent(prometheus.NewRegistry()))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.publish.Close(context.Background())) })
	return b
}

// start runs a service; it may be called again for another replica. The function it returns stops it, which otherwise the test's end does.
func (b *bundle) start(extra ...string) (stop func(limit time.Duration) error) {
	b.t.Helper()
	var cfg delivery.Config
	b.Load(&cfg, append([]string{
		"BEACONPOST_DELIVERY_RETRY_BASE=50ms", "BEACONPOST_DELIVERY_RECONCILE_INTERVAL=100ms", "BEACONPOST_DELIVERY_TIMEOUT=2s",
	}, extra...)...)
	cfg.LogWriter, cfg.Version, cfg.SpanExporter = b.t.Output(), "test", b.spans
	service, err := delivery.New(b.t.Context(), cfg)
	require.NoError(b.t, err)
	server := httptest.NewServer(service.Handler())
	b.service = service
	b.client = servicetest.Client{T: b.t, URL: server.URL, Token: b.Token(b.tenant)}
	var once sync.Once
	stop = func(limit time.Duration) (err error) {
		once.Do(func() {
			server.Close()
			ctx, cancel := context.WithTimeout(context.Background(), limit)
			defer cancel()
			err = service.Stop(ctx)
		})
		return err
	}
	b.t.Cleanup(func() { require.NoError(b.t, stop(20*time.Second)) })
	return stop
}

// endpoint stores an endpoint with a sealed secret.
func (b *bundle) endpoint(url string) (uuid.UUID, signature.Secret) {
	b.t.Helper()
	id := uuid.Must(uuid.NewV7())
	b.Exec(`INSERT INTO endpoints (tenant_id, id, url) VALUES ($1, $2, $3)`, b.tenant.UUID(), id, url)
	return id, b.secret(id)
}

func (b *bundle) secret(endpointID uuid.UUID) signature.Secret {
	b.t.Helper()
	var keys string
	for _, v := range b.Environ {
		if rest, ok := strings.CutPrefix(v, "BEACONPOST_SECRETS_KEYS="); ok {
			keys = rest
		}
	}
	ring, err := secretbox.ParseKeyring(keys)
	require.NoError(b.t, err)
	secret, id := signature.NewSecret(), uuid.Must(uuid.NewV7())
	keyID, sealed, err := ring.Seal([]byte(secret.Reveal()), postgres.SecretAAD(b.tenant, endpointID, id))
	require.NoError(b.t, err)
	b.Exec(`INSERT INTO endpoint_secrets (tenant_id, id, endpoint_id, key_id, ciphertext) VALUES ($1, $2, $3, $4, $5)`, b.tenant.UUID(), id, endpointID, keyID, sealed)
	return secret
}

type queued struct {
	event, delivery uuid.UUID
	message         stream.DeliveryReady
}

// enqueue stores an event with a delivery that is due, without a message.
func (b *bundle) enqueue(endpointID uuid.UUID, payload string) queued {
	b.t.Helper()
	q := queued{event: uuid.Must(uuid.NewV7())}
	q.delivery = uuid7.Beside(q.event)
	due := time.Now().UTC().Truncate(time.Microsecond)
	b.Exec(`INSERT INTO webhook_events (tenant_id, id, event_type, payload) VALUES ($1, $2, 'order.paid', $3)`, b.tenant.UUID(), q.event, []byte(payload))
	b.Exec(`INSERT INTO deliveries (tenant_id, id, event_id, endpoint_id, next_attempt_at) VALUES ($1, $2, $3, $4, $5)`, b.tenant.UUID(), q.delivery, q.event, endpointID, due)
	q.message = stream.DeliveryReady{Tenant: b.tenant, DeliveryID: q.delivery, Attempt: 1, Due: due}
	return q
}

// send stores and publishes as ingest does.
func (b *bundle) send(endpointID uuid.UUID, payload string) queued {
	b.t.Helper()
	q := b.enqueue(endpointID, payload)
	b.publish.Ready(q.message)
	return q
}

// wait waits until a delivery has the status.
func (b *bundle) wait(q queued, status string) {
	b.t.Helper()
	require.Eventuallyf(b.t, func() bool { return b.status(q) == status }, 20*time.Second, 10*time.Millisecond, "expected %s", status)
}

func (b *bundle) status(q queued) string {
	b.t.Helper()
	return b.Query(`SELECT status FROM deliveries WHERE id = $1`, q.delivery)
}

func (b *bundle) attempts(q queued) string {
	b.t.Helper()
	return b.Query(`SELECT concat_ws(' ', number, status_code, error_class) FROM delivery_attempts WHERE delivery_id = $1 ORDER BY id`, q.delivery)
}

// received is one request that a sink got.
type received struct {
	header http.Header
	body   []byte
}

// sink records requests; answer, if set, writes the answer to the n-th (from 1).
type sink struct {
	*httptest.Server
	mu  sync.Mutex
	got []received
}

func newSink(t *testing.T, answer func(n int, w http.ResponseWriter, r *http.Request)) *sink {
	t.Helper()
	s := &sink{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		s.got = append(s.got, received{r.Header.Clone(), body})
		n := len(s.got)
		s.mu.Unlock()
		if answer != nil {
			answer(n, w, r)
		}
	}))
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s
}

func (s *sink) requests() []received {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]received(nil), s.got...)
}
