package health

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/beaconpost/beaconpost/pkg/uuid7"
	"github.com/beaconpost/beaconpost/services/delivery/internal/delivery"
)

const (
	rampEvery = 5 * time.Second // the rate doubles
	pace      = int(time.Second / drainEvery)
	// aheadMost bounds the deliveries of an endpoint that are taken out and not attempted yet.
	aheadMost = 64
)

// drains lets the parked deliveries go of those endpoints that this replica has the lease of. It is used by one goroutine.
type drains struct {
	rules    Rules
	replica  uuid.UUID
	store    Store
	engine   Engine
	observer Observer

	leased time.Time
	of     map[Key]*drain
}

// drain is one endpoint's.
type drain struct {
	rate   int // deliveries per second
	ramped time.Time
	lag    time.Duration // of the oldest parked delivery when the rate was last looked at
	newest uuid.UUID     // released so far
	ahead  atomic.Int64  // taken out, not attempted yet
}

// round takes out what the next moment may have. look is called for endpoints with nothing left.
func (d *drains) round(ctx context.Context, now time.Time, look func(context.Context, Key)) {
	if now.Sub(d.leased) >= lease/5 {
		d.renew(ctx, now)
	}
	quotas := map[Key]int{}
	for key, one := range d.of {
		one.ramp(now, d.rules.DrainMost)
		if n := min(max(one.rate/pace, 1), one.room()); n > 0 {
			quotas[key] = n
		}
	}
	if len(quotas) == 0 {
		return
	}
	released, err := d.store.Release(ctx, quotas)
	if err != nil {
		if ctx.Err() == nil {
			d.observer.Trouble("take out parked deliveries", err)
		}
		return
	}
	for key, asked := range quotas {
		requests := released[key]
		d.observer.Drained(len(requests))
		d.submit(ctx, d.of[key], requests)
		if len(requests) == 0 && asked > 0 && d.of[key].ahead.Load() == 0 {
			look(ctx, key)
			delete(d.of, key) // the next renewal has it again if it is not over
		}
	}
}

func (d *drains) submit(ctx context.Context, one *drain, requests []delivery.Request) {
	if len(requests) == 0 {
		return
	}
	tickets := make([]delivery.Ticket, len(requests))
	for i, r := range requests {
		tickets[i] = delivery.Held(r, func() { one.ahead.Add(-1) })
		one.newest = r.ID
	}
	one.ahead.Add(int64(len(tickets)))
	d.engine.Submit(ctx, tickets)
}

// renew extends the leases, takes those that are free, and forgets those that were lost or are over.
func (d *drains) renew(ctx context.Context, now time.Time) {
	rates := make(map[Key]int, len(d.of))
	for key, one := range d.of {
		rates[key] = one.rate
	}
	mine, err := d.store.Drains(ctx, d.replica, lease, rates)
	if err != nil {
		if ctx.Err() == nil {
			d.observer.Trouble("lease drains", err)
		}
		if now.Sub(d.leased) > lease {
			clear(d.of) // another replica may have them
		}
		return
	}
	d.leased = now
	for key := range d.of {
		if _, still := mine[key]; !still {
			delete(d.of, key)
		}
	}
	for key, rate := range mine {
		if d.of[key] == nil {
			d.of[key] = &drain{rate: max(rate, d.rules.DrainFirst), ramped: now}
		}
	}
}

// ramp doubles the rate every few seconds: up to most, and beyond it only while more comes in than goes out.
func (one *drain) ramp(now time.Time, most int) {
	if now.Sub(one.ramped) < rampEvery {
		return
	}
	var lag time.Duration
	if one.newest != uuid.Nil {
		lag = now.Sub(uuid7.Time(one.newest))
	}
	if one.rate < most {
		one.rate = min(2*one.rate, most)
	} else if one.lag > 0 && lag >= one.lag {
		one.rate *= 2
	}
	one.lag, one.ramped = lag, now
}

func (one *drain) room() int { return max(aheadMost, one.rate/pace) - int(one.ahead.Load()) }
