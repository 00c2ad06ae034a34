package delivery_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/backoff"
	"github.com/beaconpost/beaconpost/pkg/tenant"
	"github.com/beaconpost/beaconpost/services/delivery/internal/delivery"
)

var (
	errAway    = errors.New("the database is away")
	errRefused = errors.New("the database refuses this")
)

// world is everything around an engine. Its fields are what happens when the engine calls; nil is success. Every call is logged.
type world struct {
	engine *delivery.Engine
	start  time.Time

	mu  sync.Mutex
	log []string
	at  map[string][]time.Duration // when each thing was done

	admitted   [][]delivery.Incoming
	recorded   []delivery.Finished
	schedules  []delivery.Request
	unclaimed  []*delivery.Job
	discarded  int
	overflowed int
	parked     []*delivery.Job
	endpointOf func(id uuid.UUID) uuid.UUID
	sending    int
	mostAtOnce int

	gate     chan struct{} // until it is closed every Admit waits
	admit    func(in []delivery.Incoming) error
	stale    func(in delivery.Incoming) bool
	claimed  bool
	gateway  chan struct{} // until it is closed every Record waits
	record   func(finished []delivery.Finished) error
	changed  bool
	advance  func(f delivery.Finished) error
	send     func(ctx context.Context, job *delivery.Job) *delivery.Attempt
	schedule func(r delivery.Request)
}

// newWorld starts an engine. Call it inside a synctest bubble, and stop the engine there.
func newWorld(t *testing.T, slots int, prepare func(w *world)) *world {
	t.Helper()
	w := &world{start: time.Now(), at: map[string][]time.Duration{}, changed: true}
	if prepare != nil {
		prepare(w)
	}
	w.engine = delivery.NewEngine(delivery.Config{Slots: slots, Attempts: 10000}, delivery.Ports{Store: w, Sender: w, Scheduler: w, Watcher: w, Observer: w})
	return w
}

// stop stops the engine and expects nothing to be left.
func (w *world) stop(t *testing.T) {
	t.Helper()
	require.NoError(t, w.engine.Stop(t.Context()))
	require.Zero(t, w.engine.InFlight())
}

func (w *world) note(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.log = append(w.log, what)
	w.at[what] = append(w.at[what], time.Since(w.start))
}

func (w *world) noted() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.log)
}

func (w *world) times(what string) []time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.at[what])
}

// Admit implements delivery.Store.
func (w *world) Admit(_ context.Context, in []delivery.Incoming) ([]delivery.Admitted, error) {
	w.note("admit")
	w.mu.Lock()
	w.admitted = append(w.admitted, in)
	w.mu.Unlock()
	if w.gate != nil {
		<-w.gate
	}
	if w.admit != nil {
		if err := w.admit(in); err != nil {
			return nil, err
		}
	}
	admitted := make([]delivery.Admitted, len(in))
	for i, r := range in {
		if w.stale != nil && w.stale(r) {
			continue
		}
		admitted[i] = delivery.Admitted{Admission: delivery.Start, Job: &delivery.Job{
			Ref: r.Ref, Attempt: r.Attempt, Traceparent: r.Traceparent,
			Target: &delivery.Target{EndpointID: w.endpoint(r.ID), Retry: backoff.Policy{Schedule: []time.Duration{time.Minute, time.Hour}, Jitter: backoff.NoJitter}},
		}}
		if w.claimed {
			admitted[i].Admission = delivery.Claim
		}
	}
	return admitted, nil
}

// Record implements delivery.Store.
func (w *world) Record(_ context.Context, finished []delivery.Finished) ([]bool, error) {
	w.note("record")
	if w.gateway != nil {
		<-w.gateway
	}
	if w.record != nil {
		if err := w.record(finished); err != nil {
			return nil, err
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.recorded = append(w.recorded, finished...)
	return slices.Repeat([]bool{w.changed}, len(finished)), nil
}

// Advance implements delivery.Store.
func (w *world) Advance(_ context.Context, f delivery.Finished) (bool, error) {
	w.note("advance")
	if w.advance != nil {
		return w.changed, w.advance(f)
	}
	return w.changed, nil
}

// Temporary implements delivery.Store.
func (*world) Temporary(err error) bool { return errors.Is(err, errAway) }

// Unclaim implements delivery.Store.
func (w *world) Unclaim(_ context.Context, job *delivery.Job) error {
	w.note("unclaim")
	w.mu.Lock()
	defer w.mu.Unlock()
	w.unclaimed = append(w.unclaimed, job)
	return nil
}

// Send implements delivery.Sender.
func (w *world) Send(ctx context.Context, job *delivery.Job) *delivery.Attempt {
	w.note("send")
	w.mu.Lock()
	w.sending++
	w.mostAtOnce = max(w.mostAtOnce, w.sending)
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.sending--
	}()
	if w.send != nil {
		return w.send(ctx, job)
	}
	return &delivery.Attempt{Number: job.Attempt, StatusCode: 200}
}

// Schedule implements delivery.Scheduler.
func (w *world) Schedule(r delivery.Request) {
	w.note("schedule")
	w.mu.Lock()
	w.schedules = append(w.schedules, r)
	w.mu.Unlock()
	if w.schedule != nil {
		w.schedule(r)
	}
}

// Attempted implements delivery.Observer.
func (w *world) Attempted(delivery.Finished) { w.note("attempted") }

// Settled implements delivery.Observer.
func (w *world) Settled(delivery.Finished) { w.note("settled") }

// Discarded implements delivery.Observer.
func (w *world) Discarded(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.discarded += n
}

// Batch implements delivery.Observer.
func (*world) Batch(string, int, time.Duration) {}

// Trouble implements delivery.Observer.
func (w *world) Trouble(doing string, _ error) { w.note("trouble: " + doing) }

// ticket is a message. It notes what becomes of it.
type ticket struct {
	world       *world
	request     delivery.Request
	redelivered bool

	mu                   sync.Mutex
	done, released, kept int
}

func (w *world) ticket() *ticket {
	return &ticket{world: w, request: delivery.Request{
		Ref: delivery.Ref{Tenant: tenant.ID(uuid.New()), ID: uuid.New()}, Attempt: 1, Due: time.Now(), Traceparent: "trace",
	}}
}

// again is another message for the same delivery.
func (k *ticket) again(attempt int) *ticket {
	r := k.request
	r.Attempt = attempt
	return &ticket{world: k.world, request: r}
}

// submit hands tickets over, in order, as one message has them.
func (w *world) submit(t *testing.T, tickets ...*ticket) {
	t.Helper()
	group := make([]delivery.Ticket, len(tickets))
	for i, k := range tickets {
		group[i] = k
	}
	w.engine.Submit(t.Context(), group)
}

// together makes one batch of the tickets: two others keep the engine busy until the gate is opened.
func (w *world) together(t *testing.T, gate chan struct{}, list []*ticket) {
	t.Helper()
	for _, k := range w.tickets(2) {
		w.submit(t, k)
		synctest.Wait()
	}
	w.submit(t, list...)
	synctest.Wait()
	close(gate)
	time.Sleep(time.Second) // fake: results are recorded at a pace
	synctest.Wait()
}

func (w *world) tickets(n int) []*ticket {
	list := make([]*ticket, n)
	for i := range list {
		list[i] = w.ticket()
	}
	return list
}

func (k *ticket) Request() delivery.Request { return k.request }

func (k *ticket) Redelivered() bool { return k.redelivered }

func (k *ticket) count(n *int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	*n++
}

func (k *ticket) InProgress() { k.count(&k.kept) }

func (k *ticket) Done() {
	k.count(&k.done)
	k.world.note("done")
}

func (k *ticket) Release() {
	k.count(&k.released)
	k.world.note("release")
}

// state says in a word what became of the ticket.
func (k *ticket) state() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.done+k.released > 1:
		return "ended twice"
	case k.done == 1:
		return "done"
	case k.released == 1:
		return "released"
	}
	return "held"
}

// keptAlive says how often the broker was told that work goes on.
func (k *ticket) keptAlive() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.kept
}

func states(tickets []*ticket) map[string]int {
	by := map[string]int{}
	for _, k := range tickets {
		by[k.state()]++
	}
	return by
}

func (w *world) Recorded(delivery.Finished) {}

func (w *world) Overflowed(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.overflowed += n
}

func (w *world) Park(_ context.Context, jobs []*delivery.Job) error {
	w.note("park")
	w.mu.Lock()
	defer w.mu.Unlock()
	w.parked = append(w.parked, jobs...)
	return nil
}

// endpoint gives each delivery an endpoint of its own unless the test says otherwise.
func (w *world) endpoint(id uuid.UUID) uuid.UUID {
	if w.endpointOf != nil {
		return w.endpointOf(id)
	}
	return id
}

// Change implements delivery.Store: every claim is won.
func (w *world) Change(_ context.Context, admitted []delivery.Admitted) ([]bool, error) {
	w.note("change")
	claimed := make([]bool, len(admitted))
	for i, a := range admitted {
		claimed[i] = a.Admission == delivery.Claim
		if claimed[i] {
			a.Job.ClaimedUntil = time.Now().Add(time.Minute)
		}
	}
	return claimed, nil
}

// Take implements delivery.Store: there is a token for each.
func (w *world) Take(_ context.Context, wants []delivery.Want) ([]delivery.Grant, error) {
	grants := make([]delivery.Grant, len(wants))
	for i, want := range wants {
		grants[i].N = want.N
	}
	return grants, nil
}
