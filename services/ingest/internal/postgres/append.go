// Package postgres stores what ingest owns: events (by group commit), endpoints and their secrets, tenants, projects, API keys.
//
// Every tenant-facing statement runs under strict row-level security; nothing here decides what is acceptable.
package postgres

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/jackc/pgx/v5/pgconn"
	"go.opentelemetry.io/otel/trace"

	"github.com/beaconpost/beaconpost/pkg/batch"
	"github.com/beaconpost/beaconpost/pkg/fault"
	"github.com/beaconpost/beaconpost/pkg/postgres"
	"github.com/beaconpost/beaconpost/pkg/telemetry"
	"github.com/beaconpost/beaconpost/pkg/tenant"
	"github.com/beaconpost/beaconpost/services/ingest/internal/event"
)

const (
	flushItems    = 512
	flushBytes    = 8 << 20
	flushParallel = 2
	flushSpill    = 64
	flushQueue    = 8192
	flushTimeout  = 10 * time.Second
	routesCached  = 50000 // tenants
	staleRetries  = 8
)

var _ event.Store = (*Appender)(nil)

// Appender commits events in groups: requests that arrive while a flush is in flight form the next one. A flush is one pipelined
// transaction over many tenants, which row-level security holds to the tenants that it names. It is safe for concurrent use. Close it.
type Appender struct {
	db       *postgres.DB
	batcher  *batch.Batcher[*entry]
	routes   *lru.Cache[tenant.ID, *event.Routes]
	announce event.Announcer
	patience time.Duration // of who waits for an event's outcome
	timers   sync.Pool     // of *time.Timer, for those who wait
	metrics  *Metrics
}

// entry is one submission on its way through a flush. settled receives exactly one value.
type entry struct {
	ctx        context.Context
	deadline   time.Time
	submission event.Submission
	deliveries []event.Delivery
	settled    chan outcome
}

type outcome struct {
	receipt event.Receipt
	err     error
}

func (e *entry) settle(r event.Receipt, err error) { e.settled <- outcome{r, err} }

func (e *entry) fail(err error) { e.settle(event.Receipt{}, err) }

// NewAppender starts the flushers. announce is told of every delivery that was committed, whether somebody still waits for its event or not.
// Nobody waits for longer than patience.
func NewAppender(db *postgres.DB, announce event.Announcer, patience time.Duration, m *Metrics) (*Appender, error) {
	routes, err := lru.New[tenant.ID, *event.Routes](routesCached)
	if err != nil {
		return nil, err
	}
	a := &Appender{db: db, routes: routes, announce: announce, patience: patience, metrics: m}
	a.batcher = batch.NewSized(
		batch.Config{MaxItems: flushItems, MaxBytes: flushBytes, Parallel: flushParallel, Spill: flushSpill, Queue: flushQueue},
		func(e *entry) int { return len(e.submission.Event.Payload) },
		a.flush)
	return a, nil
}

// Queue is where events wait to be committed.
func (a *Appender) Queue() telemetry.Queue {
	q := CommitQueue()
	q.Len = a.batcher.Len
	return q
}

// CommitQueue describes an Appender's queue without one.
func CommitQueue() telemetry.Queue { return telemetry.Queue{Name: "commit", Most: flushQueue} }

// Close flushes what is queued.
func (a *Appender) Close(ctx context.Context) error { return a.batcher.Close(ctx) }

// Append queues s for the next flush and waits for its outcome. When ctx or the patience ends first the caller does not learn the outcome: the
// event may still be committed, which is what idempotency keys are for.
func (a *Appender) Append(ctx context.Context, s event.Submission) (event.Receipt, error) {
	e := &entry{ctx: ctx, deadline: time.Now().Add(a.patience), submission: s, settled: make(chan outcome, 1)}
	if !a.batcher.TryPut(e) {
		a.metrics.refused.Inc()
		return event.Receipt{}, fault.Unavailable(errors.New("commit queue is full or closed"), time.Second,
			"More events are waiting to be stored than the server takes. Nothing was stored; repeat the request.")
	}
	timer := a.timer()
	defer a.timers.Put(timer)
	defer timer.Stop()
	var why error
	select {
	case o := <-e.settled:
		return o.receipt, o.err
	case <-ctx.Done():
		why = context.Cause(ctx)
	case <-timer.C:
		why = context.DeadlineExceeded
	}
	return event.Receipt{}, fault.Unavailable(why, time.Second, "The event was not stored in time. Repeat the request with the same Idempotency-Key.")
}

// timer gives one that runs out after the patience. A context with a timeout for each request was 3 % of the service.
func (a *Appender) timer() *time.Timer {
	if t, ok := a.timers.Get().(*time.Timer); ok {
		t.Reset(a.patience)
		return t
	}
	return time.NewTimer(a.patience)
}

func (a *Appender) flush(ctx context.Context, items []*entry) {
	ctx, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	start := time.Now()
	waited := a.patience - items[0].deadline.Sub(start) // the first has waited longest
	live := make([]*entry, 0, len(items))
	for _, e := range items {
		err := e.ctx.Err()
		if err == nil && start.After(e.deadline) {
			err = context.DeadlineExceeded
		}
		if err != nil {
			e.fail(postgres.Fault(err)) // its caller has gone
			continue
		}
		live = append(live, e)
	}
	inOrder(live)
	ctx, end := a.db.Joint(ctx, "commit", contexts(live))
	a.commit(ctx, live)
	end(nil) // entries have outcomes of their own
	a.metrics.flushed(len(items), waited, time.Since(start))
}

// contexts gives the trace contexts of those who wait.
func contexts(entries []*entry) func(yield func(trace.SpanContext) bool) {
	return func(yield func(trace.SpanContext) bool) {
		for _, e := range entries {
			if !yield(trace.SpanContextFromContext(e.ctx)) {
				return
			}
		}
	}
}

// inOrder sorts entries. Tenants, and keys within a tenant, are written in one order everywhere: two flushes cannot deadlock over
// idempotency keys.
func inOrder(entries []*entry) {
	slices.SortStableFunc(entries, func(x, y *entry) int {
		if c := slices.Compare(x.submission.Tenant[:], y.submission.Tenant[:]); c != 0 {
			return c
		}
		return cmp.Compare(x.submission.IdempotencyKey, y.submission.IdempotencyKey)
	})
}

// commit settles all entries. They are in order.
func (a *Appender) commit(ctx context.Context, entries []*entry) {
	var err error
	for range staleRetries {
		if entries, err = a.attempt(ctx, entries); err != nil {
			a.isolate(ctx, entries, err)
			return
		}
		if len(entries) == 0 {
			return
		}
		// What is left was routed with an outdated view of its tenant, and nothing of it was inserted: once more.
	}
	for _, e := range entries {
		e.fail(fault.Unavailable(errors.New("routes of the tenant kept changing"), time.Second,
			"The endpoints of the tenant are changing too fast. Nothing was stored; repeat the request."))
	}
}

// isolate finds the entries that make a flush fail: halves are tried on their own until one entry is left to blame. When the
// database is away nobody is to blame and all of them fail with that.
func (a *Appender) isolate(ctx context.Context, entries []*entry, err error) {
	if len(entries) == 1 || postgres.IsUnavailable(err) {
		for _, e := range entries {
			e.fail(noPartition(err))
		}
		return
	}
	middle := len(entries) / 2
	a.commit(ctx, entries[:middle])
	a.commit(ctx, entries[middle:])
}

// noPartition tells that a day has no partition yet, which is ours to mend and passes, from other errors.
func noPartition(err error) error {
	const checkViolation = "23514" // of no constraint when there is no partition for the row
	if pe, ok := errors.AsType[*pgconn.PgError](err); ok && pe.Code == checkViolation && pe.ConstraintName == "" {
		return fault.Unavailable(err, time.Minute, "Events of this day cannot be stored yet. Nothing was stored; repeat the request.")
	}
	return err
}

// attempt tries to commit entries in one transaction and settles those whose outcome is known. It returns the others: with an
// error all that were in the failed transaction, without one those that need another attempt.
func (a *Appender) attempt(ctx context.Context, entries []*entry) ([]*entry, error) {
	groups := byTenant(entries)
	if err := a.loadRoutes(ctx, groups); err != nil {
		return entries, err
	}
	groups, again := a.route(groups)
	if len(groups) == 0 {
		return again, nil
	}
	if err := a.insert(ctx, groups); err != nil {
		all := again
		for _, g := range groups {
			all = append(all, g.entries...)
		}
		inOrder(all)
		return all, err
	}
	a.announceInserted(groups)
	var replayed []*group
	for _, g := range groups {
		if !g.current {
			a.routes.Remove(g.tenant)
			again = append(again, g.entries...)
			continue
		}
		if g.settleInserted(a.metrics) > 0 {
			replayed = append(replayed, g)
		}
	}
	a.settleReplayed(ctx, replayed)
	inOrder(again)
	return again, nil
}

// announceInserted tells of all deliveries of a flush that are due at once.
func (a *Appender) announceInserted(groups []*group) {
	var deliveries []event.Delivery
	for _, g := range groups {
		for _, e := range g.entries {
			if !g.inserted[e.submission.Event.ID] {
				continue
			}
			for _, d := range e.deliveries {
				if !d.DueAt.IsZero() {
					deliveries = append(deliveries, d)
				}
			}
		}
	}
	if len(deliveries) > 0 {
		a.announce.Announce(deliveries)
	}
}

// route drops entries that have nowhere to go, after telling them why, and groups that are then empty. Cached routes may be too old to
// refuse anything by, and no guard finds that out: such entries are given back for another attempt.
func (a *Appender) route(groups []*group) (routed []*group, again []*entry) {
	now := time.Now()
	routed = slices.DeleteFunc(groups, func(g *group) bool {
		if g.routes.Version == noTenant {
			for _, e := range g.entries {
				e.fail(fault.Forbidden("unknown_tenant", "The credential is for a tenant that does not exist."))
			}
			return true
		}
		g.entries = slices.DeleteFunc(slices.Clone(g.entries), func(e *entry) bool {
			deliveries, err := g.routes.Deliveries(e.submission, now)
			switch {
			case err != nil && g.cached:
				a.routes.Remove(g.tenant)
				again = append(again, e)
			case err != nil:
				e.fail(err)
			}
			e.deliveries = deliveries
			return err != nil
		})
		return len(g.entries) == 0
	})
	return routed, again
}
