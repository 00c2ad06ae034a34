package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/beaconpost/beaconpost/pkg/auth"
	"github.com/beaconpost/beaconpost/pkg/fault"
	"github.com/beaconpost/beaconpost/pkg/httpapi"
	"github.com/beaconpost/beaconpost/pkg/tenant"
	"github.com/beaconpost/beaconpost/services/monitor/internal/ledger"
)

// Samples gives monitors in numbers.
type Samples interface {
	// Samples gives at most limit+1; if it is more than limit, without the numbers.
	Samples(ctx context.Context, t tenant.ID, f ledger.SampleFilter, now time.Time) ([]ledger.Sample, error)
}

const (
	scrapedMost   = 10_000
	scrapesAtOnce = 2 // a full one takes 300 MB; others wait
)

// scraper answers a tenant's Prometheus.
type scraper struct {
	samples Samples
	series  *series
	room    chan struct{}
}

func (h *Handlers) registerScrape(api *httpapi.API) {
	s := &scraper{samples: h.Store, series: newSeries(), room: make(chan struct{}, scrapesAtOnce)}
	httpapi.Register(api, routes("results")(get, "/v1/monitors/metrics", "scrape-monitors", "Metrics of monitors, for Prometheus", auth.ScopeMonitorsRead, 0,
		fmt.Sprintf("In Prometheus' text format, or OpenMetrics if it is accepted. Labels name the monitor by its id; beaconpost_monitor_info has its name. "+
			"At most %d monitors: beyond, narrow each scrape.", scrapedMost)), s.scrape)
}

type scrapeInput struct {
	Tag       string `query:"tag" doc:"Only monitors with this tag."`
	ProjectID string `query:"project_id" format:"uuid" doc:"Only monitors of this project."`
}

func (s *scraper) scrape(_ context.Context, in *scrapeInput) (*huma.StreamResponse, error) {
	project, err := httpapi.OptionalID("project_id", in.ProjectID)
	if err != nil {
		return nil, err
	}
	f := ledger.SampleFilter{Tag: in.Tag, Project: project, Limit: scrapedMost}
	return &huma.StreamResponse{Body: func(hctx huma.Context) {
		r, w := humachi.Unwrap(hctx)
		if err := s.serve(w, r, f); err != nil {
			httpapi.WriteError(w, r, err)
		}
	}}, nil
}

// serve answers, unless it gives an error.
func (s *scraper) serve(w http.ResponseWriter, r *http.Request, f ledger.SampleFilter) error {
	ctx := r.Context()
	select {
	case s.room <- struct{}{}:
		defer func() { <-s.room }()
	case <-ctx.Done():
		return fault.Unavailable(ctx.Err(), time.Second, "Other scrapes are under way.")
	}
	samples, err := s.samples.Samples(ctx, httpapi.Tenant(ctx), f, time.Now())
	if err != nil {
		return err
	}
	if len(samples) > f.Limit {
		return fault.Invalid("too_many_monitors", "tag", fmt.Sprintf("Expected at most %d monitors. Narrow each scrape by tag or project_id.", f.Limit))
	}
	reg := prometheus.NewRegistry()
	if err := reg.Register(&collection{s.series, samples}); err != nil {
		return err
	}
	promhttp.HandlerFor(reg, promhttp.HandlerOpts{EnableOpenMetrics: true}).ServeHTTP(w, r)
	return nil
}
