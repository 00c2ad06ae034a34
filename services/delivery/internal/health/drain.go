package health

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/beaconpost/beaconpost/services/delivery/internal/delivery"
)

const (
	rampEvery = 5 * time.Second // the rate doubles
	arrivals  = time.Second     // over which new deliveries are counted
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
	earned float64 // deliveries that may be taken out
	last   time.Time
	ahead  atomic.Int64 // taken out, not over yet
}

// round takes out what the next moment may have. look is called for endpoints with nothing left.
func (d *drains) round(ctx context.Context, now time.Time, look func(context.Context, Key)) {
	if now.Sub(d.leased) >= lease/5 {
		d.renew(ctx, now)
	}
	quotas := map[Key]int{}
	for key, one := range d.of {
		d.ramp(ctx, key, one, now)
		if n := min(one.earn(now), d.engine.Room(delivery.Ref{Tenant: key.Tenant, ID: key.Endpoint})); n > 0 {
			quotas[key] = n
		}
	}
	if len(quotas) == 0 {
		return
	}
	released, err := d.store.Release(ctx, quotas)
	if err != nil {
		d.trouble(ctx, "take out parked deliveries", err)
		return
	}
	for key := range quotas {
		one, requests := d.of[key], released[key]
		one.earned -= float64(len(requests))
		d.observer.Drained(len(requests))
		d.submit(ctx, one, requests)
		if len(requests) == 0 && one.ahead.Load() == 0 {
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
	}
	one.ahead.Add(int64(len(tickets)))
	submit(ctx, d.engine, tickets)
}

// renew extends the leases, takes those that are free, and forgets those that were lost or are over.
func (d *drains) renew(ctx context.Context, now time.Time) {
	rates := make(map[Key]int, len(d.of))
	for key, one := range d.of {
		rates[key] = one.rate
	}
	mine, err := d.store.Drains(ctx, d.replica, lease, rates)
	if err != nil {
		d.trouble(ctx, "lease drains", err)
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
			d.of[key] = &drain{rate: max(rate, d.rules.DrainFirst), ramped: now, last: now}
		}
	}
}

// ramp doubles the rate every few seconds: up to a bound, and beyond it only while more comes in than goes out.
func (d *drains) ramp(ctx context.Context, key Key, one *drain, now time.Time) {
	if now.Sub(one.ramped) < rampEvery {
		return
	}
	one.ramped = now
	if one.rate < d.rules.DrainMost {
		one.rate = min(2*one.rate, d.rules.DrainMost)
		return
	}
	n, err := d.store.Arriving(ctx, key, arrivals)
	if err != nil {
		d.trouble(ctx, "count arriving deliveries", err)
		return
	}
	one.rate = max(d.rules.DrainMost, 2*int(float64(n)/arrivals.Seconds()))
}

func (d *drains) trouble(ctx context.Context, doing string, err error) {
	if ctx.Err() == nil {
		d.observer.Trouble(doing, err)
	}
}

// earn gives what may be taken out by now: at least one at a time, at most what a fifth of a second brings.
func (one *drain) earn(now time.Time) int {
	one.earned += float64(one.rate) * now.Sub(one.last).Seconds()
	one.earned = min(one.earned, max(float64(one.rate)/5, 1))
	one.last = now
	return int(one.earned)
}
