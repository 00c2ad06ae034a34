package service

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/beaconpost/beaconpost/pkg/httpapi"
)

// Service is what a process hosts.
type Service interface {
	Handler() http.Handler // the public API
	Admin() http.Handler   // metrics, health, pprof
	Drain()                // readiness off
	Ready(ctx context.Context) error
	// Stop drains and closes everything, within ctx. It is called after no request runs any more.
	Stop(ctx context.Context) error
}

// requestLimit bounds what requests in flight may take of a stop; none is meant to take that long, and the drain after it needs its time.
const requestLimit = 10 * time.Second

// Host serves s on two addresses until ctx ends, then stops it in order: readiness off, requests finished, work drained, connections
// closed, admin port last.
func Host(ctx context.Context, s Service, listen, adminListen string, grace time.Duration) error {
	admin, err := httpapi.Serve(ctx, adminListen, s.Admin())
	if err != nil {
		return errors.Join(err, stop(ctx, grace, s.Stop))
	}
	public, err := httpapi.Serve(ctx, listen, s.Handler())
	if err != nil {
		return errors.Join(err, stop(ctx, grace, s.Stop), stop(ctx, grace, admin.Stop))
	}
	<-ctx.Done()
	s.Drain()
	return errors.Join(stop(ctx, min(grace, requestLimit), public.Stop), stop(ctx, grace, s.Stop), stop(ctx, time.Second, admin.Stop))
}

// stop runs one step although ctx has ended.
func stop(ctx context.Context, limit time.Duration, step func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	if err := step(ctx); err != nil {
		return fmt.Errorf("shutdown: %w", err)
	}
	return nil
}
