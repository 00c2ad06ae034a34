package httpapi

import (
	"context"
	"time"

	"github.com/beaconpost/beaconpost/pkg/auth"
	"github.com/beaconpost/beaconpost/pkg/httpapi"
	"github.com/beaconpost/beaconpost/services/monitor/internal/ledger"
)

const (
	day   = 24 * time.Hour
	month = 30 * day
)

func (h *Handlers) registerResults(api *httpapi.API) {
	route := routes("results")
	read := auth.ScopeMonitorsRead
	httpapi.Register(api, route(get, "/v1/monitors/{id}/checks", "list-checks", "List checks of a monitor, newest slot first", read, 0,
		"Without their evidence. For a heartbeat these are the calls that said how a job ended."), h.listChecks)
	httpapi.Register(api, route(get, "/v1/monitors/{id}/checks/{check_id}", "get-check", "Read a check with its evidence", read, 0, ""), h.getCheck)
	httpapi.Register(api, route(get, "/v1/monitors/{id}/intervals", "list-intervals", "List the statuses that a monitor was in, newest first", read, 0,
		"The ledger that uptime is read from: gapless, and whole intervals even where they begin before the range. The last 30 days unless from and to say otherwise."), h.listIntervals)
	httpapi.Register(api, route(get, "/v1/monitors/{id}/uptime", "monitor-uptime", "For how long a monitor was in which status", read, 0,
		"Seconds in each status, so neither a changed interval nor a missed check falsifies it. The last 30 days unless from and to say otherwise."), h.uptime)
	httpapi.Register(api, route(get, "/v1/monitors/{id}/latency", "monitor-latency", "How fast a monitor answered", read, 0,
		"Percentiles of the checks that are up or degraded, over the whole range and for each step of it, made of histograms that are added up: off by a fifth at most. "+
			"The range is made wider to whole buckets. The last 24 hours unless from and to say otherwise."), h.latency)
	httpapi.Register(api, route(get, "/v1/monitors/{id}/schedule", "monitor-schedule", "Whether a monitor was checked when it was to be", read, 0,
		"Every slot ends checked, not checked (our own fault) or missed. The range is made wider to whole buckets. The last 24 hours unless from and to say otherwise."), h.schedule)
}

type secondsView struct {
	Up          float64 `json:"up" doc:"As expected."`
	Degraded    float64 `json:"degraded" doc:"Slow, or its certificate ends soon."`
	Down        float64 `json:"down" doc:"Not as expected."`
	Maintenance float64 `json:"maintenance" doc:"A maintenance window was open."`
	Unknown     float64 `json:"unknown" doc:"Not checked, or by too few regions."`
	Paused      float64 `json:"paused" doc:"It was not to be checked."`
}

type sloView struct {
	Target            float64      `json:"target" doc:"The share of time that it is to be up."`
	BudgetSeconds     float64      `json:"budget_seconds" doc:"For how long it may be down in the time of the range that counts."`
	BudgetLeftSeconds float64      `json:"budget_left_seconds" doc:"Below 0 exactly if the ratio is below the target."`
	BurnRate          burnRateView `json:"burn_rate" doc:"How many times as fast as the target permits the budget is spent, in times that end with the range. null: no time counts."`
}

type burnRateView struct {
	Hour      *float64 `json:"1h" doc:"The last hour."`
	SixHours  *float64 `json:"6h" doc:"The last six hours."`
	ThreeDays *float64 `json:"3d" doc:"The last three days."`
}

type uptimeView struct {
	From    time.Time   `json:"from" doc:"Of what was added up."`
	To      time.Time   `json:"to" doc:"Exclusive."`
	Seconds secondsView `json:"seconds" doc:"In each status. Their sum is less than the range if the monitor did not exist all the time."`
	Ratio   *float64    `json:"ratio" doc:"(up + degraded) / (up + degraded + down). null: no time counts."`
	SLO     *sloView    `json:"slo,omitempty" doc:"Absent: the monitor has no target."`
}

type uptimeInput struct {
	IDPath
	RangeQuery
}

func (h *Handlers) uptime(ctx context.Context, in *uptimeInput) (*struct{ Body uptimeView }, error) {
	r, err := in.times(month, time.Now())
	if err != nil {
		return nil, err
	}
	ranges := []ledger.Range{r, {From: r.To.Add(-time.Hour), To: r.To}, {From: r.To.Add(-6 * time.Hour), To: r.To}, {From: r.To.Add(-3 * day), To: r.To}}
	times, target, err := h.Store.Times(ctx, httpapi.Tenant(ctx), in.ID, ranges)
	if err != nil {
		return nil, err
	}
	whole := times[0]
	v := uptimeView{From: r.From, To: r.To, Ratio: known(whole.Ratio()), Seconds: secondsView{
		whole.Up.Seconds(), whole.Degraded.Seconds(), whole.Down.Seconds(), whole.Maintenance.Seconds(), whole.Unknown.Seconds(), whole.Paused.Seconds(),
	}}
	if target != 0 {
		budget, left := whole.Budget(target)
		v.SLO = &sloView{target, budget.Seconds(), left.Seconds(), burnRateView{
			known(times[1].BurnRate(target)), known(times[2].BurnRate(target)), known(times[3].BurnRate(target)),
		}}
	}
	return &struct{ Body uptimeView }{v}, nil
}

func known(value float64, ok bool) *float64 {
	if !ok {
		return nil
	}
	return &value
}
