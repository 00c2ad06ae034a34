// Package lifecycle owns how things start and stop: named stop steps in reverse order of start, each bounded; goroutines
// with an owner; periodic work with a random first delay.
//
// It knows no service and decides no order beyond "last started, first stopped".
package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// Stack collects stop steps. It is safe for concurrent use; a zero Stack is empty.
type Stack struct {
	mu    sync.Mutex
	steps []step
}

type step struct {
	name  string
	limit time.Duration
	stop  func(context.Context) error
}

// Push adds a step. It runs before all steps pushed earlier, with limit as its bound.
func (s *Stack) Push(name string, limit time.Duration, stop func(context.Context) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.steps = append(s.steps, step{name, limit, stop})
}

// Unwind runs the steps, last pushed first, and empties the stack. Every step runs, whatever the others return; ctx bounds the
// whole. The errors come back joined, each with its step's name.
func (s *Stack) Unwind(ctx context.Context) error {
	s.mu.Lock()
	steps := s.steps
	s.steps = nil
	s.mu.Unlock()
	var errs []error
	for i := len(steps) - 1; i >= 0; i-- {
		bounded, cancel := context.WithTimeout(ctx, steps[i].limit)
		if err := steps[i].stop(bounded); err != nil {
			errs = append(errs, fmt.Errorf("stop %s: %w", steps[i].name, err))
		}
		cancel()
	}
	return errors.Join(errs...)
}

// Group owns goroutines that run until its context ends.
type Group struct {
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// NewGroup makes a group. Values of ctx are passed on, its cancellation too.
func NewGroup(ctx context.Context) *Group {
	ctx, cancel := context.WithCancel(ctx)
	return &Group{ctx: ctx, cancel: cancel}
}

// Go runs fn with the group's context. fn returns when that ends.
func (g *Group) Go(fn func(context.Context)) { g.wg.Go(func() { fn(g.ctx) }) }

// Every runs fn each interval until the group stops, the first time after a random part of the interval, so that replicas that
// start together do not work together. A run that takes long delays the next one.
func (g *Group) Every(interval time.Duration, fn func(context.Context)) {
	g.Go(func(ctx context.Context) {
		timer := time.NewTimer(rand.N(interval))
		defer timer.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-timer.C:
				fn(ctx)
				timer.Reset(interval)
			}
		}
	})
}

// Stop cancels the group's context and waits for its goroutines, at most until ctx ends.
func (g *Group) Stop(ctx context.Context) error {
	g.cancel()
	done := make(chan struct{})
	go func() {
		g.wg.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for goroutines: %w", ctx.Err())
	}
}

// Signals gives a context that ends with SIGINT or SIGTERM. After that a second signal ends the process at once.
func Signals(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

// Wait sleeps for d, or less if ctx ends first. It reports whether d passed.
func Wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
