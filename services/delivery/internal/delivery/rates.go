package delivery

import (
	"context"
	"time"
)

// Want asks for attempts that an endpoint's rate permits.
type Want struct {
	Endpoint Ref
	Rate     Rate
	N        int
}

// Grant is what there is of them, and the share of the next one that there is beyond that.
type Grant struct {
	N    int
	Rest float64 // in [0, 1)
}

// ratePace is how often attempts are asked for: a rate is kept over all replicas, in the database, and asked for in handfuls.
const ratePace = 20 * time.Millisecond

// rates asks for the attempts of endpoints that have a rate and something that waits for it.
func (e *Engine) rates() {
	tick := time.NewTicker(ratePace)
	defer tick.Stop()
	for {
		select {
		case <-e.intake.Done():
			return
		case <-tick.C:
		}
		wants := e.lanes.wants(time.Now())
		if len(wants) == 0 {
			continue
		}
		ctx, cancel := context.WithTimeout(e.intake, admitLimit)
		grants, err := e.store.Take(ctx, wants)
		cancel()
		if err != nil {
			if e.intake.Err() == nil {
				e.observer.Trouble("take rate tokens", err)
			}
			continue // what waits for too long is parked
		}
		e.startAll(e.lanes.grant(wants, grants, time.Now()))
	}
}

// wants gives what lanes with a rate need.
func (l *lanes) wants(now time.Time) (wants []Want) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, one := range l.queue {
		if n := min(len(one.waiting), int(one.limit)) - one.tokens; n > 0 && one.rate.PerSecond > 0 && !now.Before(one.dry) {
			wants = append(wants, Want{one.ref, one.rate, n})
		}
	}
	return wants
}

// grant hands tokens out and gives the deliveries that can start now.
func (l *lanes) grant(wants []Want, grants []Grant, now time.Time) (started []*work) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, granted := range grants {
		want := wants[i]
		one := l.of[want.Endpoint]
		if one == nil {
			continue
		}
		one.tokens += granted.N
		if granted.N < want.N {
			missing := time.Duration((1 - granted.Rest) / want.Rate.PerSecond * float64(time.Second))
			one.dry = now.Add(missing)
		}
		for len(one.waiting) > 0 && l.mayRun(one) {
			started = l.advance(started, one)
		}
	}
	return started
}
