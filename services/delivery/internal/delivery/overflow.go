package delivery

import "time"

// Room says how many more deliveries for an endpoint would not have to wait for long.
func (e *Engine) Room(endpoint Ref) int { return e.lanes.room(endpoint) }

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
			e.overflow(e.lanes.overdue(time.Now()))
		}
	}
}

// overflow parks deliveries; the drain of their endpoints brings them back at the rate that those sustain. Handed back to the broker they would come again and
// again, each time with a look and a claim.
func (e *Engine) overflow(works []*work) {
	for len(works) > 0 {
		batch := works[:min(len(works), recordBatch)]
		works = works[len(batch):]
		jobs := make([]*Job, len(batch))
		for i, w := range batch {
			jobs[i] = w.Job
		}
		err := e.persist(e.intake.Done(), "park overflow", func() error { return e.store.Park(e.sending, jobs) })
		if err != nil {
			e.giveUp(batch)
			continue
		}
		e.observer.Overflowed(len(batch))
		for _, w := range batch {
			e.end(w, w.ticket.Done)
		}
	}
}
