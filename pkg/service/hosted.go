package service

import (
	"context"
	"net/http"

	"github.com/beaconpost/beaconpost/pkg/httpapi"
)

var _ Service = (*Hosted)(nil)

// Hosted is what a service embeds to be hosted: its platform, its API, and what readiness needs beyond the platform's.
type Hosted struct {
	Platform *Platform
	API      http.Handler
	Check    func(context.Context) error // nil: nothing
}

// Handler serves the public API.
func (h *Hosted) Handler() http.Handler { return h.API }

// Admin serves metrics, health and pprof.
func (h *Hosted) Admin() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", httpapi.Admin(h.Platform.Telemetry.Registry, h.Ready))
	mux.Handle("/log-level", h.Platform.Telemetry.LogLevel)
	return mux
}

// Ready says whether requests can be served now, or why not.
func (h *Hosted) Ready(ctx context.Context) error {
	if err := h.Platform.Ready(ctx); err != nil || h.Check == nil {
		return err
	}
	return h.Check(ctx)
}

// Drain makes readiness fail.
func (h *Hosted) Drain() { h.Platform.Drain() }

// Stop drains and closes everything, in the reverse order of its start.
func (h *Hosted) Stop(ctx context.Context) error { return h.Platform.Close(ctx) }
