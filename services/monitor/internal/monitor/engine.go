package monitor

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/beaconpost/beaconpost/pkg/batch"
	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
)

const (
	loadBatch    = 256
	loadQueue    = 16384
	loadPatience = 5 * time.Second
	recordBatch  = 256
	recordSpill  = 64
	recordQueue  = 65536 // findings that wait while Postgres is away: half a minute of two thousand a second
	recordPace   = 20 * time.Millisecond
	remembered   = 200000 // monitors: what was loaded last serves while Postgres is away
	lateMost     = 10 * time.Second
	fireGrace    = time.Second // the broker fires in the second in which a slot's moment lies
	pauseFirst   = 100 * time.Millisecond
	pauseMost    = 2 * time.Second
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
	slots    chan struct{}
	known    *lru.Cache[Key, *Monitor]
	started  *lru.Cache[Key, int64] // the last slot that was begun here
	inFlight atomic.Int64

	working context.Context // ends when Stop runs out of time
	cut     context.CancelFunc
	checks  sync.WaitGroup
	waiting waitingRoom
}

// NewEngine starts an engine that makes at most concurrency checks at the same time. Stop it.
func NewEngine(region string, concurrency int, ports Ports) (*Engine, error) {
	known, err := lru.New[Key, *Monitor](remembered)
	if err != nil {
		return nil, err
	}
	started, err := lru.New[Key, int64](remembered)
	if err != nil {
		return nil, err
	}
	e := &Engine{Ports: ports, region: region, slots: make(chan struct{}, concurrency), known: known, started: started}
	e.working, e.cut = context.WithCancel(context.Background())
	e.waiting.timers = map[*time.Timer]bool{}
	e.loader = batch.New(batch.Config{MaxItems: loadBatch, Parallel: 2, Spill: loadBatch / 4, Queue: loadQueue}, e.load)
	e.recorder = batch.New(batch.Config{MaxItems: recordBatch, Parallel: 2, Spill: recordSpill, Pace: recordPace, Queue: recordQueue}, e.record)
	return e, nil
}

// Submit takes a check that is due. It does not wait.
func (e *Engine) Submit(d Due) {
	if !e.loader.TryPut(d) {
		e.Observer.Skipped(d, SkippedOverload)
	}
}

// InFlight says how many checks are being made.
func (e *Engine) InFlight() int { return int(e.inFlight.Load()) }

// Waiting says how many findings wait to be recorded.
func (e *Engine) Waiting() int { return e.recorder.Len() }

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
	flush, cancel := context.WithTimeout(context.WithoutCancel(ctx), pauseMost)
	defer cancel()
	return e.recorder.Close(flush)
}

// load reads the monitors of many checks. While Postgres is away the checks go on with what is known.
func (e *Engine) load(ctx context.Context, due []Due) {
	keys := make([]Key, 0, len(due))
	for _, d := range due {
		keys = append(keys, d.Key)
	}
	ctx, cancel := context.WithTimeout(ctx, loadPatience)
	defer cancel()
	monitors, err := e.Store.Load(ctx, keys)
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

// plan decides whether and when a check is made.
func (e *Engine) plan(d Due, m *Monitor) {
	f := &Finding{Monitor: m, Region: e.region, Slot: d.Slot, Confirmation: d.Confirmation}
	if d.Confirmation > 0 {
		e.begin(f, time.Time{})
		return
	}
	schedule := m.Schedule()
	f.Slot = schedule.Slot(d.FiredAt.Truncate(time.Second).Add(fireGrace - time.Millisecond))
	if last, ok := e.started.Get(d.Key); ok && last >= f.Slot {
		e.Observer.Skipped(d, SkippedRepeated)
		return
	}
	at := schedule.At(f.Slot)
	if time.Since(at) > min(lateMost, m.Interval/2) {
		e.Observer.Skipped(d, SkippedLate)
		return
	}
	e.started.Add(d.Key, f.Slot)
	e.waiting.after(time.Until(at), func() { e.begin(f, at) })
}

// begin makes a check on a goroutine of its own, if there is room.
func (e *Engine) begin(f *Finding, at time.Time) {
	f.StartedAt = time.Now()
	if !at.IsZero() {
		f.Lag = max(f.StartedAt.Sub(at), 0)
	}
	select {
	case e.slots <- struct{}{}:
	default:
		f.Outcome, f.Cause, f.Detail = check.NotChecked, check.CauseOverload, "The prober had no room for this check."
		e.settle(f)
		return
	}
	e.inFlight.Add(1)
	e.checks.Go(func() {
		defer func() {
			e.inFlight.Add(-1)
			<-e.slots
		}()
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
	if f.Outcome == check.Down && f.Cause.Network() && !e.Egress.Up(e.working, f.StartedAt) {
		f.Outcome, f.Cause, f.Detail, f.Evidence = check.NotChecked, check.CauseEgress, "The prober could not reach its canaries either.", nil
	}
	e.settle(f)
}

func (e *Engine) settle(f *Finding) {
	e.Observer.Checked(f)
	if !e.recorder.TryPut(f) {
		e.Observer.Skipped(Due{Key: f.Monitor.Key, Slot: f.Slot}, SkippedOverload)
	}
}

// record commits findings, for as long as it takes.
func (e *Engine) record(ctx context.Context, findings []*Finding) {
	var what Consequences
	for pause := pauseFirst; ; pause = min(2*pause, pauseMost) {
		var err error
		if what, err = e.Store.Record(ctx, findings); err == nil {
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
