package postgres

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/postgres"
	"github.com/beaconpost/beaconpost/pkg/postgres/pgtest"
	"github.com/beaconpost/beaconpost/pkg/stream"
	"github.com/beaconpost/beaconpost/pkg/tenant"
	"github.com/beaconpost/beaconpost/services/delivery/internal/delivery"
	"github.com/beaconpost/beaconpost/services/delivery/internal/health"
	"github.com/beaconpost/beaconpost/services/delivery/internal/stats"
)

func open(t *testing.T) (*Store, func(sql string, args ...any)) {
	t.Helper()
	database := pgtest.New(t)
	db, err := postgres.Open(t.Context(), postgres.Config{URL: database.AppURL})
	require.NoError(t, err)
	t.Cleanup(db.Close)
	store, err := NewStore(db, nil, Defaults{Timeout: 15 * time.Second, Fresh: time.Minute, Announce: func(...stream.DeliveryReady) {}}, zerolog.Nop())
	require.NoError(t, err)
	conn, err := pgx.Connect(t.Context(), database.URL("postgres"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return store, func(sql string, args ...any) {
		_, err := conn.Exec(t.Context(), sql, args...)
		require.NoError(t, err)
	}
}

// A replica saw the breaker open and is late to park; meanwhile another has claimed the delivery and is sending.
func TestALateParkLeavesARunningAttemptAlone(t *testing.T) {
	t.Parallel()
	store, exec := open(t)
	owner, endpoint, id := uuid.New(), uuid.New(), uuid.Must(uuid.NewV7())
	exec(`INSERT INTO tenants (id, name) VALUES ($1, 'acme')`, owner)
	exec(`INSERT INTO endpoints (tenant_id, id, url, breaker) VALUES ($1, $2, 'http://x/', 'draining')`, owner, endpoint)
	exec(`INSERT INTO deliveries (tenant_id, id, event_id, endpoint_id, next_attempt_at) VALUES ($1, $2, $2, $3, now())`, owner, id, endpoint)
	job := func() *delivery.Job {
		return &delivery.Job{Ref: delivery.Ref{Tenant: tenant.ID(owner), ID: id}, Attempt: 1, Target: &delivery.Target{EndpointID: endpoint, Timeout: 15 * time.Second}}
	}
	claimed, err := store.Change(t.Context(), []delivery.Admitted{{Admission: delivery.Claim, Job: job()}})
	require.NoError(t, err)
	require.Equal(t, []bool{true}, claimed)
	quota := map[health.Key]int{{Tenant: tenant.ID(owner), Endpoint: endpoint}: 1}
	_, err = store.Change(t.Context(), []delivery.Admitted{{Admission: delivery.Park, Job: job()}})
	require.NoError(t, err)
	released, err := store.Release(t.Context(), quota)
	require.NoError(t, err)
	require.Empty(t, released, "a second attempt beside the one that runs")
	// So it is with what overflows, and with the attempt before.
	require.NoError(t, store.Park(t.Context(), []*delivery.Job{job()}))
	exec(`UPDATE deliveries SET claimed_until = NULL, attempts = 1`)
	_, err = store.Change(t.Context(), []delivery.Admitted{{Admission: delivery.Park, Job: job()}})
	require.NoError(t, err)
	released, err = store.Release(t.Context(), quota)
	require.NoError(t, err)
	require.Empty(t, released)

	next := job()
	next.Attempt = 2
	_, err = store.Change(t.Context(), []delivery.Admitted{{Admission: delivery.Park, Job: next}})
	require.NoError(t, err)
	released, err = store.Release(t.Context(), quota)
	require.NoError(t, err)
	require.Len(t, released, 1)
}

func TestStatisticsOfWhatOnlyFails(t *testing.T) {
	t.Parallel()
	store, _ := open(t)
	key := stats.Key{Tenant: tenant.ID(uuid.New()), Endpoint: uuid.New(), Hour: time.Now().Truncate(time.Hour)}
	for range 2 {
		require.NoError(t, store.AddStats(t.Context(), map[stats.Key]*stats.Counts{key: {Failed: 1}}))
	}
}
