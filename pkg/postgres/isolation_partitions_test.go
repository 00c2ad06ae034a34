package postgres_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/postgres/pgtest"
	"github.com/beaconpost/beaconpost/pkg/uuid7"
)

// These days have passed for good, so that the tests do not depend on the clock.
var (
	dayOne   = time.Date(2024, 2, 28, 0, 0, 0, 0, time.UTC)
	dayTwo   = dayOne.AddDate(0, 0, 1) // there is one in 2024
	dayThree = dayOne.AddDate(0, 0, 2)
)

type partitions struct {
	t     *testing.T
	db    *pgtest.Database
	super *pgx.Conn
	conn  *pgx.Conn // as beaconpost_delivery
}

func newPartitions(t *testing.T) *partitions {
	t.Helper()
	db := pgtest.New(t)
	return &partitions{t: t, db: db, super: superuser(t, db), conn: delivery(t, db)}
}

func delivery(t *testing.T, db *pgtest.Database) *pgx.Conn {
	t.Helper()
	conn := connect(t, db.AppURL)
	_, err := conn.Exec(t.Context(), "SET ROLE beaconpost_delivery")
	require.NoError(t, err)
	return conn
}

// call runs one of the functions that give a number.
func call(t *testing.T, conn *pgx.Conn, expression string, args ...any) (int, error) {
	t.Helper()
	var n int
	err := conn.QueryRow(t.Context(), "SELECT "+expression, args...).Scan(&n)
	return n, err
}

func (p *partitions) ensure(first, last time.Time) int {
	p.t.Helper()
	n, err := call(p.t, p.conn, "beaconpost_ensure_partitions($1, $2)", first, last)
	require.NoError(p.t, err)
	return n
}

func (p *partitions) drop(keepFrom time.Time) int {
	p.t.Helper()
	n, err := call(p.t, p.conn, "beaconpost_drop_partitions($1)", keepFrom)
	require.NoError(p.t, err)
	return n
}

// of gives the tables that have a partition for day.
func (p *partitions) of(day time.Time) []string {
	p.t.Helper()
	const query = `
SELECT parent.relname::text FROM pg_inherits i JOIN pg_class parent ON parent.oid = i.inhparent JOIN pg_class c ON c.oid = i.inhrelid
WHERE c.relname = parent.relname || '_p' || $1 AND c.relrowsecurity AND c.relforcerowsecurity ORDER BY 1`
	return collect(p.t, p.super, pgx.RowTo[string], query, day.Format("20060102"))
}

func (p *partitions) exec(sql string, args ...any) {
	p.t.Helper()
	_, err := p.super.Exec(p.t.Context(), sql, args...)
	require.NoError(p.t, err)
}

// idAt makes a UUIDv7 of the millisecond.
func idAt(at time.Time) uuid.UUID { return uuid7.Beside(uuid7.Floor(at)) }

// store puts an event with a delivery and an attempt at the time and gives the delivery's id.
func (p *partitions) store(at time.Time, status string) uuid.UUID {
	p.t.Helper()
	tenant, event, id := uuid.Must(uuid.NewV7()), idAt(at), idAt(at)
	p.exec(`INSERT INTO webhook_events (tenant_id, id, event_type, payload) VALUES ($1, $2, 'order.paid', '{}')`, tenant, event)
	p.exec(`INSERT INTO deliveries (tenant_id, id, event_id, endpoint_id, next_attempt_at, status, completed_at)
VALUES ($1, $2, $3, $3, $4, $5, CASE WHEN $5 <> 'pending' THEN now() END)`, tenant, id, event, at, status)
	p.exec(`INSERT INTO delivery_attempts (tenant_id, id, delivery_id, started_at, duration_us, number) VALUES ($1, $2, $3, $4, 1, 1)`, tenant, idAt(at), id, at)
	return id
}

func allPartitioned() []string { return []string{"deliveries", "delivery_attempts", "webhook_events"} }

func TestPartitionsHoldADay(t *testing.T) {
	t.Parallel()
	p := newPartitions(t)
	require.Equal(t, 9, p.ensure(dayOne, dayThree))
	for _, day := range []time.Time{dayOne, dayTwo, dayThree} {
		require.Equal(t, allPartitioned(), p.of(day))
		for _, at := range []time.Time{day, day.Add(24*time.Hour - time.Millisecond)} {
			id := p.store(at, "delivered")
			var table string
			require.NoError(t, p.super.QueryRow(t.Context(), `SELECT tableoid::regclass::text FROM deliveries WHERE id = $1`, id).Scan(&table))
			require.Equal(t, "deliveries_p"+day.Format("20060102"), table, at)
		}
	}
	// The database and the services have to agree on where a time is in the key.
	for _, at := range []time.Time{time.UnixMilli(0), dayOne, dayTwo.Add(1234 * time.Millisecond), time.UnixMilli(1<<47 - 1)} {
		var floor uuid.UUID
		require.NoError(t, p.super.QueryRow(t.Context(), `SELECT beaconpost_uuid_floor($1)`, at).Scan(&floor))
		require.Equal(t, uuid7.Floor(at), floor, at)
	}
}

func TestEnsurePartitions(t *testing.T) {
	t.Parallel()
	p := newPartitions(t)
	require.Equal(t, 6, p.ensure(dayOne, dayTwo))
	require.Equal(t, 0, p.ensure(dayOne, dayTwo))
	require.Equal(t, 3, p.ensure(dayOne, dayThree), "only what is missing")
	require.Equal(t, 0, p.ensure(dayThree, dayOne), "no days")
	p.exec(`DROP TABLE deliveries_p` + dayTwo.Format("20060102"))
	require.Equal(t, 1, p.ensure(dayOne, dayThree), "a gap is filled")

	_, err := call(t, p.conn, "beaconpost_ensure_partitions($1, $2)", dayOne, dayOne.AddDate(0, 0, 401))
	require.ErrorContains(t, err, "asked for 401 days")
}

func TestEnsurePartitionsAtTheSameTime(t *testing.T) {
	t.Parallel()
	p := newPartitions(t)
	const replicas, days = 8, 5
	var mu sync.Mutex
	var wg sync.WaitGroup
	made := 0
	for range replicas {
		conn := delivery(t, p.db)
		wg.Go(func() {
			n, err := call(t, conn, "beaconpost_ensure_partitions($1, $2)", dayOne, dayOne.AddDate(0, 0, days-1))
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			made += n
		})
	}
	wg.Wait()
	require.Equal(t, 3*days, made)
}

func TestDropPartitions(t *testing.T) {
	t.Parallel()
	p := newPartitions(t)
	p.ensure(dayOne, dayThree)
	p.store(dayOne, "delivered")
	pending := p.store(dayTwo, "pending")
	p.store(dayTwo, "exhausted")
	p.store(dayThree, "delivered")

	require.Equal(t, 1, p.drop(dayThree))
	require.Empty(t, p.of(dayOne))
	require.Equal(t, allPartitioned(), p.of(dayTwo), "a pending delivery keeps its day, event and attempts included")
	require.Equal(t, allPartitioned(), p.of(dayThree), "the first day to keep")
	var kept int
	const rows = `SELECT count(*) FROM deliveries d JOIN webhook_events e ON e.id = d.event_id JOIN delivery_attempts a ON a.delivery_id = d.id`
	require.NoError(t, p.super.QueryRow(t.Context(), rows).Scan(&kept))
	require.Equal(t, 3, kept)

	// A parked one is pending too.
	p.exec(`UPDATE deliveries SET next_attempt_at = 'infinity' WHERE id = $1`, pending)
	require.Equal(t, 0, p.drop(dayThree))
	p.exec(`UPDATE deliveries SET status = 'delivered', completed_at = now() WHERE id = $1`, pending)
	require.Equal(t, 1, p.drop(dayThree))
	require.Empty(t, p.of(dayTwo))
	require.Equal(t, 0, p.drop(dayThree))
	require.Equal(t, allPartitioned(), p.of(dayThree))
}

func TestDropPartitionsOfTheFuture(t *testing.T) {
	t.Parallel()
	p := newPartitions(t)
	// A transaction's now() stands still.
	tx, err := p.conn.Begin(t.Context())
	require.NoError(t, err)
	defer tx.Rollback(t.Context())
	const today = `(now() AT TIME ZONE 'UTC')::date`
	_, err = tx.Exec(t.Context(), "SELECT beaconpost_ensure_partitions("+today+", "+today+"), beaconpost_drop_partitions("+today+")")
	require.NoError(t, err)
	var ahead int
	require.NoError(t, tx.QueryRow(t.Context(), `SELECT beaconpost_partitions_ahead()`).Scan(&ahead))
	require.GreaterOrEqual(t, ahead, 0, "today was dropped")
	// Days are UTC's, wherever the session believes to be.
	for _, zone := range []string{"UTC", "<far east>-167", "<far west>+167"} {
		_, err = tx.Exec(t.Context(), `SELECT set_config('timezone', $1, true)`, zone)
		require.NoError(t, err)
		savepoint, err := tx.Begin(t.Context())
		require.NoError(t, err)
		_, err = savepoint.Exec(t.Context(), "SELECT beaconpost_drop_partitions("+today+" + 1)")
		require.ErrorContains(t, err, "expected a day that has passed", zone)
		require.NoError(t, savepoint.Rollback(t.Context()))
	}
}

// Traffic on the days that stay goes on while a day is dropped. A query locks the table, then its partitions; whoever locks the other way
// round makes Postgres abort one of the two as a deadlock.
func TestDropPartitionsDoesNotDeadlock(t *testing.T) {
	t.Parallel()
	p := newPartitions(t)
	p.ensure(dayOne, dayTwo)
	p.store(dayOne, "delivered")
	for _, table := range allPartitioned() {
		query, err := p.super.Begin(t.Context())
		require.NoError(t, err)
		_, err = query.Exec(t.Context(), "LOCK TABLE ONLY "+table+" IN ACCESS SHARE MODE") // as a query does first
		require.NoError(t, err)
		dropped := make(chan error, 1)
		go func() {
			_, err := call(t, p.conn, "beaconpost_drop_partitions($1)", dayTwo)
			dropped <- err
		}()
		p.awaitLockWait()
		_, err = query.Exec(t.Context(), "LOCK TABLE "+table+" IN ACCESS SHARE MODE") // and then
		require.NoErrorf(t, err, "a query on %s", table)
		require.NoError(t, query.Rollback(t.Context()))
		require.NoErrorf(t, <-dropped, "the drop, against a query on %s", table)
		require.Empty(t, p.of(dayOne))
		p.ensure(dayOne, dayOne)
	}
}

// awaitLockWait waits until the delivery connection waits for a relation's lock.
func (p *partitions) awaitLockWait() {
	p.t.Helper()
	conn := superuser(p.t, p.db)
	const query = `SELECT EXISTS (SELECT FROM pg_locks WHERE pid = $1 AND NOT granted AND locktype = 'relation')`
	require.Eventually(p.t, func() bool {
		var waits bool
		err := conn.QueryRow(p.t.Context(), query, p.conn.PgConn().PID()).Scan(&waits)
		return err == nil && waits
	}, 10*time.Second, 5*time.Millisecond, "the drop did not wait for the query")
}

func TestPartitionsAhead(t *testing.T) {
	t.Parallel()
	p := newPartitions(t)
	// A transaction's now() stands still, and dropping is undone.
	tx, err := p.super.Begin(t.Context())
	require.NoError(t, err)
	defer tx.Rollback(t.Context())
	ahead := func() (days int) {
		t.Helper()
		require.NoError(t, tx.QueryRow(t.Context(), `SELECT beaconpost_partitions_ahead()`).Scan(&days))
		return days
	}
	drop := func(table string, days int) {
		t.Helper()
		var day string
		require.NoError(t, tx.QueryRow(t.Context(), `SELECT to_char((now() AT TIME ZONE 'UTC')::date + $1::int, 'YYYYMMDD')`, days).Scan(&day))
		_, err := tx.Exec(t.Context(), fmt.Sprintf("DROP TABLE %s_p%s", table, day))
		require.NoError(t, err)
	}
	_, err = tx.Exec(t.Context(), `SELECT beaconpost_ensure_partitions((now() AT TIME ZONE 'UTC')::date, (now() AT TIME ZONE 'UTC')::date + 9)`)
	require.NoError(t, err)
	require.Equal(t, 9, ahead())
	drop("webhook_events", 6)
	require.Equal(t, 5, ahead(), "it is what all tables have")
	drop("delivery_attempts", 3)
	require.Equal(t, 2, ahead())
	drop("deliveries", 0)
	require.Equal(t, -1, ahead())
}
