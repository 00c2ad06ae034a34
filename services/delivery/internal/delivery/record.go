package delivery

import "context"

// record commits the results of many attempts, then plans retries and ends tickets. It is the recorder's flush.
func (e *Engine) record(ctx context.Context, works []*work) {
	finished := make([]Finished, len(works))
	for i, w := range works {
		finished[i] = w.Finished
	}
	var changed []bool
	err := e.persist(ctx.Done(), "record", func() (err error) {
		changed, err = e.store.Record(ctx, finished)
		return err
	})
	switch {
	case err == nil:
		for i, w := range works {
			e.settle(w, changed[i])
		}
	case e.store.Temporary(err): // out of time: the attempt will be repeated, which at-least-once allows
		for _, w := range works {
			e.end(w, w.ticket.Release)
		}
	case len(works) > 1: // one result spoils the batch: find it
		middle := len(works) / 2
		e.record(ctx, works[:middle])
		e.record(ctx, works[middle:])
	default:
		e.recordBare(ctx, works[0])
	}
}

// recordBare records a result that the database refuses without the texts that came from outside. If even that fails, the delivery advances
// without the attempt's row, so that it ends: repeating an attempt because it cannot be stored would go on for ever. The log has the reason.
func (e *Engine) recordBare(ctx context.Context, w *work) {
	bare := *w.Attempt
	bare.Excerpt, bare.Detail = nil, "The result could not be stored in full."
	w.Attempt = &bare
	var changed []bool
	err := e.persist(ctx.Done(), "record bare result", func() (err error) {
		changed, err = e.store.Record(ctx, []Finished{w.Finished})
		return err
	})
	if err == nil {
		e.settle(w, changed[0])
		return
	}
	var advanced bool
	err = e.persist(ctx.Done(), "advance without a record", func() (err error) {
		advanced, err = e.store.Advance(ctx, w.Finished)
		return err
	})
	if err != nil {
		e.end(w, w.ticket.Release)
		return
	}
	e.settle(w, advanced)
}

func (e *Engine) settle(w *work, changed bool) {
	e.watcher.Recorded(w.Finished)
	if changed {
		e.observer.Settled(w.Finished)
	}
	e.forget(w) // before the next attempt's message can come
	if changed && w.Outcome.Status == Pending {
		e.scheduler.Schedule(Request{Ref: w.Job.Ref, Attempt: w.Job.Attempt + 1, Due: w.Outcome.Next, Traceparent: w.Job.Traceparent})
	}
	e.end(w, w.ticket.Done)
}
