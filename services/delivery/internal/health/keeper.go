package health

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"

	"github.com/beaconpost/beaconpost/pkg/lifecycle"
	"github.com/beaconpost/beaconpost/services/delivery/internal/delivery"
)

// Store keeps the records. It is safe for concurrent use.
type Store interface {
	// Note adds facts to records and gives these as they are then. Where there is none one is made if it holds a failure.
	Note(ctx context.Context, facts map[Key]Facts, rules Rules) (map[Key]Health, error)
	// Due gives endpoints whose time to look has come, at most limit.
	Due(ctx context.Context, limit int) ([]Key, error)
	// Step carries out what decide says of an endpoint, in one transaction that nobody else can get between, unless another replica is at it. It
	// gives what was done and the delivery to probe with; done is false when there was no record, another replica has it, or, with due, has looked meanwhile.
	Step(ctx context.Context, key Key, due bool, decide func(Health, Endpoint, time.Time) Step) (taken Taken, err error)
	// Watched gives the endpoints for which a success is news.
	Watched(ctx context.Context) (map[Key]bool, error)
	// Drains leases the endpoints that are draining to a replica, as far as they are not another's, and keeps the rates that it gives.
	Drains(ctx context.Context, replica uuid.UUID, lease time.Duration, rates map[Key]int) (map[Key]int, error)
	// Arriving counts the parked deliveries of an endpoint whose events are younger than since, up to a bound.
	Arriving(ctx context.Context, key Key, since time.Duration) (int, error)
	// Release takes parked deliveries out, oldest first, claimed for an attempt each.
	Release(ctx context.Context, quotas map[Key]int) (map[Key][]delivery.Request, error)
}

// Taken is what Step did.
type Taken struct {
	Before State
	Step   Step
	Probe  *delivery.Request
	Done   bool
}

// Engine makes attempts.
type Engine interface {
	Submit(ctx context.Context, tickets []delivery.Ticket)
	// Room says how many more deliveries for an endpoint would not have to wait for long.
	Room(endpoint delivery.Ref) int
}

// Observer is told what happens, for metrics and logs.
type Observer interface {
	Moved(key Key, taken Taken)
	Drained(deliveries int)
	Trouble(doing string, err error)
}

const (
	noteEvery  = 500 * time.Millisecond
	urgentWait = 10 * time.Millisecond // for what comes with it
	drainEvery = 50 * time.Millisecond
	watchEvery = time.Second
	lease      = 5 * time.Second
	dueMost    = 256
	// lookPause is between two looks: a thousand endpoints that change together leave the database to others most of the time.
	lookPause = 2 * time.Millisecond
	// submitPatience is short beside the lease: who waits for an engine that is full must not lose its drains to another replica.
	submitPatience = time.Second
)

// Keeper carries the rules out in one replica: it gathers what attempts show, opens and closes breakers, probes and drains. Any number of replicas may run
// one. What it holds in memory, half a second of results, may be lost: the next results say the same.
type Keeper struct {
	rules    Rules
	store    Store
	engine   Engine
	observer Observer
	tally    *Tally
	group    *lifecycle.Group
	drains   *drains
}

// NewKeeper starts a keeper of what tally gathers. Stop it before the engine.
func NewKeeper(rules Rules, store Store, tally *Tally, engine Engine, observer Observer) *Keeper {
	k := &Keeper{rules: rules, store: store, tally: tally, engine: engine, observer: observer, group: lifecycle.NewGroup(context.Background())}
	k.drains = &drains{rules: rules, replica: uuid.New(), store: store, engine: engine, observer: observer, of: map[Key]*drain{}}
	k.group.Go(k.run)
	k.group.Every(watchEvery, k.watch)
	k.group.Every(drainEvery, func(ctx context.Context) { k.drains.round(ctx, time.Now(), k.look) })
	return k
}

// Stop ends the keeper; what attempts showed last is noted first.
func (k *Keeper) Stop(ctx context.Context) error {
	err := k.group.Stop(ctx)
	k.note(ctx)
	return err
}

// run goes round at intervals, and soon when an endpoint asked to be left alone.
func (k *Keeper) run(ctx context.Context) {
	timer := time.NewTimer(rand.N(noteEvery))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-k.tally.urgent:
			if !lifecycle.Wait(ctx, urgentWait) {
				return
			}
		}
		k.round(ctx)
		timer.Reset(noteEvery)
	}
}

func (k *Keeper) watch(ctx context.Context) {
	watched, err := k.store.Watched(ctx)
	if err != nil {
		k.trouble(ctx, "read watched endpoints", err)
		return
	}
	k.tally.watch(watched)
}

func (k *Keeper) round(ctx context.Context) {
	k.note(ctx)
	due, err := k.store.Due(ctx, dueMost)
	if err != nil {
		k.trouble(ctx, "read endpoints to look at", err)
		return
	}
	// Replicas that look at the same time begin in different places.
	rand.Shuffle(len(due), func(i, j int) { due[i], due[j] = due[j], due[i] })
	for _, key := range due {
		if ctx.Err() != nil {
			return
		}
		k.lookAt(ctx, key, true)
		lifecycle.Wait(ctx, lookPause)
	}
}

// note stores what attempts showed and looks at the endpoints for which that changes something.
func (k *Keeper) note(ctx context.Context) {
	facts := k.tally.take()
	if len(facts) == 0 {
		return
	}
	records, err := k.store.Note(ctx, facts, k.rules)
	if err != nil {
		k.trouble(ctx, "note results of endpoints", err)
		k.tally.giveBack(facts)
		return
	}
	for key, h := range records {
		step := k.rules.Next(h, Endpoint{}, time.Now())
		if (step.State != h.State || step.Disable || step.Warn) && !step.Forget {
			k.look(ctx, key)
			lifecycle.Wait(ctx, lookPause)
		}
	}
}

func (k *Keeper) look(ctx context.Context, key Key) { k.lookAt(ctx, key, false) }

func (k *Keeper) lookAt(ctx context.Context, key Key, due bool) {
	taken, err := k.store.Step(ctx, key, due, k.rules.Next)
	if err != nil {
		k.trouble(ctx, "look at an endpoint", err)
		return
	}
	if !taken.Done {
		return
	}
	k.observer.Moved(key, taken)
	if taken.Probe != nil {
		submit(ctx, k.engine, []delivery.Ticket{delivery.Held(*taken.Probe, nil)})
	}
}

// submit hands tickets to the engine, for as long as the keeper can do without looking elsewhere. What the engine does not take stays due, and is found
// when its claim has run out.
func submit(ctx context.Context, to Engine, tickets []delivery.Ticket) {
	ctx, cancel := context.WithTimeout(ctx, submitPatience)
	defer cancel()
	to.Submit(ctx, tickets)
}

func (k *Keeper) trouble(ctx context.Context, doing string, err error) {
	if ctx.Err() == nil {
		k.observer.Trouble(doing, err)
	}
}
