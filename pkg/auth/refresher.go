package auth

import (
	"context"
	"sync"
	"time"

	"github.com/beaconpost/beaconpost/pkg/backoff"
)

// refresher owns the goroutine that repeats a load: regularly, sooner after a failure, and on demand.
type refresher struct {
	load   func(context.Context) error // called by one goroutine at a time
	every  time.Duration               // between loads, ± 10 %
	atMost time.Duration               // least time between the start of a load and one on demand

	mu      sync.Mutex
	started time.Time     // of the last load
	loading chan struct{} // closed when the load that is wanted or running has ended; nil if there is none

	kick chan struct{} // one load is wanted
	stop context.CancelFunc
	done chan struct{}
}

// start loads once before it returns, and then keeps loading until close. ctx bounds the first load only.
func (r *refresher) start(ctx context.Context) error {
	r.kick, r.done = make(chan struct{}, 1), make(chan struct{})
	err := r.attempt(ctx)
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	r.stop = stop
	go r.run(running, err)
	return err
}

func (r *refresher) run(ctx context.Context, err error) {
	defer close(r.done)
	failures := 0
	for {
		failures++
		if err == nil {
			failures = 0
		}
		timer := time.NewTimer(r.pause(failures))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-r.kick:
			timer.Stop()
		case <-timer.C:
		}
		err = r.attempt(ctx)
	}
}

func (r *refresher) pause(failures int) time.Duration {
	if failures == 0 {
		regular := backoff.Policy{Schedule: []time.Duration{r.every}, Jitter: 0.1}
		return regular.Delay(1, nil)
	}
	return backoff.Policy{Base: time.Second, Cap: max(r.every, time.Second)}.Delay(failures, nil)
}

func (r *refresher) attempt(ctx context.Context) error {
	r.mu.Lock()
	if r.loading == nil {
		r.loading = make(chan struct{})
	}
	ended := r.loading
	r.started = time.Now()
	select {
	case <-r.kick: // whoever wants a load gets this one
	default:
	}
	r.mu.Unlock()

	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	err := r.load(ctx)

	r.mu.Lock()
	r.loading = nil
	r.mu.Unlock()
	close(ended)
	return err
}

// demand waits for a load: the one in flight, or a new one. It returns at once if the last load is too recent, and when
// ctx or the refresher ends.
func (r *refresher) demand(ctx context.Context) {
	ended := r.join()
	if ended == nil {
		return
	}
	select {
	case <-ended:
	case <-ctx.Done():
	case <-r.done:
	}
}

// join gives the end of the load that is running or wanted. If there is none it wants one, or gives nil if that is too
// soon.
func (r *refresher) join() chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.loading != nil {
		return r.loading
	}
	if time.Since(r.started) < r.atMost {
		return nil
	}
	r.loading = make(chan struct{})
	r.kick <- struct{}{} // has room: what was in it was taken by the load that ended
	return r.loading
}

// close ends the goroutine and waits for it.
func (r *refresher) close() {
	r.stop()
	<-r.done
}
