package delivery

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/beaconpost/beaconpost/pkg/batch"
	"github.com/beaconpost/beaconpost/pkg/uuid7"
)

// Ticket is a message that the broker handed out. Exactly one of Done and Release ends it.
type Ticket interface {
	Request() Request
	Redelivered() bool
	InProgress() // tells the broker that work goes on
	Done()       // the message has served
	Release()    // hand it out again, here or elsewhere, after a moment
}

// Incoming is a request as the store sees it.
type Incoming struct {
	Request
	Redelivered bool
}

// Admitted is a message that was decided about. There is no job for one that is stale.
type Admitted struct {
	Admission
	Job *Job
}

// Finished is an attempt with what the delivery becomes by it.
type Finished struct {
	Job     *Job
	Attempt *Attempt
	Outcome Outcome
}

// Store decides about messages and keeps results. It is safe for concurrent use.
type Store interface {
	// Admit applies the rules of Admit to many messages. The result has one entry for each. An error means that nothing was decided.
	Admit(ctx context.Context, in []Incoming) ([]Admitted, error)
	// Change claims, parks and cancels deliveries as they were admitted, and says which were claimed. An error means that nothing was changed.
	Change(ctx context.Context, admitted []Admitted) (claimed []bool, err error)
	// Record commits attempts and outcomes together. The result says for each whether the delivery changed; it did not when it was
	// cancelled meanwhile. An error means that nothing was recorded; temporary says that repeating may help.
	Record(ctx context.Context, finished []Finished) (changed []bool, err error)
	Temporary(err error) bool
	// Advance is Record for a result whose attempt cannot be stored: only the delivery changes.
	Advance(ctx context.Context, f Finished) (changed bool, err error)
	// Park parks deliveries whose attempts were not made because there are too many before them, and has the endpoints drained.
	Park(ctx context.Context, jobs []*Job) error
	// Take takes attempts that endpoints' rates permit, and gives what there was for each.
	Take(ctx context.Context, wants []Want) ([]Grant, error)
	// Unclaim gives up the claim of a job whose attempt was not made, so that nobody has to wait for its end.
	Unclaim(ctx context.Context, job *Job) error
}

// Sender makes attempts. It returns nil if ctx ended before the endpoint's answer was complete: then it was not an attempt.
type Sender interface {
	Send(ctx context.Context, job *Job) *Attempt
}

// Watcher is told of every result that was committed. It does not wait.
type Watcher interface {
	Recorded(f Finished)
}

// Watchers are told one after the other.
type Watchers []Watcher

// Recorded implements Watcher.
func (all Watchers) Recorded(f Finished) {
	for _, w := range all {
		w.Recorded(f)
	}
}

// Ports are what an engine works with. Every field must be set.
type Ports struct {
	Store     Store
	Sender    Sender
	Scheduler Scheduler
	Watcher   Watcher
	Observer  Observer
}

// Scheduler plans the next attempt at the broker, without waiting. What it loses the reconciler finds.
type Scheduler interface {
	Schedule(r Request)
}

// Observer is told what happens, for metrics and logs. It is called concurrently.
type Observer interface {
	Attempted(f Finished)
	Settled(f Finished)
	Discarded(messages int)
	Overflowed(deliveries int)
	Batch(doing string, items int, took time.Duration) // that was admitted, changed or recorded together
	Trouble(doing string, err error)
}

// Config bounds an Engine. Every field must be set.
type Config struct {
	Attempts int // at the same time
	Slots    int // deliveries that are looked up, wait for their turn, are attempted or recorded
}

const (
	admitBatch   = 256
	dispatchers  = 2
	inboxGroups  = 4 // groups of tickets that wait for a dispatcher
	recordBatch  = 512
	recordSpill  = 128
	changeSpill  = 64
	recordPace   = 5 * time.Millisecond // nobody waits for a record but the slot
	keepInterval = 20 * time.Second
	sweepPace    = 100 * time.Millisecond
	pauseFirst   = 100 * time.Millisecond
	pauseMost    = 2 * time.Second
	admitLimit   = freshMargin - laneLimit - time.Second // what was fresh when it was read must still be when the attempt starts
)

// Engine carries deliveries from tickets through the sender to the record:
//
//	Submit ─▶ slot ─▶ Store.Admit (many at once) ─▶ lane of the endpoint ─▶ Sender.Send ─▶ Store.Record (many at once) ─▶ Scheduler, Ticket.Done ─▶ slot free
//	                                                        └─▶ too many before it: Store.Park, Ticket.Done
//
// A ticket ends only after its result is committed. While Postgres is away nothing is dropped: slots stay taken, so nothing more is
// pulled, and tickets are kept alive at the broker.
type Engine struct {
	store     Store
	sender    Sender
	scheduler Scheduler
	watcher   Watcher
	observer  Observer

	inbox    chan *group
	slots    chan struct{}
	recorder *batch.Batcher[*work]
	changer  *batch.Batcher[*work]
	lanes    *lanes

	intake     context.Context // ends when Stop begins
	stopIntake context.CancelFunc
	sending    context.Context // ends when Stop runs out of time
	cutSending context.CancelFunc

	loops    sync.WaitGroup // dispatchers, keeper, sweeper and rates
	attempts sync.WaitGroup // attempts being made
	workers  sync.WaitGroup // goroutines that make attempts, see start
	idle     chan *work     // to a worker that has nothing to do

	mu     sync.Mutex
	active map[Ref]*work   // at most one ticket for a delivery
	queued map[*group]bool // what waits for slots
}

// work is a ticket that holds a slot.
type work struct {
	ticket    Ticket
	ref       Ref
	admission Admission
	Finished

	lane    *lane
	entered time.Time // the lane
}

// NewEngine starts an engine. Stop it.
func NewEngine(cfg Config, ports Ports) *Engine {
	e := &Engine{
		store: ports.Store, sender: ports.Sender, scheduler: ports.Scheduler, watcher: ports.Watcher, observer: ports.Observer,
		inbox:  make(chan *group, inboxGroups), // buffered, or batches would not form
		slots:  make(chan struct{}, cfg.Slots),
		lanes:  newLanes(cfg.Attempts),
		active: map[Ref]*work{},
		queued: map[*group]bool{},
		idle:   make(chan *work),
	}
	e.intake, e.stopIntake = context.WithCancel(context.Background())
	e.sending, e.cutSending = context.WithCancel(context.Background())
	e.recorder = batch.New(batch.Config{MaxItems: recordBatch, Parallel: 2, Spill: recordSpill, Pace: recordPace, Queue: cfg.Slots}, e.timed("record", e.record))
	e.changer = batch.New(batch.Config{MaxItems: admitBatch, Parallel: 2, Spill: changeSpill, Queue: cfg.Slots}, e.timed("change", e.change))
	for range dispatchers {
		e.loops.Go(e.dispatch)
	}
	e.loops.Go(e.keepAlive)
	e.loops.Go(e.sweep)
	e.loops.Go(e.rates)
	return e
}

// InFlight says how many deliveries are being checked, sent or recorded.
func (e *Engine) InFlight() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.active)
}

// timed gives a flush that the observer is told of.
func (e *Engine) timed(doing string, flush func(context.Context, []*work)) func(context.Context, []*work) {
	return func(ctx context.Context, works []*work) {
		start, n := time.Now(), len(works)
		flush(ctx, works)
		e.observer.Batch(doing, n, time.Since(start))
	}
}

// Queued says how many deliveries wait for their turn at an endpoint, to be changed, and to be recorded.
func (e *Engine) Queued() (turn, change, record int) {
	return e.lanes.waits(), e.changer.Len(), e.recorder.Len()
}

// Stop takes no more tickets, lets attempts in flight finish and records them. When ctx ends first, the attempts that are not
// finished are cut and their tickets released; they do not count.
func (e *Engine) Stop(ctx context.Context) error {
	e.stopIntake()
	e.loops.Wait()
	e.releaseInbox()
	if err := e.changer.Close(ctx); err != nil {
		e.observer.Trouble("change deliveries", err)
	}
	e.giveUp(e.lanes.close())
	finished := make(chan struct{})
	go func() {
		e.attempts.Wait()
		close(finished)
	}()
	select {
	case <-finished:
	case <-ctx.Done():
		e.cutSending()
		<-finished
	}
	e.cutSending()
	e.workers.Wait()
	// Results are worth waiting for even when the time is up: a result that is lost is an attempt that is repeated.
	flush, cancel := context.WithTimeout(context.WithoutCancel(ctx), pauseMost)
	defer cancel()
	if d, ok := ctx.Deadline(); ok && time.Until(d) > pauseMost {
		flush = ctx
	}
	return e.recorder.Close(flush)
}

// end ends a ticket and frees its slot.
func (e *Engine) end(w *work, end func()) {
	e.forget(w)
	end()
	<-e.slots
}

// forget lets another ticket for the same delivery in.
func (e *Engine) forget(w *work) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.active[w.ref] == w {
		delete(e.active, w.ref)
	}
}

func (e *Engine) admit(works []*work) {
	in := make([]Incoming, len(works))
	for i, w := range works {
		in[i] = Incoming{w.ticket.Request(), w.ticket.Redelivered()}
	}
	var admitted []Admitted
	// A query that was begun is finished: cut off, it might have claimed what nobody then attempts.
	err := e.persist(e.intake.Done(), "admit", func() (err error) {
		ctx, cancel := context.WithTimeout(context.Background(), admitLimit)
		defer cancel()
		admitted, err = e.store.Admit(ctx, in)
		return err
	})
	if err != nil && len(works) > 1 && !e.store.Temporary(err) { // one message spoils the batch: find it
		middle := len(works) / 2
		e.admit(works[:middle])
		e.admit(works[middle:])
		return
	}
	if err != nil {
		for _, w := range works {
			e.end(w, w.ticket.Release)
		}
		return
	}
	e.sort(works, admitted)
}

// sort starts what can start. What has to be written first does not keep the others waiting.
func (e *Engine) sort(works []*work, admitted []Admitted) {
	discarded, now := 0, time.Now()
	for i, w := range works {
		switch w.Job, w.admission = admitted[i].Job, admitted[i].Admission; w.admission {
		case Stale:
			discarded++
			e.end(w, w.ticket.Done)
		case Start:
			e.enter(w, now)
		case Claim, Park, Cancel:
			e.putOff(w)
		}
	}
	if discarded > 0 {
		e.observer.Discarded(discarded)
	}
}

// enter starts an attempt, or has it wait for its turn.
func (e *Engine) enter(w *work, now time.Time) {
	switch e.lanes.enter(w, now) {
	case runs:
		e.start(w)
	case waits:
	case overflows:
		e.overflow(w)
	}
}

// putOff hands a delivery to the changer.
func (e *Engine) putOff(w *work) {
	if err := e.changer.Put(context.Background(), w); err != nil {
		e.giveUp([]*work{w})
	}
}

// start makes an attempt on a goroutine of its own, one that has made attempts before if there is one: its stack has grown already, which is
// worth several microseconds. There are about as many as slots at most.
func (e *Engine) start(w *work) {
	e.attempts.Add(1)
	select {
	case e.idle <- w:
	default:
		e.workers.Go(func() { e.attemptAll(w) })
	}
}

// attemptAll makes attempts from a first one on until the engine stops. An idle worker holds on to nothing of its last.
func (e *Engine) attemptAll(w *work) {
	for {
		e.attempt(w)
		e.attempts.Done()
		select {
		case w = <-e.idle:
		case <-e.sending.Done():
			return
		}
	}
}

func (e *Engine) attempt(w *work) {
	w.Attempt = e.sender.Send(e.sending, w.Job)
	e.startAll(e.lanes.leave(w, w.Attempt, time.Now()))
	if w.Attempt == nil {
		e.giveUp([]*work{w})
		return
	}
	w.Outcome = Decide(w.Attempt, w.Job.Target.Retry, uuid7.Time(w.Job.ID), time.Now(), rand.Float64)
	e.observer.Attempted(w.Finished)
	if err := e.recorder.Put(context.Background(), w); err != nil {
		e.observer.Trouble("queue result", err)
		e.end(w, w.ticket.Release)
	}
}

func (e *Engine) unclaim(job *Job) {
	if job.ClaimedUntil.IsZero() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), pauseMost)
	defer cancel()
	if err := e.store.Unclaim(ctx, job); err != nil {
		e.observer.Trouble("unclaim", err)
	}
}

// keepAlive tells the broker that tickets are still worked on, for as long as they are.
func (e *Engine) keepAlive() {
	tick := time.NewTicker(keepInterval)
	defer tick.Stop()
	for {
		select {
		case <-e.intake.Done():
			return
		case <-tick.C:
		}
		e.mu.Lock()
		tickets := make([]Ticket, 0, len(e.active))
		for _, w := range e.active {
			tickets = append(tickets, w.ticket)
		}
		for g := range e.queued {
			tickets = append(tickets, g.tickets...)
		}
		e.mu.Unlock()
		for _, t := range tickets {
			t.InProgress()
		}
	}
}

// persist repeats do, with growing pauses, while its error is temporary and until is open.
func (e *Engine) persist(until <-chan struct{}, doing string, do func() error) error {
	for pause := pauseFirst; ; pause = min(2*pause, pauseMost) {
		err := do()
		if err == nil {
			return nil
		}
		e.observer.Trouble(doing, err)
		if !e.store.Temporary(err) {
			return err
		}
		select {
		case <-until:
			return err
		case <-time.After(pause):
		}
	}
}
