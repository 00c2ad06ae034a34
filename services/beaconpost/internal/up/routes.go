package up

import (
	"context"
	"io"
	"net/http"

	"github.com/go-chi/chi/v5"

	"github.com/beaconpost/beaconpost/pkg/httpapi"
)

const index = `<!doctype html><html lang="en"><meta charset="utf-8"><title>Beaconpost</title>
<style>body{font:16px/1.6 system-ui,sans-serif;max-width:40rem;margin:3rem auto;padding:0 1rem}</style>
<h1>Beaconpost</h1><p>Everything is running. The API in three parts:</p>
<ul><li><a href="/docs/ingest">ingest</a>: events, endpoints, API keys, projects, tenants</li>
<li><a href="/docs/delivery">delivery</a>: deliveries and attempts</li>
<li><a href="/docs/monitor">monitor</a>: monitors, incidents, maintenance, alerts, heartbeats</li></ul></html>
`

// routes puts the three public APIs behind one address, by path, as an Ingress would.
func (s *system) routes(ready func(context.Context) error) http.Handler {
	ingest, delivery, monitor := s.services[0].Handler(), s.services[1].Handler(), s.services[2].Handler()
	r := chi.NewRouter()
	r.Get("/readyz", httpapi.Readyz(ready))
	r.Get("/healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	page := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, index)
	}
	r.Get("/", page)
	r.Get("/docs", page)
	for _, prefix := range []string{"/v1/deliveries", "/docs/delivery", "/openapi/delivery.json"} {
		r.Handle(prefix, delivery)
		r.Handle(prefix+"/*", delivery)
	}
	for _, prefix := range []string{
		"/v1/monitors", "/v1/incidents", "/v1/maintenance-windows", "/v1/alert-channels", "/v1/alert-policies", "/v1/heartbeats", "/docs/monitor", "/openapi/monitor.json",
	} {
		r.Handle(prefix, monitor)
		r.Handle(prefix+"/*", monitor)
	}
	r.NotFound(ingest.ServeHTTP)
	r.MethodNotAllowed(ingest.ServeHTTP)
	return r
}
