package postgres

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/postgres"
	"github.com/beaconpost/beaconpost/pkg/postgres/pgtest"
	"github.com/beaconpost/beaconpost/pkg/stream"
	"github.com/beaconpost/beaconpost/pkg/telemetry"
	"github.com/beaconpost/beaconpost/pkg/tenant"
	"github.com/beaconpost/beaconpost/pkg/usage"
	"github.com/beaconpost/beaconpost/pkg/uuid7"
	"github.com/beaconpost/beaconpost/services/delivery/internal/delivery"
)

// counting is a database whose usage is counted from an hour on.
type counting struct {
	t     *testing.T
	db    *pgtest.Database
	store *Store
	conn  *pgx.Conn // past row-level security
}

func newCounting(t *testing.T, settings ...string) *counting {
	t.Helper()
	c := &counting{t: t, db: pgtest.New(t)}
	c.conn = c.connect()
	for _, setting := range settings {
		c.exec("ALTER DATABASE " + pgx.Identifier{c.db.Name}.Sanitize() + " SET " + setting)
	}
	c.store = c.replica()
	return c
}

// replica is one more process.
func (c *counting) replica() *Store {
	c.t.Helper()
	db, err := postgres.Open(c.t.Context(), postgres.Config{URL: c.db.AppURL})
	require.NoError(c.t, err)
	c.t.Cleanup(db.Close)
	store, err := NewStore(db, nil, Defaults{Timeout: 15 * time.Second, Fresh: time.Minute, Announce: func(...stream.DeliveryReady) {}}, zerolog.Nop())
	require.NoError(c.t, err)
	return store
}

func (c *counting) connect() *pgx.Conn {
	c.t.Helper()
	conn, err := pgx.Connect(c.t.Context(), c.db.URL("postgres"))
	require.NoError(c.t, err)
	c.t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func (c *counting) exec(sql string, args ...any) {
	c.t.Helper()
	_, err := c.conn.Exec(c.t.Context(), sql, args...)
	require.NoError(c.t, err)
}

func (c *counting) rows(sql string, args ...any) []string {
	c.t.Helper()
	rows, err := c.conn.Query(c.t.Context(), sql, args...)
	require.NoError(c.t, err)
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(c.t, err)
	return list
}

// from has usage counted from then on, with partitions for what is stored.
func (c *counting) from(at time.Time) {
	c.t.Helper()
	c.exec(`SELECT beaconpost_ensure_partitions(($1::timestamptz AT TIME ZONE 'UTC')::date, (now() AT TIME ZONE 'UTC')::date + 1)`, at)
	c.exec(`UPDATE usage_progress SET counted_from = $1, counted_until = $1, sealed_at = NULL, sealed_xid = NULL`, at)
}

// count counts until that moment is over. Transactions of other tests, on the same server, hold it up for a while.
func (c *counting) count(until time.Time, margin time.Duration) {
	c.t.Helper()
	require.Eventually(c.t, func() bool {
		for more := true; more; {
			var err error
			more, err = c.store.Usage().Round(c.t.Context(), margin)
			require.NoError(c.t, err)
		}
		return c.countedPast(until)
	}, 90*time.Second, 10*time.Millisecond)
}

// countOld counts what tests have stored as of hours ago.
func (c *counting) countOld() {
	c.t.Helper()
	c.count(time.Now().Add(-2*usage.Margin), usage.Margin)
}

// waiting says how many locks of the database are waited for.
func (c *counting) waiting() (n int) {
	c.t.Helper()
	const count = `SELECT count(*) FROM pg_locks WHERE NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`
	require.NoError(c.t, c.conn.QueryRow(c.t.Context(), count).Scan(&n))
	return n
}

func (c *counting) countedPast(at time.Time) bool {
	c.t.Helper()
	var past bool
	require.NoError(c.t, c.conn.QueryRow(c.t.Context(), `SELECT counted_until > $1 FROM usage_progress WHERE part = 'delivery'`, at).Scan(&past))
	return past
}

// event stores one as it was stored then, with so many deliveries.
func (c *counting) event(owner uuid.UUID, at time.Time, eventType, payload string, deliveries int) uuid.UUID {
	c.t.Helper()
	id := idAt(at)
	c.exec(`INSERT INTO webhook_events (tenant_id, id, event_type, payload, fanout, recorded_at) VALUES ($1, $2, $3, $4, nullif($5, 0), $6)`, owner, id, eventType, []byte(payload), deliveries, at)
	return id
}

func (c *counting) attempt(owner uuid.UUID, at time.Time, status int, class *string, exhausted *bool) {
	c.t.Helper()
	c.exec(`INSERT INTO delivery_attempts (tenant_id, id, delivery_id, started_at, duration_us, number, status_code, error_class, exhausted, recorded_at)
VALUES ($1, $2, $3, $4, 1, 1, nullif($5, 0), $6, $7, $4)`, owner, idAt(at), uuid.New(), at, status, class, exhausted)
}

func idAt(at time.Time) uuid.UUID { return uuid7.Beside(uuid7.Floor(at)) }

const showUsage = `
SELECT concat_ws(' ', to_char(hour AT TIME ZONE 'UTC', 'HH24:MI'), events, event_bytes, notices, deliveries, attempts, delivered, exhausted) FROM tenant_usage WHERE tenant_id = $1 ORDER BY hour`

func TestUsageIsCountedByTenantAndHourOfUTC(t *testing.T) {
	t.Parallel()
	c := newCounting(t, "timezone TO 'Asia/Kathmandu'") // a quarter of an hour beside everybody else's hours
	noon := time.Now().UTC().AddDate(0, 0, -3).Truncate(24 * time.Hour).Add(12 * time.Hour)
	c.from(noon.Add(-14 * time.Hour)) // some of it the day before
	acme, other := uuid.New(), uuid.New()
	failed, last := "timeout_header", true

	c.event(acme, noon.Add(-13*time.Hour), "order.paid", "1", 0)
	c.event(acme, noon.Add(-time.Microsecond), "order.paid", "12345", 2)
	c.event(acme, noon, "order.paid", "1234567", 1)
	c.event(acme, noon.Add(time.Second), "order.paid", "", 0)
	c.event(acme, noon.Add(20*time.Minute), "delivery.exhausted", "a notice of our own", 3)
	c.event(other, noon, "order.paid", "1", 0)
	c.attempt(acme, noon, 204, nil, nil)
	c.attempt(acme, noon.Add(time.Minute), 500, nil, nil)
	c.attempt(acme, noon.Add(2*time.Minute), 200, &failed, nil) // the answer did not come to its end
	c.attempt(acme, noon.Add(3*time.Minute), 0, &failed, &last)
	c.attempt(other, noon.Add(59*time.Minute+59*time.Second), 299, nil, nil)
	// Made in one hour, recorded in another: Postgres was away.
	c.exec(`UPDATE delivery_attempts SET recorded_at = $1 WHERE tenant_id = $2`, noon.Add(26*time.Hour), other)

	c.countOld()
	require.Equal(t, []string{"23:00 1 1 0 0 0 0 0", "11:00 1 5 0 2 0 0 0", "12:00 2 7 1 4 4 1 1"}, c.rows(showUsage, acme))
	require.Equal(t, []string{"12:00 1 1 0 0 0 0 0", "14:00 0 0 0 0 1 1 0"}, c.rows(showUsage, other))
	before := c.rows(`SELECT t::text FROM tenant_usage t ORDER BY 1`)
	c.countOld()
	require.Equal(t, before, c.rows(`SELECT t::text FROM tenant_usage t ORDER BY 1`), "counted once")
}

func TestRecordedAttemptsAreCounted(t *testing.T) {
	t.Parallel()
	c := newCounting(t)
	owner, endpoint := uuid.New(), uuid.New()
	c.exec(`INSERT INTO tenants (id, name) VALUES ($1, 'acme')`, owner)
	c.exec(`INSERT INTO endpoints (tenant_id, id, url) VALUES ($1, $2, 'http://x/')`, owner, endpoint)
	var finished []delivery.Finished
	for i, outcome := range []delivery.Outcome{{Status: delivery.Delivered}, {Status: delivery.Pending, Next: time.Now()}, {Status: delivery.Exhausted}} {
		id := c.event(owner, time.Now(), "order.paid", "1", 0)
		ref := delivery.Ref{Tenant: tenant.ID(owner), ID: uuid7.Beside(id)}
		c.exec(`INSERT INTO deliveries (tenant_id, id, event_id, endpoint_id, next_attempt_at) VALUES ($1, $2, $3, $4, now())`, owner, ref.ID, id, endpoint)
		status := 500
		if i == 0 {
			status = 200
		}
		finished = append(finished, delivery.Finished{
			Job:     &delivery.Job{Ref: ref, Attempt: 1, EventID: id, EventType: "order.paid", Target: &delivery.Target{EndpointID: endpoint}},
			Attempt: &delivery.Attempt{ID: uuid.Must(uuid.NewV7()), Number: 1, StartedAt: time.Now(), StatusCode: status}, Outcome: outcome,
		})
	}
	_, err := c.store.Record(t.Context(), finished)
	require.NoError(t, err)
	c.count(time.Now(), 50*time.Millisecond)
	require.Equal(t, []string{"3 1 1"}, c.rows(`SELECT concat_ws(' ', sum(attempts), sum(delivered), sum(exhausted)) FROM tenant_usage WHERE tenant_id = $1`, owner))
}

// Whatever order transactions begin, store and commit in, and whoever counts meanwhile.
func TestUsageIsExactWhileEventsAreStored(t *testing.T) {
	t.Parallel()
	c := newCounting(t)
	const writers, replicas, each, margin = 4, 3, 60, 50 * time.Millisecond
	tenants := []uuid.UUID{uuid.New(), uuid.New(), uuid.New()}
	c.from(time.Now().Truncate(time.Hour))
	ctx, stop := context.WithCancel(t.Context())
	var counting, writing sync.WaitGroup
	defer counting.Wait()
	defer stop()
	for range replicas {
		store := c.replica()
		counting.Go(func() {
			for ctx.Err() == nil {
				if _, err := store.Usage().Round(ctx, margin); err != nil && ctx.Err() == nil {
					t.Errorf("count: %v", err)
					return
				}
			}
		})
	}
	for w := range writers {
		conn := c.connect()
		writing.Go(func() {
			for i := range each {
				if err := storeSlowly(t.Context(), conn, tenants, w, i); err != nil {
					t.Errorf("store: %v", err)
					return
				}
			}
		})
	}
	writing.Wait()
	end := time.Now()
	require.Eventually(t, func() bool { return c.countedPast(end) }, 60*time.Second, 10*time.Millisecond)
	stop()
	counting.Wait()
	const difference = `
SELECT coalesce(u.tenant_id, s.tenant_id)::text FROM (SELECT tenant_id, sum(events) AS events, sum(event_bytes) AS bytes, sum(deliveries) AS deliveries FROM tenant_usage GROUP BY 1) u
FULL JOIN (SELECT tenant_id, count(*) AS events, sum(octet_length(payload)) AS bytes, sum(fanout) AS deliveries FROM webhook_events e GROUP BY 1) s USING (tenant_id)
WHERE (u.events, u.bytes, u.deliveries) IS DISTINCT FROM (s.events, s.bytes, s.deliveries)`
	require.Empty(t, c.rows(difference))
	require.Equal(t, []string{"3"}, c.rows(`SELECT count(DISTINCT tenant_id)::text FROM tenant_usage`))
	require.Equal(t, []string{"720"}, c.rows(`SELECT sum(events)::text FROM tenant_usage`), "each transaction stored three, a tenth of them was undone")
}

// storeSlowly stores an event of each tenant in one transaction, which takes up to twice the margin between one and the next.
func storeSlowly(ctx context.Context, conn *pgx.Conn, tenants []uuid.UUID, writer, i int) error {
	commit := i%10 != 9
	repeat := 1
	if commit && i%10 == 0 {
		repeat = 2 // in place of those that are undone: the sum is known
	}
	for range repeat {
		tx, err := conn.Begin(ctx)
		if err != nil {
			return err
		}
		for _, owner := range tenants {
			id := uuid.Must(uuid.NewV7())
			if _, err := tx.Exec(ctx, `INSERT INTO webhook_events (tenant_id, id, event_type, payload, fanout) VALUES ($1, $2, 'order.paid', $3, $4)`, owner, id, fmt.Append(nil, writer*i), i%3); err != nil {
				return err
			}
			if i%7 == writer {
				if _, err := tx.Exec(ctx, `SELECT pg_sleep(0.03)`); err != nil {
					return err
				}
			}
		}
		if commit {
			err = tx.Commit(ctx)
		} else {
			err = tx.Rollback(ctx)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// A transaction that waits for a lock or a standby commits as late as it likes.
func TestALateCommitIsWaitedFor(t *testing.T) {
	t.Parallel()
	c := newCounting(t)
	c.from(time.Now().UTC().Add(-2 * time.Hour).Truncate(time.Hour))
	owner, other := uuid.New(), c.connect()
	tx, err := other.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), `INSERT INTO webhook_events (tenant_id, id, event_type, payload) VALUES ($1, $2, 'order.paid', '1')`, owner, uuid.Must(uuid.NewV7()))
	require.NoError(t, err)
	stored := time.Now()
	const margin = 20 * time.Millisecond
	// Counted up to where it waits, sealed well after it was stored, and looked at often.
	for rounds := 0; rounds < 60 || time.Since(stored) < 10*margin; rounds++ {
		_, err := c.store.Usage().Round(t.Context(), margin)
		require.NoError(t, err)
	}
	require.False(t, c.countedPast(stored))
	require.Empty(t, c.rows(showUsage, owner))
	require.NoError(t, tx.Commit(t.Context()))
	c.count(stored, margin)
	require.Equal(t, []string{"1"}, c.rows(`SELECT sum(events)::text FROM tenant_usage WHERE tenant_id = $1`, owner))
}

// Whoever stores a row may wait for its partition, such as while an index of it is made anew.
func TestARowThatWaitsForItsPartitionIsCounted(t *testing.T) {
	t.Parallel()
	c := newCounting(t)
	c.from(time.Now().UTC().Add(-2 * time.Hour).Truncate(time.Hour))
	owner, other := uuid.New(), c.connect()
	reindex, err := c.connect().Begin(t.Context())
	require.NoError(t, err)
	defer reindex.Rollback(t.Context())
	id := uuid.Must(uuid.NewV7())
	_, err = reindex.Exec(t.Context(), `LOCK TABLE webhook_events_p`+uuid7.Time(id).UTC().Format("20060102")+` IN SHARE MODE`)
	require.NoError(t, err)
	stored := make(chan error, 1)
	go func() {
		_, err := other.Exec(t.Context(), `INSERT INTO webhook_events (tenant_id, id, event_type, payload) VALUES ($1, $2, 'order.paid', '1')`, owner, id)
		stored <- err
	}()
	require.Eventually(t, func() bool { return c.waiting() == 1 }, 20*time.Second, 5*time.Millisecond)
	const margin = 20 * time.Millisecond
	for began, rounds := time.Now(), 0; rounds < 60 || time.Since(began) < 10*margin; rounds++ {
		_, err := c.store.Usage().Round(t.Context(), margin)
		require.NoError(t, err)
	}
	require.NoError(t, reindex.Rollback(t.Context()))
	require.NoError(t, <-stored)
	c.count(time.Now(), margin)
	require.Equal(t, []string{"1"}, c.rows(`SELECT coalesce(sum(events), 0)::text FROM tenant_usage WHERE tenant_id = $1`, owner))
}

// Whatever is cut off between any two statements: it is counted again, and once.
func TestACrashWhileCounting(t *testing.T) {
	t.Parallel()
	c := newCounting(t)
	begin := time.Now().UTC().Add(-5 * time.Hour).Truncate(time.Hour)
	c.from(begin)
	owner := uuid.New()
	for i := range 50 {
		c.event(owner, begin.Add(time.Duration(i)*4*time.Minute), "order.paid", "12", 1)
	}
	sound, crashes := c.store.Usage(), 0
	// Each time a little further: what a round before it had committed stays. Transactions of other tests hold counting up for a while.
	for rounds, start := 0, time.Now(); rounds < 60 || crashes == 0 && time.Since(start) < time.Minute; rounds++ {
		_, _ = sound.Round(t.Context(), usage.Margin)
		for _, beforeCounting := range []bool{true, false} {
			ctx, crash := context.WithCancel(t.Context())
			crashing := sound
			crashing.Count = func(ctx context.Context, q postgres.Querier, from, until time.Time, low uuid.UUID) error {
				if beforeCounting {
					crash()
				}
				err := sound.Count(ctx, q, from, until, low)
				crash() // before it is noted
				crashes++
				return err
			}
			_, _ = crashing.Round(ctx, usage.Margin)
			crash()
		}
	}
	require.NotZero(t, crashes)
	c.countOld()
	require.Equal(t, []string{"50 100 50"}, c.rows(`SELECT concat_ws(' ', sum(events), sum(event_bytes), sum(deliveries)) FROM tenant_usage WHERE tenant_id = $1`, owner))
	require.Equal(t, []string{"15", "15", "15", "5"}, c.rows(`SELECT events::text FROM tenant_usage WHERE tenant_id = $1 ORDER BY hour`, owner))
}

// A round that takes too long is one of the reasons why counting is behind.
func TestARoundThatIsOutOfTimeSaysHowFarCountingIs(t *testing.T) {
	t.Parallel()
	c := newCounting(t)
	c.from(time.Now().UTC().Add(-5 * time.Hour).Truncate(time.Hour))
	c.exec(`UPDATE usage_progress SET sealed_at = now(), sealed_xid = '1'`)
	slow := c.store.Usage()
	slow.Tables = nil
	counts := false
	slow.Count = func(ctx context.Context, q postgres.Querier, _, _ time.Time, _ uuid.UUID) error {
		counts = true
		_, err := q.Exec(ctx, `SELECT pg_sleep(600)`)
		return err
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	var behind time.Duration
	slow.Work(func(string, error) {}, telemetry.NewJobs(telemetry.NewMetrics(prometheus.NewRegistry())), func(d time.Duration) { behind = d })(ctx)
	require.True(t, counts)
	require.Greater(t, behind, 4*time.Hour)
}

// What a dump holds of another server's transactions does not stop counting.
func TestCountingGoesOnAfterARestore(t *testing.T) {
	t.Parallel()
	c := newCounting(t)
	owner, at := uuid.New(), time.Now().UTC().Add(-3*time.Hour)
	c.from(at.Truncate(time.Hour))
	c.event(owner, at, "order.paid", "1", 0)
	c.exec(`UPDATE usage_progress SET sealed_at = now() - interval '1 hour', sealed_xid = '4611686018427387904'`)
	c.countOld()
	require.Equal(t, []string{"1"}, c.rows(`SELECT sum(events)::text FROM tenant_usage WHERE tenant_id = $1`, owner))
}

func TestReplicasShareABacklog(t *testing.T) {
	t.Parallel()
	c := newCounting(t)
	begin := time.Now().UTC().AddDate(0, 0, -4).Truncate(time.Hour)
	c.from(begin)
	owner := uuid.New()
	for i := range 96 {
		c.event(owner, begin.Add(time.Duration(i)*time.Hour), "order.paid", "12", 1)
	}
	end := time.Now().Add(-2 * usage.Margin)
	var replicas sync.WaitGroup
	for range 4 {
		store := c.replica()
		replicas.Go(func() {
			for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
				more, err := store.Usage().Round(t.Context(), usage.Margin)
				if err != nil {
					t.Errorf("count: %v", err)
					return
				}
				behind, err := store.Usage().Behind(t.Context())
				if err != nil || !more && behind < time.Hour {
					return
				}
			}
		})
	}
	replicas.Wait()
	require.True(t, c.countedPast(end))
	require.Equal(t, []string{"96 192 96 96"}, c.rows(`SELECT concat_ws(' ', sum(events), sum(event_bytes), sum(deliveries), count(*)) FROM tenant_usage WHERE tenant_id = $1`, owner))
}

// A tenant may keep no payloads at all.
func TestScrubbedPayloadsKeepTheirSize(t *testing.T) {
	t.Parallel()
	c := newCounting(t)
	owner, at := uuid.New(), time.Now().UTC().Add(-3*time.Hour)
	c.exec(`INSERT INTO tenants (id, name) VALUES ($1, 'acme')`, owner)
	c.from(at.Truncate(time.Hour))
	c.event(owner, at, "order.paid", "123456789", 0)
	c.exec(`INSERT INTO payload_retention (tenant_id, after_ms) VALUES ($1, 0)`, owner)
	scrubbed, _, err := c.store.Scrub(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, scrubbed)
	require.Equal(t, []string{"0"}, c.rows(`SELECT octet_length(payload)::text FROM webhook_events`))
	// Looked at again, which changes nothing.
	c.exec(`UPDATE payload_retention SET rescan_at = now()`)
	_, _, err = c.store.Scrub(t.Context())
	require.NoError(t, err)
	c.exec(`UPDATE webhook_events SET payload = ''`)
	c.countOld()
	require.Equal(t, []string{"1 9"}, c.rows(`SELECT concat_ws(' ', events, event_bytes) FROM tenant_usage WHERE tenant_id = $1`, owner))
}

func TestDaysThatWereNotCountedAreKept(t *testing.T) {
	t.Parallel()
	c := newCounting(t)
	owner, at := uuid.New(), time.Now().UTC().AddDate(0, 0, -3)
	c.from(at.Truncate(time.Hour))
	c.event(owner, at, "order.paid", "1", 0)
	_, err := c.store.Maintain(t.Context(), 24*time.Hour)
	require.NoError(t, err)
	require.Equal(t, []string{"1"}, c.rows(`SELECT count(*)::text FROM webhook_events`))
	c.countOld()
	_, err = c.store.Maintain(t.Context(), 24*time.Hour)
	require.NoError(t, err)
	require.Equal(t, []string{"0"}, c.rows(`SELECT count(*)::text FROM webhook_events`))
	require.Equal(t, []string{"1"}, c.rows(`SELECT sum(events)::text FROM tenant_usage WHERE tenant_id = $1`, owner), "what was counted stays")
}

// Who drops a day locks attempts, then events. Whoever locks the other way round makes Postgres abort one of the two as a deadlock.
func TestCountingAndDroppingDoNotDeadlock(t *testing.T) {
	t.Parallel()
	c := newCounting(t)
	c.from(time.Now().UTC().Add(-2 * time.Hour).Truncate(time.Hour))
	drop, err := c.connect().Begin(t.Context())
	require.NoError(t, err)
	defer drop.Rollback(t.Context())
	c.exec(`UPDATE usage_progress SET sealed_at = now(), sealed_xid = '1'`)
	_, err = drop.Exec(t.Context(), `LOCK TABLE ONLY delivery_attempts IN ACCESS EXCLUSIVE MODE`)
	require.NoError(t, err)
	counted := make(chan error, 1)
	go func() {
		_, err := c.store.Usage().Round(t.Context(), usage.Margin)
		counted <- err
	}()
	const waits = `SELECT pid::text FROM pg_locks WHERE NOT granted AND relation = 'delivery_attempts'::regclass AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`
	require.Eventually(t, func() bool { return len(c.rows(waits)) == 1 }, 20*time.Second, 5*time.Millisecond)
	_, err = drop.Exec(t.Context(), `LOCK TABLE ONLY webhook_events, ONLY deliveries IN ACCESS EXCLUSIVE MODE`)
	require.NoError(t, err)
	require.NoError(t, drop.Rollback(t.Context()))
	require.NoError(t, <-counted)
}

func TestUsageExpires(t *testing.T) {
	t.Parallel()
	c := newCounting(t)
	owner := uuid.New()
	for _, age := range []string{"399 days", "401 days"} {
		c.exec(`INSERT INTO tenant_usage (tenant_id, hour, events) VALUES ($1, now() - $2::interval, 1)`, owner, age)
	}
	require.NoError(t, c.store.Usage().DropOld(t.Context(), 400*24*time.Hour))
	require.Equal(t, []string{"1"}, c.rows(`SELECT count(*)::text FROM tenant_usage`))
}

func TestSummariesDoNotChangeWhatIsCounted(t *testing.T) {
	t.Parallel()
	c := newCounting(t)
	owner, begin := uuid.New(), time.Now().UTC().Add(-2*time.Hour).Truncate(time.Hour)
	c.from(begin)
	c.event(owner, begin.Add(time.Second), "order.paid", "1", 0)
	require.NoError(t, c.store.Usage().Summarize(t.Context()))
	c.event(owner, begin.Add(time.Minute), "order.paid", "1", 0) // into a range that was summarized
	require.NoError(t, c.store.Usage().Summarize(t.Context()))
	// While a vacuum works on the partition, nobody waits for it and it is not disturbed.
	tx, err := c.connect().Begin(t.Context())
	require.NoError(t, err)
	defer tx.Rollback(t.Context())
	_, err = tx.Exec(t.Context(), `LOCK TABLE ONLY webhook_events, delivery_attempts IN SHARE UPDATE EXCLUSIVE MODE`)
	require.NoError(t, err)
	require.NoError(t, c.store.Usage().Summarize(t.Context()))
	c.countOld()
	require.Equal(t, []string{"2"}, c.rows(`SELECT sum(events)::text FROM tenant_usage WHERE tenant_id = $1`, owner))
}

// Old processes go on while the schema is migrated. Who records attempts stores notices in the same transaction, last.
func TestTheMigrationAndARecordDoNotDeadlock(t *testing.T) {
	t.Parallel()
	c := newCounting(t)
	text, err := os.ReadFile("../../../../migrations/sql/00017_usage.sql")
	require.NoError(t, err)
	up, down, found := strings.Cut(string(text), "-- +goose Down")
	require.True(t, found)
	_, err = c.connect().PgConn().Exec(t.Context(), down).ReadAll()
	require.NoError(t, err)
	record, err := c.connect().Begin(t.Context())
	require.NoError(t, err)
	defer record.Rollback(t.Context())
	_, err = record.Exec(t.Context(), `LOCK TABLE delivery_attempts IN ROW EXCLUSIVE MODE`)
	require.NoError(t, err)
	migrated := make(chan error, 1)
	conn := c.connect()
	go func() {
		_, err := conn.PgConn().Exec(t.Context(), up).ReadAll() // one transaction, as goose's
		migrated <- err
	}()
	require.Eventually(t, func() bool { return c.waiting() == 1 }, 20*time.Second, 5*time.Millisecond)
	_, err = record.Exec(t.Context(), `LOCK TABLE webhook_events IN ROW EXCLUSIVE MODE`)
	require.NoError(t, err)
	require.NoError(t, record.Rollback(t.Context()))
	require.NoError(t, <-migrated)
}
