package httpapi

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net/http"
	"sync"
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
	scrapesAtOnce = 2 // are made: a full one takes 300 MB; others wait
	scrapesOfOne  = 4 // are made, wait, or are being read: two servers, and some patience
	scrapeWrite   = 30 * time.Second
)

// scraper answers tenants' Prometheus.
type scraper struct {
	samples Samples
	series  *series
	room    chan struct{}

	mu sync.Mutex
	of map[tenant.ID]*scrapes
}

// scrapes are those of one tenant: one is made at a time, so that it never has all the room.
type scrapes struct {
	turn  chan struct{}
	count int
}

func (h *Handlers) registerScrape(api *httpapi.API) {
	s := &scraper{samples: h.Store, series: newSeries(), room: make(chan struct{}, scrapesAtOnce), of: map[tenant.ID]*scrapes{}}
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

// serve answers, unless it gives an error. What is made is made before anything is sent: who reads slowly holds up nobody.
func (s *scraper) serve(w http.ResponseWriter, r *http.Request, f ledger.SampleFilter) error {
	owner := httpapi.Tenant(r.Context())
	own, err := s.enter(owner)
	if err != nil {
		return err
	}
	defer s.leave(owner, own)
	made := &answer{header: http.Header{}, status: http.StatusOK}
	if err := s.make(made, r, own, f); err != nil {
		return err
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(scrapeWrite)) // a server has one; a test's may not
	maps.Copy(w.Header(), made.header)
	w.WriteHeader(made.status)
	_, _ = made.body.WriteTo(w) // who does not read it does not get it
	return nil
}

// make makes the answer when it is the tenant's turn and there is room.
func (s *scraper) make(made *answer, r *http.Request, own *scrapes, f ledger.SampleFilter) error {
	ctx := r.Context()
	if err := take(ctx, own.turn); err != nil {
		return err
	}
	defer func() { <-own.turn }()
	if err := take(ctx, s.room); err != nil {
		return err
	}
	defer func() { <-s.room }()
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
	promhttp.HandlerFor(reg, promhttp.HandlerOpts{EnableOpenMetrics: true}).ServeHTTP(made, r)
	return nil
}

func take(ctx context.Context, room chan struct{}) error {
	select {
	case room <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fault.Unavailable(ctx.Err(), time.Second, "Other scrapes are under way.")
	}
}

func (s *scraper) enter(t tenant.ID) (*scrapes, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	own := s.of[t]
	if own == nil {
		own = &scrapes{turn: make(chan struct{}, 1)}
		s.of[t] = own
	}
	if own.count == scrapesOfOne {
		return nil, fault.TooManyRequests("too_many_scrapes", time.Second, fmt.Sprintf("%d scrapes of yours are under way.", own.count))
	}
	own.count++
	return own, nil
}

func (s *scraper) leave(t tenant.ID, own *scrapes) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if own.count--; own.count == 0 {
		delete(s.of, t)
	}
}

// answer is one that is made before it is sent.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

var _ http.ResponseWriter = (*answer)(nil)

func (a *answer) Header() http.Header            { return a.header }
func (a *answer) WriteHeader(status int)         { a.status = status }
func (a *answer) Write(some []byte) (int, error) { return a.body.Write(some) }
