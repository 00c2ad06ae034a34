package monitor_test

import (
	"context"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/service/servicetest"
	"github.com/beaconpost/beaconpost/pkg/tenant"
	"github.com/beaconpost/beaconpost/services/monitor"
)

// bundle is a monitor service on a database and broker of its own.
type bundle struct {
	*servicetest.Bench
	t       *testing.T
	service *monitor.Service
	tenant  tenant.ID
	client  servicetest.Client
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
	b.Exec(`INSERT INTO tenants (id, name) VALUES ($1, 'acme')`, b.tenant.UUID())
	return b
}

// start runs a service; it may be called again for another replica. The function it returns stops it, which otherwise the test's end does.
func (b *bundle) start(extra ...string) (stop func()) {
	b.t.Helper()
	var cfg monitor.Config
	b.Load(&cfg, append([]string{"BEACONPOST_MONITOR_NETWORK_ALLOW_LOOPBACK=true"}, extra...)...)
	cfg.LogWriter, cfg.Version = b.t.Output(), "test"
	service, err := monitor.New(b.t.Context(), cfg)
	require.NoError(b.t, err)
	server := httptest.NewServer(service.Handler())
	b.service = service
	b.client = servicetest.Client{T: b.t, URL: server.URL, Token: b.Token(b.tenant)}
	var once sync.Once
	stop = func() {
		once.Do(func() {
			server.Close()
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			require.NoError(b.t, service.Stop(ctx))
		})
	}
	b.t.Cleanup(stop)
	return stop
}

// eventually waits until a query says what is expected.
func (b *bundle) eventually(want, sql string, args ...any) {
	b.t.Helper()
	got := ""
	defer func() {
		if b.t.Failed() {
			b.t.Logf("the last answer was %q", got)
		}
	}()
	require.Eventuallyf(b.t, func() bool {
		got = b.Query(sql, args...)
		return got == want
	}, 60*time.Second, 20*time.Millisecond, "expected %s of %s", want, sql)
}
