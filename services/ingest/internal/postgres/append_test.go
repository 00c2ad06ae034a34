package postgres

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/batch"
	"github.com/beaconpost/beaconpost/pkg/fault"
	"github.com/beaconpost/beaconpost/pkg/postgres"
	"github.com/beaconpost/beaconpost/pkg/postgres/pgcluster"
	"github.com/beaconpost/beaconpost/pkg/postgres/pgtest"
	"github.com/beaconpost/beaconpost/pkg/telemetry"
	"github.com/beaconpost/beaconpost/pkg/tenant"
	"github.com/beaconpost/beaconpost/pkg/uuid7"
	"github.com/beaconpost/beaconpost/services/ingest/internal/event"
)

// bench is an Appender on a database of its own. Its queue is small, and it flushes one batch after the other.
type bench struct {
	*Appender
	t    *testing.T
	mu   sync.Mutex
	root *pgx.Conn // past row-level security
	reg  *prometheus.Registry

	super string // the superuser's URL

	announced map[uuid.UUID]int // deliveries that were announced, by event
}

const queueSize = 100

func setup(t *testing.T) *bench {
	t.Helper()
	database := pgtest.New(t)
	b := &bench{t: t, announced: map[uuid.UUID]int{}, super: database.URL(pgcluster.Superuser)}
	var err error
	b.root, err = pgx.Connect(t.Context(), b.super)
	require.NoError(t, err)
	t.Cleanup(func() { _ = b.root.Close(context.Background()) })
	b.open(database.AppURL)
	return b
}

func (b *bench) open(url string) {
	b.t.Helper()
	db, err := postgres.Open(b.t.Context(), postgres.Config{URL: url})
	require.NoError(b.t, err)
	b.t.Cleanup(db.Close)
	b.reg = prometheus.NewRegistry()
	b.Appender, err = NewAppender(db, b, time.Minute, NewMetrics(telemetry.NewMetrics(b.reg)))
	require.NoError(b.t, err)
	require.NoError(b.t, b.Close(b.t.Context()))
	b.batcher = batch.New(batch.Config{MaxItems: queueSize, Queue: queueSize}, b.flush)
	b.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		require.NoError(b.t, b.Close(ctx))
	})
}

// Announce implements event.Announcer.
func (b *bench) Announce(deliveries []event.Delivery) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, d := range deliveries {
		b.announced[d.EventID]++
	}
}

// deliveries gives the number of deliveries that were announced for an event.
func (b *bench) deliveries(r event.Receipt) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.announced[r.ID]
}

func (b *bench) exec(sql string, args ...any) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	_, err := b.root.Exec(context.Background(), sql, args...)
	require.NoError(b.t, err)
}

func (b *bench) query(sql string, args ...any) []string {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	rows, err := b.root.Query(context.Background(), sql, args...)
	require.NoError(b.t, err)
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(b.t, err)
	return list
}

func (b *bench) tenant() tenant.ID {
	b.t.Helper()
	id := tenant.ID(uuid.Must(uuid.NewV7()))
	b.exec(`INSERT INTO tenants (id, name) VALUES ($1, 'a tenant')`, id.UUID())
	return id
}

func (b *bench) endpoint(t tenant.ID) uuid.UUID {
	b.t.Helper()
	id := uuid.Must(uuid.NewV7())
	b.exec(`INSERT INTO endpoints (tenant_id, id, url) VALUES ($1, $2, 'https://example.com/')`, t.UUID(), id)
	return id
}

// counter reads a metric without labels.
func (b *bench) counter(name string) float64 {
	b.t.Helper()
	families, err := b.reg.Gather()
	require.NoError(b.t, err)
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	b.t.Fatalf("no metric %s", name)
	return 0
}

func submission(t tenant.ID, text string) event.Submission {
	return event.Submission{Tenant: t, Event: event.Event{ID: uuid.Must(uuid.NewV7()), Type: "order.paid", Payload: []byte(text)}}
}

func keyed(t tenant.ID, key, body string) event.Submission {
	s := submission(t, body)
	s.IdempotencyKey, s.BodyHash = key, sha256.Sum256([]byte(body))
	return s
}

// together puts submissions through one flush and gives their outcomes in the same order.
func (b *bench) together(list ...event.Submission) []outcome {
	b.t.Helper()
	entries := make([]*entry, len(list))
	for i, s := range list {
		entries[i] = &entry{ctx: b.t.Context(), deadline: time.Now().Add(time.Minute), submission: s, settled: make(chan outcome, 1)}
	}
	b.flush(b.t.Context(), slices.Clone(entries))
	outcomes := make([]outcome, len(list))
	for i, e := range entries {
		select {
		case outcomes[i] = <-e.settled:
		default:
			b.t.Fatalf("submission %d was not settled", i)
		}
	}
	return outcomes
}

// hold keeps every flush waiting until it is let go.
func (b *bench) hold() (release func()) {
	b.t.Helper()
	b.mu.Lock()
	tx, err := b.root.Begin(context.Background())
	require.NoError(b.t, err)
	_, err = tx.Exec(context.Background(), `LOCK TABLE webhook_events IN ACCESS EXCLUSIVE MODE`)
	require.NoError(b.t, err)
	return func() {
		require.NoError(b.t, tx.Rollback(context.Background()))
		b.mu.Unlock()
	}
}

// storeAll appends submissions at the same time.
func (b *bench) storeAll(list []event.Submission) (wait func() []outcome) {
	outcomes := make([]outcome, len(list))
	var all sync.WaitGroup
	for i, s := range list {
		all.Go(func() { outcomes[i].receipt, outcomes[i].err = b.Append(b.t.Context(), s) })
	}
	return func() []outcome {
		all.Wait()
		return outcomes
	}
}

func TestAFailingRowFailsAlone(t *testing.T) {
	t.Parallel()
	b := setup(t)
	one, two := b.tenant(), b.tenant()
	b.endpoint(one)
	b.endpoint(two)
	var list []event.Submission
	for i := range 50 {
		list = append(list, submission([]tenant.ID{one, two}[i%2], fmt.Sprint(i)))
	}
	poisoned := submission(one, `"of a day that nobody has prepared"`)
	poisoned.Event.ID = uuid7.Beside(uuid7.Floor(time.Now().AddDate(0, 0, 100)))
	list = slices.Insert(list, 17, poisoned)

	for i, o := range b.together(list...) {
		if i != 17 {
			require.NoError(t, o.err, "%d", i)
			require.Equal(t, list[i].Event.ID, o.receipt.ID)
			require.Equal(t, 1, b.deliveries(o.receipt))
			continue
		}
		require.Equal(t, fault.KindUnavailable, fault.KindOf(o.err), "ours, and it passes: %v", o.err)
		require.Equal(t, time.Minute, fault.From(o.err).RetryAfter)
		require.ErrorContains(t, o.err, "no partition")
	}
	require.Equal(t, []string{"50 50"}, b.query(`SELECT (SELECT count(*) FROM webhook_events) || ' ' || (SELECT count(*) FROM deliveries)`))
	require.InDelta(t, 50, b.counter("beaconpost_events_accepted_total"), 0)
	require.InDelta(t, 50, b.counter("beaconpost_deliveries_created_total"), 0)
}

func TestManyFailingRowsFailAlone(t *testing.T) {
	t.Parallel()
	b := setup(t)
	owner := b.tenant()
	var list []event.Submission
	for i := range 30 {
		s := submission(owner, fmt.Sprint(i))
		if i%3 == 2 {
			s.Event.ID = list[i-1].Event.ID // it is taken
		}
		list = append(list, s)
	}
	failed := 0
	for _, o := range b.together(list...) {
		if o.err != nil {
			failed++
			require.Equal(t, fault.KindInternal, fault.KindOf(o.err), "%v", o.err)
		}
	}
	require.Equal(t, 10, failed, "of two with one id, one is stored")
	require.Equal(t, []string{"20"}, b.query(`SELECT count(*)::text FROM webhook_events`))
}

func TestTenantsOfAFlushAreApart(t *testing.T) {
	t.Parallel()
	b := setup(t)
	one, two, nobody := b.tenant(), b.tenant(), tenant.ID(uuid.New())
	ones, twos := b.endpoint(one), b.endpoint(two)
	foreign := submission(one, `"to another tenant's endpoint"`)
	foreign.Event.EndpointID = &twos
	got := b.together(keyed(two, "same key", `2`), foreign, submission(nobody, `"x"`), keyed(one, "same key", `1`))

	require.NoError(t, got[0].err)
	require.Equal(t, fault.Code("unknown_endpoint"), fault.CodeOf(got[1].err))
	require.Equal(t, fault.Code("unknown_tenant"), fault.CodeOf(got[2].err))
	require.Equal(t, fault.KindForbidden, fault.KindOf(got[2].err))
	require.NoError(t, got[3].err)
	require.False(t, got[3].receipt.Replayed, "keys of tenants have nothing to do with each other")
	require.ElementsMatch(t, []string{one.String() + " 1 " + ones.String(), two.String() + " 2 " + twos.String()},
		b.query(`SELECT concat_ws(' ', e.tenant_id, convert_from(e.payload, 'UTF8'), d.endpoint_id) FROM webhook_events e JOIN deliveries d ON d.tenant_id = e.tenant_id AND d.event_id = e.id`))
	require.ElementsMatch(t, []string{one.String(), two.String()}, b.query(`SELECT tenant_id::text FROM idempotency_keys`))
}

func TestOutdatedRoutesAreRebuilt(t *testing.T) {
	t.Parallel()
	b := setup(t)
	owner := b.tenant()
	store := func(s event.Submission) event.Receipt {
		receipt, err := b.Append(t.Context(), s)
		require.NoError(t, err)
		return receipt
	}
	loaded := func() float64 { return b.counter("beaconpost_routes_loaded_total") }
	require.Zero(t, b.deliveries(store(submission(owner, `1`))))
	require.Zero(t, b.deliveries(store(submission(owner, `2`))))
	require.InDelta(t, 1, loaded(), 0, "the second time they were cached")

	first := b.endpoint(owner)
	require.Equal(t, 1, b.deliveries(store(submission(owner, `3`))))
	require.InDelta(t, 2, loaded(), 0)
	b.exec(`UPDATE endpoints SET description = 'changes nothing' WHERE id = $1`, first)
	require.Equal(t, 1, b.deliveries(store(submission(owner, `4`))))
	require.InDelta(t, 2, loaded(), 0, "only what routing reads counts")

	for _, change := range []string{"status = 'disabled'", "status = 'enabled'", "breaker = 'open'", "breaker = 'draining'", "breaker = 'closed'"} {
		b.exec(`UPDATE tenants SET parking_at = '-infinity' WHERE id = $1`, owner.UUID()) // as if a second had passed
		b.exec(`UPDATE endpoints SET `+change+` WHERE id = $1`, first)
		want := 0 // parked: kept, and announced to nobody
		if change == "status = 'enabled'" || change == "breaker = 'closed'" {
			want = 1
		}
		require.Equal(t, want, b.deliveries(store(submission(owner, `5`))), change)
	}
	require.InDelta(t, 3, b.counter("beaconpost_deliveries_created_parked_total"), 0)
}

// What was made a moment ago can be used at once, though the routes in memory do not know it and nothing else refreshes them.
func TestOutdatedRoutesDoNotRefuse(t *testing.T) {
	t.Parallel()
	b := setup(t)
	owner := b.tenant()
	_, err := b.Append(t.Context(), submission(owner, `"caches the routes"`))
	require.NoError(t, err)
	named := func(endpoint, project *uuid.UUID) error {
		s := submission(owner, `1`)
		s.Event.EndpointID, s.Event.ProjectID = endpoint, project
		receipt, err := b.Append(t.Context(), s)
		if err == nil && endpoint != nil {
			require.Equal(t, 1, b.deliveries(receipt))
		}
		return err
	}
	code := func(err error) string { return string(fault.CodeOf(err)) }
	endpoint, project := b.endpoint(owner), uuid.New()
	require.NoError(t, named(&endpoint, nil), "a new endpoint")
	require.Equal(t, "unknown_project", code(named(nil, &project)))
	b.exec(`INSERT INTO projects (tenant_id, id, name) VALUES ($1, $2, 'shop')`, owner.UUID(), project)
	require.NoError(t, named(nil, &project), "a new project")

	unknown := uuid.New()
	list := []event.Submission{submission(owner, `1`), submission(owner, `2`), submission(owner, `3`)}
	list[1].Event.EndpointID = &unknown
	got := b.together(list...)
	require.NoError(t, got[0].err)
	require.Equal(t, "unknown_endpoint", code(got[1].err))
	require.NoError(t, got[2].err)
}

// Both reasons for another attempt in one flush: routes that refuse and routes that the guard refuses.
func TestOutdatedRoutesOfManyTenants(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var list []event.Submission
	var poisoned []int
	for i := range 12 {
		owner := b.tenant()
		_, err := b.Append(t.Context(), submission(owner, `"caches the routes"`))
		require.NoError(t, err)
		endpoint := b.endpoint(owner)
		named, late := submission(owner, `1`), submission(owner, `2`)
		named.Event.EndpointID = &endpoint
		if i%4 == 0 {
			late.Event.ID = uuid7.Beside(uuid7.Floor(time.Now().AddDate(0, 0, 100)))
			poisoned = append(poisoned, len(list)+1)
		}
		list = append(list, named, late, submission(owner, `3`))
	}
	for i, o := range b.together(list...) {
		if slices.Contains(poisoned, i) {
			require.ErrorContains(t, o.err, "no partition")
			continue
		}
		require.NoError(t, o.err, "%d", i)
		require.Equal(t, 1, b.deliveries(o.receipt), "%d", i)
	}
	require.Equal(t, []string{"33 33"}, b.query(`SELECT (SELECT count(*) FROM webhook_events WHERE length(payload) = 1) || ' ' || (SELECT count(*) FROM deliveries)`))
}

func TestIdempotencyKeys(t *testing.T) {
	t.Parallel()
	b := setup(t)
	owner := b.tenant()
	b.endpoint(owner)
	got := b.together(keyed(owner, "k", `1`), keyed(owner, "k", `1`), keyed(owner, "k", `2`), keyed(owner, "other", `1`))
	first := got[0].receipt.ID
	require.NoError(t, got[0].err)
	require.Equal(t, 1, b.deliveries(got[0].receipt))
	require.NoError(t, got[1].err)
	require.Equal(t, event.Receipt{ID: first, Replayed: true}, got[1].receipt, "and nothing to announce again")
	require.Equal(t, fault.Code("idempotency_key_reused"), fault.CodeOf(got[2].err))
	require.Equal(t, fault.KindConflict, fault.KindOf(got[2].err))
	require.False(t, got[3].receipt.Replayed)
	require.Equal(t, event.Receipt{ID: first, Replayed: true}, b.together(keyed(owner, "k", `1`))[0].receipt, "in a later flush too")
	require.Equal(t, []string{"2 2"}, b.query(`SELECT (SELECT count(*) FROM webhook_events) || ' ' || (SELECT count(*) FROM deliveries)`))
	require.InDelta(t, 3, b.counter("beaconpost_events_replayed_total"), 0)
}

// Flushes of several replicas share keys. Whoever comes first inserts; nobody deadlocks.
func TestFlushesWithTheSameKeysDoNotDeadlock(t *testing.T) {
	t.Parallel()
	b := setup(t)
	tenants := []tenant.ID{b.tenant(), b.tenant(), b.tenant()}
	// Slow enough that the flushes overlap.
	b.exec(`CREATE FUNCTION pause() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.001); RETURN NEW; END'`)
	b.exec(`CREATE TRIGGER pause BEFORE INSERT ON idempotency_keys FOR EACH ROW EXECUTE FUNCTION pause()`)
	const rounds, flushes, keys = 2, 4, 10
	for round := range rounds {
		var all sync.WaitGroup
		results := make([][]outcome, flushes)
		for f := range flushes {
			var list []event.Submission
			for _, owner := range tenants {
				for k := range keys {
					list = append(list, keyed(owner, fmt.Sprint(round, "-", k), `1`))
				}
			}
			rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
			all.Go(func() { results[f] = b.together(list...) })
		}
		all.Wait()
		fresh := 0
		for _, outcomes := range results {
			for _, o := range outcomes {
				require.NoError(t, o.err)
				if !o.receipt.Replayed {
					fresh++
				}
			}
		}
		require.Equal(t, keys*len(tenants), fresh)
	}
	require.Equal(t, []string{fmt.Sprint(rounds * keys * len(tenants))}, b.query(`SELECT count(*)::text FROM webhook_events`))
}

func TestAFullQueueIsUnavailable(t *testing.T) {
	t.Parallel()
	b := setup(t)
	owner := b.tenant()
	release := b.hold()
	// One batch may be in flight already, of whatever size.
	var list []event.Submission
	for i := range 3 * queueSize {
		list = append(list, submission(owner, fmt.Sprint(i)))
	}
	wait := b.storeAll(list)
	require.Eventually(t, func() bool { return b.counter("beaconpost_events_refused_total") >= queueSize }, 10*time.Second, time.Millisecond)
	release()
	stored := 0
	for _, o := range wait() {
		if o.err == nil {
			stored++
			continue
		}
		require.Equal(t, fault.KindUnavailable, fault.KindOf(o.err))
		require.Equal(t, time.Second, fault.From(o.err).RetryAfter)
		require.ErrorContains(t, o.err, "commit queue is full")
	}
	require.GreaterOrEqual(t, stored, queueSize)
	require.Equal(t, []string{fmt.Sprint(stored)}, b.query(`SELECT count(*)::text FROM webhook_events`), "refused is not stored, accepted is")
	require.InDelta(t, len(list)-stored, b.counter("beaconpost_events_refused_total"), 0)
}

func TestCloseFlushesWhatIsQueued(t *testing.T) {
	t.Parallel()
	b := setup(t)
	owner := b.tenant()
	release := b.hold()
	var list []event.Submission
	for i := range 20 {
		list = append(list, submission(owner, fmt.Sprint(i)))
	}
	first := b.storeAll([]event.Submission{submission(owner, `"first"`)})
	require.Eventually(t, b.waiting, 10*time.Second, time.Millisecond)
	wait := b.storeAll(list)
	require.Eventually(t, func() bool { return b.batcher.Len() == len(list) }, 10*time.Second, time.Millisecond)
	closed := make(chan error, 1)
	go func() { closed <- b.Close(context.Background()) }()
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	require.Eventually(t, func() bool {
		return !b.batcher.TryPut(&entry{ctx: gone, deadline: time.Now().Add(time.Minute), submission: submission(owner, `"gone"`), settled: make(chan outcome, 1)})
	}, 10*time.Second, time.Millisecond)
	_, err := b.Append(t.Context(), submission(owner, `"late"`))
	require.ErrorContains(t, err, "queue is full or closed")
	require.Empty(t, closed, "it waits for the flush")
	release()
	require.NoError(t, <-closed)
	for _, o := range append(first(), wait()...) {
		require.NoError(t, o.err)
	}
	require.Equal(t, []string{"21"}, b.query(`SELECT count(*)::text FROM webhook_events`))
}

// waiting says whether a flush waits for hold.
func (b *bench) waiting() bool {
	conn, err := pgx.Connect(b.t.Context(), b.super)
	if err != nil {
		return false
	}
	defer conn.Close(context.Background())
	var waits bool
	err = conn.QueryRow(b.t.Context(), `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')`).Scan(&waits)
	return err == nil && waits
}

func TestCloseOutOfTimeAnswersEverybody(t *testing.T) {
	t.Parallel()
	b := setup(t)
	owner := b.tenant()
	release := b.hold()
	defer release()
	var list []event.Submission
	for i := range queueSize / 2 {
		list = append(list, submission(owner, fmt.Sprint(i)))
	}
	wait := b.storeAll(list)
	require.Eventually(t, b.waiting, 10*time.Second, time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, b.Close(ctx), context.DeadlineExceeded)
	for _, o := range wait() {
		require.Equal(t, fault.KindUnavailable, fault.KindOf(o.err), "%v", o.err)
	}
}

func TestACallerWhoLeftIsNotStored(t *testing.T) {
	t.Parallel()
	b := setup(t)
	owner := b.tenant()
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	left := &entry{ctx: gone, deadline: time.Now().Add(time.Minute), submission: submission(owner, `"left"`), settled: make(chan outcome, 1)}
	stays := &entry{ctx: t.Context(), deadline: time.Now().Add(time.Minute), submission: submission(owner, `"stays"`), settled: make(chan outcome, 1)}
	b.flush(t.Context(), []*entry{left, stays})
	require.Equal(t, fault.KindUnavailable, fault.KindOf((<-left.settled).err))
	require.NoError(t, (<-stays.settled).err)
	require.Equal(t, []string{`"stays"`}, b.query(`SELECT convert_from(payload, 'UTF8') FROM webhook_events`))
}

func TestACallerOutOfTimeIsToldToRepeat(t *testing.T) {
	t.Parallel()
	b := setup(t)
	owner := b.tenant()
	release := b.hold()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := b.Append(ctx, submission(owner, `1`))
	require.Equal(t, fault.KindUnavailable, fault.KindOf(err))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Contains(t, fault.From(err).Message, "Idempotency-Key", "it may be stored nevertheless")
	release()
	require.NoError(t, b.Close(t.Context()))
	require.Equal(t, []string{"1"}, b.query(`SELECT count(*)::text FROM webhook_events`))
}

func TestWithoutPostgresNobodyIsBlamed(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var tries atomic.Int32
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			tries.Add(1)
			_ = conn.Close()
		}
	}()
	defer func() { <-done }()
	defer ln.Close()
	b := &bench{t: t}
	b.open("postgres://x@" + ln.Addr().String() + "/x?sslmode=disable")
	var list []event.Submission
	for i := range 64 {
		list = append(list, submission(tenant.ID(uuid.New()), fmt.Sprint(i)))
	}
	for _, o := range b.together(list...) {
		require.Equal(t, fault.KindUnavailable, fault.KindOf(o.err))
		require.Equal(t, 2*time.Second, fault.From(o.err).RetryAfter)
	}
	require.Less(t, tries.Load(), int32(8), "a server in trouble is not asked about each")
}

// The caller's patience has nothing to do with the delivery: what is committed is announced.
func TestWhatIsCommittedIsAnnouncedThoughItsCallerLeft(t *testing.T) {
	t.Parallel()
	b := setup(t)
	owner := b.tenant()
	b.endpoint(owner)
	s := submission(owner, `{}`)
	ctx, leave := context.WithCancel(t.Context())
	b.exec(`CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(1); RETURN NULL; END'`)
	b.exec(`CREATE TRIGGER slow AFTER INSERT ON webhook_events FOR EACH STATEMENT EXECUTE FUNCTION slow()`)
	time.AfterFunc(200*time.Millisecond, leave)
	_, err := b.Append(ctx, s)
	require.Equal(t, fault.KindUnavailable, fault.KindOf(err))
	require.Eventually(t, func() bool { return b.deliveries(event.Receipt{ID: s.Event.ID}) == 1 }, 20*time.Second, 10*time.Millisecond)
}

func TestNobodyWaitsForLongerThanThePatience(t *testing.T) {
	t.Parallel()
	b := setup(t)
	owner := b.tenant()
	b.patience = 50 * time.Millisecond
	b.exec(`CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(1); RETURN NULL; END'`)
	b.exec(`CREATE TRIGGER slow AFTER INSERT ON webhook_events FOR EACH STATEMENT EXECUTE FUNCTION slow()`)
	for range 3 { // timers are used again
		start := time.Now()
		_, err := b.Append(t.Context(), submission(owner, `{}`))
		require.Equal(t, fault.KindUnavailable, fault.KindOf(err))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Less(t, time.Since(start), time.Second)
	}
	b.patience = time.Minute
	b.exec(`DROP TRIGGER slow ON webhook_events`)
	_, err := b.Append(t.Context(), submission(owner, `{}`))
	require.NoError(t, err)
}
