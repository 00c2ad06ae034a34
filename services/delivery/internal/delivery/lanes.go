package delivery

import (
	"net/http"
	"sync"
	"time"

	"github.com/beaconpost/beaconpost/pkg/tenant"
)

const (
	laneFirst    = 4                      // attempts at the same time at an endpoint that nothing is known of
	laneMost     = 256                    // and at one that takes everything
	laneFloor    = 16                     // rising latency alone pushes no lane below this
	laneShare    = 16                     // one endpoint may take this part of what is free, or more where there are few
	reserveShare = 8                      // this part of all attempts is kept for endpoints that have shown that they answer
	tenantShare  = 2                      // one tenant may take this part of all attempts
	queueMost    = 64                     // deliveries that wait for an endpoint that has shown nothing
	queueFor     = 250 * time.Millisecond // and for another: as many as it takes in that time
	laneForget   = time.Minute
	lanePatience = time.Second     // deliveries that waited for so long are parked
	laneLimit    = 3 * time.Second // a delivery that waited for so long must be looked up again
	slowFailure  = time.Second
	latePatience = 5 * time.Second // a delivery that is overdue by so much when it comes does not wait behind others
)

// lanes share out the attempts of a process. Each endpoint has a lane: so many attempts at once, the others wait in it. How many finds out the
// endpoint itself: one more for each success until something goes wrong, later one more for each round of successes; half as many on a timeout, on a 429,
// or when it answers twice as slowly as usual. The fewer attempts are free the fewer an endpoint may take, so that any number of endpoints that hang
// leaves some for the others. lanes is safe for concurrent use.
type lanes struct {
	slots int // attempts at the same time

	mu      sync.Mutex
	of      map[Ref]*lane     // by endpoint
	tenants map[tenant.ID]int // attempts
	waiting map[tenant.ID]int // deliveries that wait
	running int
	queue   []*lane // those in which something waits, in the order of their turns
	closed  bool
	swept   time.Time
}

// lane is one endpoint's.
type lane struct {
	ref       Ref
	running   int
	waiting   []*work // the first is the next
	queued    bool    // it is in lanes.queue
	limit     float64
	steady    bool // something went wrong once: it grows slowly
	proven    bool // the last attempt but timeouts got an answer
	lowered   time.Time
	used      time.Time
	recent    float64 // seconds of an attempt, of late
	usual     float64 // and usually
	latencies int

	rate   Rate
	tokens int       // attempts that the rate permits now
	dry    time.Time // there is no token before this
}

func newLanes(slots int) *lanes {
	return &lanes{slots: slots, of: map[Ref]*lane{}, tenants: map[tenant.ID]int{}, waiting: map[tenant.ID]int{}}
}

// place says what becomes of a delivery that may be attempted.
type place int

const (
	runs      place = iota
	waits           // in its lane
	overflows       // there are too many before it
)

// enter gives w its place. What runs must leave.
func (l *lanes) enter(w *work, now time.Time) place {
	l.mu.Lock()
	defer l.mu.Unlock()
	ref := Ref{w.Job.Tenant, w.Job.Target.EndpointID}
	one := l.of[ref]
	if one == nil {
		one = &lane{ref: ref, limit: laneFirst}
		l.of[ref] = one
	}
	one.used, w.entered, w.lane, one.rate = now, now, one, w.Job.Target.Rate
	if len(one.waiting) == 0 && l.mayRun(one) {
		l.run(one)
		return runs
	}
	if l.closed || len(one.waiting) >= one.queue(w.Job.Late) || l.waiting[ref.Tenant] >= max(l.slots, queueMost) {
		return overflows
	}
	if !one.queued {
		one.queued = true
		l.queue = append(l.queue, one)
	}
	one.waiting = append(one.waiting, w)
	l.waiting[ref.Tenant]++
	return waits
}

// queue is how many may wait. late is for how long the next one is overdue already.
func (one *lane) queue(late time.Duration) int {
	if !one.proven || late >= latePatience {
		return queueMost
	}
	return max(queueMost, int(one.limit*queueFor.Seconds()/max(one.usual, 0.001)))
}

// waits says how many deliveries wait.
func (l *lanes) waits() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, of := range l.waiting {
		n += of
	}
	return n
}

// left counts deliveries that wait no more.
func (l *lanes) left(one *lane, n int) {
	if l.waiting[one.ref.Tenant] -= n; l.waiting[one.ref.Tenant] <= 0 {
		delete(l.waiting, one.ref.Tenant)
	}
}

func (l *lanes) mayRun(one *lane) bool {
	free := l.slots - l.running
	switch {
	case one.rate.PerSecond > 0 && one.tokens == 0:
		return false
	case l.closed || free <= 0 || one.running >= int(one.limit) || l.tenants[one.ref.Tenant] >= max(l.slots/tenantShare, 1):
		return false
	case one.running == 0:
		return one.proven || free > l.slots/reserveShare
	}
	share := min(max(l.slots/laneMost, 1), laneShare)
	return one.running < free/share && (one.proven || free > l.slots/reserveShare)
}

func (l *lanes) run(one *lane) {
	one.running++
	l.running++
	l.tenants[one.ref.Tenant]++
	if one.rate.PerSecond > 0 {
		one.tokens--
	}
}

// leave ends an attempt (nil: it was cut off) and gives the deliveries that can start now.
func (l *lanes) leave(w *work, a *Attempt, now time.Time) []*work {
	l.mu.Lock()
	defer l.mu.Unlock()
	one := w.lane
	one.running--
	l.running--
	if l.tenants[one.ref.Tenant]--; l.tenants[one.ref.Tenant] == 0 {
		delete(l.tenants, one.ref.Tenant)
	}
	one.used = now
	if a != nil {
		one.learn(a, now)
	}
	return l.next(one)
}

// next starts what can be started: in the lane that an attempt has left, which may have two more by what was learnt, then in a few others. A turn moves
// a lane to the end.
func (l *lanes) next(own *lane) (started []*work) {
	const turns = 4
	started = l.advance(l.advance(started, own), own)
	for range min(len(l.queue), turns) {
		one := l.queue[0]
		l.queue = l.queue[1:]
		started = l.advance(started, one)
		if one.queued = len(one.waiting) > 0; one.queued {
			l.queue = append(l.queue, one)
		}
	}
	return started
}

// advance starts the next delivery of a lane if it may.
func (l *lanes) advance(started []*work, one *lane) []*work {
	if len(one.waiting) == 0 || !l.mayRun(one) {
		return started
	}
	l.run(one)
	w := one.waiting[0]
	one.waiting[0] = nil
	one.waiting = one.waiting[1:]
	l.left(one, 1)
	return append(started, w)
}

// learn adapts the limit to an attempt's result.
func (one *lane) learn(a *Attempt, now time.Time) {
	switch a.Class {
	case ClassConnectTimeout, ClassTLSTimeout, ClassSendTimeout, ClassHeaderTimeout, ClassBodyTimeout:
		one.proven = false
		one.lower(a, 1, now)
		return
	}
	if a.StatusCode == http.StatusTooManyRequests {
		one.lower(a, 1, now)
		return
	}
	// Without an answer it has shown nothing, and what took so long to fail may as well have hung.
	if one.proven = a.Class == ""; !one.proven && a.Duration >= slowFailure {
		one.lower(a, 1, now)
	}
	if !a.Succeeded() {
		return
	}
	if one.slower(a.Duration.Seconds()) && one.limit > laneFloor {
		one.lower(a, laneFloor, now)
		return
	}
	if one.steady {
		one.limit = min(one.limit+1/one.limit, laneMost)
	} else {
		one.limit = min(one.limit+1, laneMost)
	}
}

// lower halves the limit, once for all attempts that were under way together.
func (one *lane) lower(a *Attempt, least float64, now time.Time) {
	if a.StartedAt.Before(one.lowered) {
		return
	}
	one.limit, one.steady, one.lowered = max(one.limit/2, least), true, now
}

// slower says whether attempts take more than twice as long as usual, by more than a few milliseconds.
func (one *lane) slower(seconds float64) bool {
	const quickly, slowly, known, slack = 1.0 / 16, 1.0 / 512, 64, 0.010
	if one.latencies++; one.latencies == 1 {
		one.recent, one.usual = seconds, seconds
	}
	one.recent += (seconds - one.recent) * quickly
	one.usual += (seconds - one.usual) * max(slowly, 1/float64(one.latencies))
	return one.latencies > known && one.recent > 2*one.usual+slack
}

// overdue takes out what has waited for too long, and forgets lanes that nobody uses.
func (l *lanes) overdue(now time.Time) (works []*work) {
	l.mu.Lock()
	defer l.mu.Unlock()
	queue := l.queue[:0]
	for _, one := range l.queue {
		n := 0
		for n < len(one.waiting) && now.Sub(one.waiting[n].entered) >= lanePatience {
			n++
		}
		works = append(works, one.waiting[:n]...)
		l.left(one, n)
		one.waiting = one.waiting[n:]
		if one.queued = len(one.waiting) > 0; one.queued {
			queue = append(queue, one)
		}
	}
	clear(l.queue[len(queue):])
	l.queue = queue
	if now.Sub(l.swept) < laneForget/4 {
		return works
	}
	l.swept = now
	for ref, one := range l.of {
		if one.running == 0 && len(one.waiting) == 0 && now.Sub(one.used) > laneForget {
			delete(l.of, ref)
		}
	}
	return works
}

// close lets nothing start any more and gives everything that waits.
func (l *lanes) close() (works []*work) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for _, one := range l.queue {
		works = append(works, one.waiting...)
		l.left(one, len(one.waiting))
		one.waiting = nil
	}
	l.queue = nil
	return works
}

// room says how many more deliveries an endpoint's lane has a use for: what it can start, and of an endpoint that answers as many again, for when these are over.
func (l *lanes) room(ref Ref, now time.Time) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	one := l.of[ref]
	if one == nil {
		return laneFirst
	}
	room := int(one.limit)
	if one.proven {
		room *= 2
	}
	if one.rate.PerSecond > 0 {
		if now.Before(one.dry.Add(-lanePatience / 2)) {
			return 0
		}
		room = min(room, max(int(one.rate.PerSecond*lanePatience.Seconds()/2), one.tokens, 1))
	}
	if l.tenants[ref.Tenant] >= max(l.slots/tenantShare, 1) || !one.proven && l.slots-l.running <= l.slots/reserveShare {
		return 0 // it could not start
	}
	return max(room-one.running-len(one.waiting), 0)
}
