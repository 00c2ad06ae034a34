package monitor

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/beaconpost/beaconpost/pkg/batch"
	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
)

const (
	loadBatch      = 256
	loadQueue      = 16384
	loadPatience   = 3 * time.Second
	recordBatch    = 256
	recordSpill    = 64
	recordQueue    = 65536 // findings that wait while Postgres is away: half a minute of two thousand a second
	recordPace     = 20 * time.Millisecond
	recordPatience = 15 * time.Second
	remembered     = 200000 // monitors: what was loaded last serves while Postgres is away
	lateMost       = 10 * time.Second
	fireGrace      = time.Second // the broker fires in the second in which a slot's moment lies
	pauseFirst     = 100 * time.Millisecond
	pauseMost      = 2 * time.Second
)

// The reasons why a check that was due was not made.
const (
	SkippedLate     = "late"
	SkippedOverload = "overload"
	SkippedRepeated = "repeated"
)

// Ports are what an Engine works with. Every field must be set.
type Ports struct {
	Store    Store
	Prober   Prober
	Egress   Egress
	Broker   Broker
	Observer Observer
}

// Engine makes the checks of one region that come to this process.
type Engine struct {
	Ports
	region string

	loader   *batch.Batcher[Due]
	recorder *batch.Batcher[*Finding]
	slots    *Room
	known    *lru.Cache[Key, *Monitor]
	started  *lru.Cache[Key, time.Time] // the moment of the last slot that was begun here
	away     atomic.Int64               // until then, in Unix nanoseconds, Postgres is not asked for monitors: it did not answer

	working context.Context // ends when Stop runs out of time
	cut     context.CancelFunc
	checks  sync.WaitGroup
	waiting waitingRoom
	buffer  buffer
}

// NewEngine starts an engine that makes at most concurrency checks at the same time. Stop it.
func NewEngine(region string, concurrency int, ports Ports) (*Engine, error) {
	known, err := lru.New[Key, *Monitor](remembered)
	if err != nil {
		return nil, err
	}
	started, err := lru.New[Key, time.Time](remembered)
	if err != nil {
		return nil, err
	}
	e := &Engine{Ports: ports, region: region, slots: NewRoom(concurrency), known: known, started: started}
	e.working, e.cut = context.WithCancel(context.Background())
	e.waiting.timers = map[*time.Timer]bool{}
	e.loader = batch.New(batch.Config{MaxItems: loadBatch, Parallel: 2, Spill: loadBatch / 4, Queue: loadQueue}, e.load)
	e.recorder = batch.New(batch.Config{MaxItems: recordBatch, Parallel: 2, Spill: recordSpill, Pace: recordPace, Queue: recordQueue}, e.empty)
	return e, nil
}

// Submit takes a check that is due. It does not wait.
func (e *Engine) Submit(d Due) {
	if !e.loader.TryPut(d) {
		e.Observer.Skipped(d, SkippedOverload)
	}
}

// InFlight says how many checks are being made.
func (e *Engine) InFlight() int { return e.slots.taken() }

// LoadMost and RecordMost are what the engine's queues take.
const (
	LoadMost   = loadQueue
	RecordMost = recordQueue
)

// Loading says how many checks that are due wait for their monitors to be read.
func (e *Engine) Loading() int { return e.loader.Len() }

// Waiting says how many findings wait to be recorded.
func (e *Engine) Waiting() int { return e.recorder.Len() }

// Age says for how long the oldest finding has waited to be recorded.
func (e *Engine) Age() time.Duration { return e.buffer.age() }

// Stop begins no more checks, lets those under way end and records them. Those that ctx cuts off are not counted: their slots are missed.
func (e *Engine) Stop(ctx context.Context) error {
	if err := e.loader.Close(ctx); err != nil {
		e.Observer.Trouble("load monitors", err)
	}
	e.waiting.close()
	ended := make(chan struct{})
	go func() {
		e.checks.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-ctx.Done():
	}
	e.cut()
	<-ended
	// Results are worth waiting for: those that are lost are missed.
	flush, cancel := context.WithTimeout(context.WithoutCancel(ctx), pauseMost)
	defer cancel()
	if d, ok := ctx.Deadline(); ok && time.Until(d) > pauseMost {
		flush = ctx
	}
	return e.recorder.Close(flush)
}

// load reads the monitors of many checks. While Postgres is away the checks go on with what is known.
func (e *Engine) load(ctx context.Context, due []Due) {
	keys := make([]Key, 0, len(due))
	for _, d := range due {
		keys = append(keys, d.Key)
	}
	start := time.Now()
	monitors, err := e.ask(ctx, keys)
	e.Observer.Batch("load", len(due), time.Since(start))
	if err != nil {
		e.Observer.Trouble("load monitors", err)
		monitors = map[Key]*Monitor{}
		for _, key := range keys {
			if m, ok := e.known.Get(key); ok {
				monitors[key] = m
			}
		}
	}
	for _, d := range due {
		m := monitors[d.Key]
		if m == nil {
			continue // paused or deleted since the broker fired
		}
		if err == nil {
			e.known.Add(d.Key, m)
		}
		e.plan(d, m)
	}
}

var errAsleep = errors.New("the database did not answer a moment ago")

// ask reads monitors. After a failure it is not asked for a while: who waits for a database that hangs makes every check late.
func (e *Engine) ask(ctx context.Context, keys []Key) (map[Key]*Monitor, error) {
	if time.Now().UnixNano() < e.away.Load() {
		return nil, errAsleep
	}
	ctx, cancel := context.WithTimeout(ctx, loadPatience)
	defer cancel()
	monitors, err := e.Store.Load(ctx, keys)
	if err != nil {
		e.away.Store(time.Now().Add(loadPatience).UnixNano())
	}
	return monitors, err
}

// plan decides whether and when a check is made.
func (e *Engine) plan(d Due, m *Monitor) {
	f := &Finding{Monitor: m, Region: e.region, Slot: d.Slot, Confirmation: d.Confirmation}
	schedule := m.Schedule()
	if d.Confirmation > 0 {
		if time.Since(schedule.At(f.Slot)) > 2*m.Interval+m.Timeout {
			e.Observer.Skipped(d, SkippedLate) // it was asked for when nobody was there
			return
		}
		e.begin(f, time.Time{})
		return
	}
	f.Slot = schedule.Slot(d.FiredAt.Truncate(time.Second).Add(fireGrace - time.Millisecond))
	at := schedule.At(f.Slot)
	if last, ok := e.started.Get(d.Key); ok && !at.After(last) {
		e.Observer.Skipped(d, SkippedRepeated)
		return
	}
	if time.Since(at) > min(lateMost, m.Interval/2) {
		e.Observer.Skipped(d, SkippedLate)
		return
	}
	e.started.Add(d.Key, at)
	// A clock that is behind the broker's must not hold checks for longer than that makes sense.
	e.waiting.after(min(time.Until(at), fireGrace), func() { e.begin(f, at) })
}

// begin makes a check on a goroutine of its own, if there is room.
func (e *Engine) begin(f *Finding, at time.Time) {
	f.StartedAt = time.Now()
	if !at.IsZero() {
		f.Lag = max(f.StartedAt.Sub(at), 0)
	}
	if !e.slots.Take(f.Monitor.Tenant) {
		f.Outcome, f.Cause, f.Detail = check.NotChecked, check.CauseOverload, "The prober had no room for this check."
		e.settle(f)
		return
	}
	e.checks.Go(func() {
		defer e.slots.Give(f.Monitor.Tenant)
		e.check(f)
	})
}

func (e *Engine) check(f *Finding) {
	m := f.Monitor
	ctx, cancel := context.WithTimeout(e.working, m.Timeout+fireGrace) // the prober keeps to the timeout; this is for when it does not
	defer cancel()
	began := f.StartedAt
	f.Result = e.Prober.Check(ctx, &check.Job{Monitor: m.ID, Spec: &m.Spec, Version: m.Version, Timeout: m.Timeout, Degraded: m.Degraded})
	if f.StartedAt = began; e.working.Err() != nil {
		return // cut off by a stop
	}
	// What is inverted is up because something failed.
	failed := f.Outcome == check.Down && f.Cause.Network() || f.Outcome == check.Up && m.Spec.Invert
	if failed && !e.Egress.Up(e.working, f.StartedAt) {
		f.Outcome, f.Cause, f.Detail, f.Evidence = check.NotChecked, check.CauseEgress, "The prober could not reach its canaries either.", nil
	}
	e.settle(f)
}

func (e *Engine) settle(f *Finding) {
	e.Observer.Checked(f)
	f.waits = e.buffer.enter()
	if !e.recorder.TryPut(f) {
		e.buffer.leave(f.waits)
		e.Observer.Skipped(Due{Key: f.Monitor.Key, Slot: f.Slot}, SkippedOverload)
	}
}

// empty records findings that waited.
func (e *Engine) empty(ctx context.Context, findings []*Finding) {
	start := time.Now()
	e.record(ctx, findings)
	e.Observer.Batch("record", len(findings), time.Since(start))
	for _, f := range findings {
		e.buffer.leave(f.waits)
	}
}

// record commits findings, for as long as it takes.
func (e *Engine) record(ctx context.Context, findings []*Finding) {
	var what Consequences
	for pause := pauseFirst; ; pause = min(2*pause, pauseMost) {
		var err error
		if what, err = e.store(ctx, findings); err == nil {
			break
		}
		e.Observer.Trouble("record checks", err)
		if !e.Store.Temporary(err) {
			if len(findings) == 1 {
				return // it cannot be stored: its slot is missed
			}
			middle := len(findings) / 2
			e.record(ctx, findings[:middle])
			e.record(ctx, findings[middle:])
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
	e.Observer.Recorded(len(findings), what)
	for _, d := range what.Confirm {
		e.Broker.Confirm(d)
	}
}

// store records findings, for so long that a database that hangs is noticed.
func (e *Engine) store(ctx context.Context, findings []*Finding) (Consequences, error) {
	ctx, cancel := context.WithTimeout(ctx, recordPatience)
	defer cancel()
	return e.Store.Record(ctx, findings)
}

// waitingRoom holds what begins a little later.
type waitingRoom struct {
	mu     sync.Mutex
	closed bool
	timers map[*time.Timer]bool
	wg     sync.WaitGroup
}

// after runs fn when d has passed, on a goroutine that close waits for; at once if it has.
func (w *waitingRoom) after(d time.Duration, fn func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return
	}
	w.wg.Add(1)
	var timer *time.Timer
	timer = time.AfterFunc(max(d, 0), func() {
		defer w.wg.Done()
		w.mu.Lock()
		delete(w.timers, timer)
		closed := w.closed
		w.mu.Unlock()
		if !closed {
			fn()
		}
	})
	w.timers[timer] = true
}

func (w *waitingRoom) close() {
	w.mu.Lock()
	w.closed = true
	for timer := range w.timers {
		if timer.Stop() {
			w.wg.Done()
		}
	}
	clear(w.timers)
	w.mu.Unlock()
	w.wg.Wait()
}
