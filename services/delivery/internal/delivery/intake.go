package delivery

import (
	"context"
	"time"
)

// Submit hands tickets over, which may be used no more, and blocks while too many wait. When ctx or the engine ends first, they are released.
// It must have returned before Stop is called.
func (e *Engine) Submit(ctx context.Context, tickets []Ticket) {
	if ctx.Err() != nil || e.intake.Err() != nil || len(tickets) == 0 {
		release(tickets)
		return
	}
	g := &group{tickets: tickets}
	e.mu.Lock()
	e.queued[g] = true
	e.mu.Unlock()
	select {
	case e.inbox <- g:
	case <-ctx.Done():
		e.abandon(g)
	case <-e.intake.Done():
		e.abandon(g)
	}
}

// group is tickets that were submitted together. Those that have no slot yet are kept alive like the others.
type group struct {
	tickets []Ticket // that have no slot; guarded by Engine.mu
}

// next takes a ticket out of a group that has one, and reports whether it was the last.
func (e *Engine) next(g *group) (t Ticket, last bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	t, g.tickets = g.tickets[0], g.tickets[1:]
	if last = len(g.tickets) == 0; last {
		delete(e.queued, g)
	}
	return t, last
}

// abandon releases what is left of a group.
func (e *Engine) abandon(g *group) {
	e.mu.Lock()
	left := g.tickets
	delete(e.queued, g)
	e.mu.Unlock()
	release(left)
}

func release(tickets []Ticket) {
	for _, t := range tickets {
		t.Release()
	}
}

// releaseInbox hands back what waits for a slot. Nobody submits any more: the consumer was stopped before.
func (e *Engine) releaseInbox() {
	for {
		select {
		case g := <-e.inbox:
			e.abandon(g)
		default:
			return
		}
	}
}

func (e *Engine) dispatch() {
	var waiting *group // taken from the inbox, not all of it with slots yet; nil if there is none
	for {
		var works []*work
		var ok bool
		if works, waiting, ok = e.gather(waiting); !ok {
			if waiting != nil {
				e.abandon(waiting)
			}
			return
		}
		if len(works) > 0 {
			start := time.Now()
			e.admit(works)
			e.observer.Batch("admit", len(works), time.Since(start))
		}
	}
}

// gather waits for a ticket and takes what else is there, each with its slot. It gives back what is left waiting, and reports false when the
// intake has ended.
func (e *Engine) gather(waiting *group) (works []*work, left *group, ok bool) {
	if waiting == nil {
		select {
		case waiting = <-e.inbox:
		case <-e.intake.Done():
			return nil, nil, false
		}
	}
	select {
	case e.slots <- struct{}{}:
	case <-e.intake.Done():
		return nil, waiting, false
	}
	for {
		t, last := e.next(waiting)
		works = e.take(works, t)
		if last {
			select {
			case waiting = <-e.inbox:
			default:
				return works, nil, true
			}
		}
		if len(works) == admitBatch {
			return works, waiting, true
		}
		select {
		case e.slots <- struct{}{}:
		default:
			return works, waiting, true
		}
	}
}

// take adds a ticket that has a slot to works. A second message for the attempt that is worked on here is out of date by then and ends at once;
// one for the next attempt has to wait until this one is over.
func (e *Engine) take(works []*work, t Ticket) []*work {
	w := &work{ticket: t, ref: t.Request().Ref}
	e.mu.Lock()
	busy := e.active[w.ref]
	if busy == nil {
		e.active[w.ref] = w
	}
	e.mu.Unlock()
	if busy == nil {
		return append(works, w)
	}
	switch {
	case !t.Request().Held.IsZero():
		e.comeAgain(t)
	case t.Request().Attempt > busy.ticket.Request().Attempt:
		t.Release()
	default:
		t.Done()
		e.observer.Discarded(1)
	}
	<-e.slots
	return works
}

// comeAgain submits a ticket that came from the database a moment later. Somebody here has just parked that delivery, and is about to say so.
func (e *Engine) comeAgain(t Ticket) {
	e.loops.Go(func() {
		select {
		case <-e.intake.Done():
			t.Release()
		case <-time.After(heldPause):
			e.Submit(e.intake, []Ticket{t})
		}
	})
}

const heldPause = 20 * time.Millisecond
