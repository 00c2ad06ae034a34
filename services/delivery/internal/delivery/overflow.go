package delivery

import (
	"context"
	"time"
)

// Room says how many more deliveries for an endpoint would not have to wait for long. An engine that is nearly full has no room for anybody: what the broker
// brings can be left there.
func (e *Engine) Room(endpoint Ref) int {
	if free := cap(e.slots) - len(e.slots); free <= cap(e.slots)/fullShare {
		return 0
	}
	return e.lanes.room(endpoint, time.Now())
}

const fullShare = 16 // an engine with no more than this part of its slots free is nearly full

// startAll starts what left its lane. What waited for too long may have a twin by now.
func (e *Engine) startAll(works []*work) {
	now := time.Now()
	for _, w := range works {
		if now.Sub(w.entered) < laneLimit {
			e.start(w)
			continue
		}
		e.startAll(e.lanes.leave(w, nil, now))
		e.giveUp([]*work{w})
	}
}

// giveUp hands back what was not attempted.
func (e *Engine) giveUp(works []*work) {
	for _, w := range works {
		e.unclaim(w.Job)
		e.end(w, w.ticket.Release)
	}
}

// sweep parks what waits in a lane for too long: whatever the reason, it would keep others from being looked at.
func (e *Engine) sweep() {
	tick := time.NewTicker(sweepPace)
	defer tick.Stop()
	for {
		select {
		case <-e.intake.Done():
			return
		case <-tick.C:
			for _, w := range e.lanes.overdue(time.Now()) {
				e.overflow(w)
			}
		}
	}
}

// overflow has a delivery parked; the drain of its endpoint brings it back at the rate that the endpoint sustains. Handed back to the broker it would come
// again and again, each time with a look and a claim.
func (e *Engine) overflow(w *work) {
	w.admission = overflowing
	e.putOff(w)
}

// overflowing is the admission of what could not wait.
const overflowing Admission = -1

// change writes what has to be written before an attempt, or instead of one. It is the changer's flush.
func (e *Engine) change(ctx context.Context, works []*work) {
	var over, rest []*work
	for _, w := range works {
		if w.admission == overflowing {
			over = append(over, w)
		} else {
			rest = append(rest, w)
		}
	}
	if len(over) > 0 {
		e.park(ctx, over)
	}
	if len(rest) > 0 {
		e.changeAdmitted(ctx, rest)
	}
}

func (e *Engine) park(ctx context.Context, works []*work) {
	jobs := make([]*Job, len(works))
	for i, w := range works {
		jobs[i] = w.Job
	}
	err := e.persist(ctx.Done(), "park overflow", func() error { return e.store.Park(ctx, jobs) })
	if err != nil {
		e.giveUp(works)
		return
	}
	e.observer.Overflowed(len(works))
	for _, w := range works {
		e.end(w, w.ticket.Done)
	}
}

func (e *Engine) changeAdmitted(ctx context.Context, works []*work) {
	admitted := make([]Admitted, len(works))
	for i, w := range works {
		admitted[i] = Admitted{w.admission, w.Job}
	}
	var claimed []bool
	err := e.persist(ctx.Done(), "change deliveries", func() (err error) {
		claimed, err = e.store.Change(ctx, admitted)
		return err
	})
	if err != nil && len(works) > 1 && !e.store.Temporary(err) { // one spoils the batch: find it
		middle := len(works) / 2
		e.changeAdmitted(ctx, works[:middle])
		e.changeAdmitted(ctx, works[middle:])
		return
	}
	if err != nil {
		for _, w := range works {
			e.end(w, w.ticket.Release)
		}
		return
	}
	discarded, now := 0, time.Now()
	for i, w := range works {
		if claimed[i] {
			e.enter(w, now)
			continue
		}
		discarded++
		e.end(w, w.ticket.Done)
	}
	if discarded > 0 {
		e.observer.Discarded(discarded)
	}
}
