package ingest_test

import (
	"context"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/migrations"
	"github.com/beaconpost/beaconpost/pkg/postgres/pgcluster"
)

func TestEventsAreAcceptedWhileTheBrokerIsAway(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, c := b.tenant("acme")
	b.endpoint(c, map[string]any{})
	require.NoError(t, b.NATS.Shutdown(t.Context()))
	for range 20 {
		b.event(c, `{"event_type":"x","payload":1}`)
	}
	require.Equal(t, []string{"20"}, b.Rows(`SELECT count(*)::text FROM deliveries WHERE status = 'pending'`))
}

func TestPostgresAwayIs503QuicklyAndItRecovers(t *testing.T) {
	t.Parallel()
	cluster, url := ownPostgres(t)
	b := setup(t, "BEACONPOST_DATABASE_URL="+url, "BEACONPOST_API_KEY_CACHE_TTL=1h", "BEACONPOST_API_KEY_CACHE_OFFLINE_TTL=1h", "BEACONPOST_ACCEPT_TIMEOUT=2s")
	_, c := b.tenant("acme")
	body := `{"event_type":"x","payload":1}`
	b.event(c, body)
	before := runtime.NumGoroutine()
	require.NoError(t, cluster.stop())

	start := time.Now()
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			answer := c.Do("POST", "/v1/events", body)
			answer.WantProblem(503, "unavailable", "")
			seconds, err := strconv.Atoi(answer.Header.Get("Retry-After"))
			require.NoError(t, err)
			require.Positive(t, seconds)
		})
	}
	wg.Wait()
	require.Less(t, time.Since(start), 10*time.Second)
	require.Eventually(t, func() bool { return runtime.NumGoroutine() < before+150 }, 10*time.Second, 10*time.Millisecond, "requests pile up")
	require.Error(t, b.service.Ready(t.Context()))

	cluster.start()
	require.Eventually(t, func() bool { return c.Do("POST", "/v1/events", body).Status == 202 }, 20*time.Second, 50*time.Millisecond)
	require.NoError(t, b.service.Ready(t.Context()))
}

// ownCluster is a Postgres that a test may stop and start.
type ownCluster struct {
	t       *testing.T
	cfg     pgcluster.Config
	cluster *pgcluster.Cluster
}

func ownPostgres(t *testing.T) (*ownCluster, string) {
	t.Helper()
	dir := sharedTempDir(t)
	c := &ownCluster{t: t, cfg: pgcluster.Config{Dir: dir + "/pg", Ephemeral: true}}
	c.start()
	_, url, err := pgcluster.Bootstrap(t.Context(), c.cluster.URL(pgcluster.Superuser, "postgres"), "beaconpost", func(ctx context.Context, url string) error {
		_, err := migrations.Up(ctx, url)
		return err
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.stop()) })
	return c, url
}

func (c *ownCluster) start() {
	c.t.Helper()
	var err error
	c.cluster, err = pgcluster.Start(c.t.Context(), c.cfg)
	require.NoError(c.t, err)
}

func (c *ownCluster) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return c.cluster.Stop(ctx)
}
