package httpapi

import (
	"context"
	"fmt"
	"time"

	"github.com/beaconpost/beaconpost/pkg/fault"
	"github.com/beaconpost/beaconpost/pkg/histogram"
	"github.com/beaconpost/beaconpost/pkg/httpapi"
	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
	"github.com/beaconpost/beaconpost/services/monitor/internal/ledger"
)

// pointsMost is how long a series may be: with three regions that many are read in less than 50 ms.
const pointsMost = 1000

// LatencyView is how fast the checks of some time answered. It is exported so that the framework describes what embeds it.
type LatencyView struct {
	Answers int64             `json:"answers" doc:"Checks that are up or degraded, which the times are of."`
	Mean    *httpapi.Duration `json:"mean" doc:"null: there was no answer."`
	P50     *httpapi.Duration `json:"p50" doc:"Median."`
	P90     *httpapi.Duration `json:"p90" doc:"What nine of ten did not exceed."`
	P95     *httpapi.Duration `json:"p95" doc:"What 95 of 100 did not exceed."`
	P99     *httpapi.Duration `json:"p99" doc:"What 99 of 100 did not exceed."`
}

func viewLatency(r *ledger.Rollup) LatencyView {
	v := LatencyView{Answers: r.Latency.Total()}
	if v.Answers == 0 {
		return v
	}
	mean := strip(r.Duration / time.Duration(v.Answers))
	v.Mean = &mean
	v.P50, v.P90, v.P95, v.P99 = quantile(&r.Latency, .5), quantile(&r.Latency, .9), quantile(&r.Latency, .95), quantile(&r.Latency, .99)
	return v
}

// quantile is nil if nothing was counted.
func quantile(c *histogram.Counts, q float64) *httpapi.Duration {
	if c.Total() == 0 {
		return nil
	}
	d := strip(c.Quantile(q))
	return &d
}

type pointView struct {
	At time.Time `json:"at" doc:"Where the step begins."`
	LatencyView
	Up         int64 `json:"up" doc:"Checks of the step with this outcome."`
	Degraded   int64 `json:"degraded" doc:"Checks of the step with this outcome."`
	Down       int64 `json:"down" doc:"Checks of the step with this outcome."`
	NotChecked int64 `json:"not_checked" doc:"Checks of the step with this outcome."`
	Missed     int64 `json:"missed" doc:"Slots at which nobody was there."`
}

type latencyView struct {
	From   time.Time `json:"from" doc:"Of what was added up."`
	To     time.Time `json:"to" doc:"Exclusive."`
	Step   string    `json:"step" enum:"5m,1h,1d" doc:"Longer than the one asked for where what is that old is kept by longer ones only."`
	Region string    `json:"region,omitempty" doc:"Absent: all."`
	LatencyView
	Series []pointView `json:"series" nullable:"false" doc:"Steps without a check are left out."`
}

type latencyInput struct {
	IDPath
	RangeQuery
	Step   string `query:"step" enum:"5m,1h,1d" doc:"Of the series, days in UTC; one that gives a few hundred points unless given."`
	Region string `query:"region" maxLength:"32"`
}

func (h *Handlers) latency(ctx context.Context, in *latencyInput) (*struct{ Body latencyView }, error) {
	now := time.Now()
	r, err := in.times(day, now)
	if err != nil {
		return nil, err
	}
	plan := h.Kept.Plan(r, ledger.Step(in.Step), now)
	if plan.To.Sub(plan.From)/plan.Step.Length() > pointsMost {
		return nil, fault.Invalid("invalid_range", "step", fmt.Sprintf("Expected a longer step or a shorter range: this would be more than %d points.", pointsMost))
	}
	rollups, err := h.Store.Rollups(ctx, httpapi.Tenant(ctx), in.ID, in.Region, plan.Spans)
	if err != nil {
		return nil, err
	}
	series, whole := ledger.Series(rollups, plan.Step)
	v := latencyView{From: plan.From, To: plan.To, Step: string(plan.Step), Region: in.Region, LatencyView: viewLatency(&whole), Series: make([]pointView, len(series))}
	for i := range series {
		p := &series[i]
		v.Series[i] = pointView{p.Bucket, viewLatency(p), p.Up, p.Degraded, p.Down, p.NotChecked, p.Missed}
	}
	return &struct{ Body latencyView }{v}, nil
}

type scheduleView struct {
	From       time.Time         `json:"from" doc:"Of what was added up."`
	To         time.Time         `json:"to" doc:"Exclusive."`
	Promised   int64             `json:"promised" doc:"Slots: checked + not_checked + missed."`
	Checked    int64             `json:"checked" doc:"Slots whose check said something of the target."`
	NotChecked int64             `json:"not_checked" doc:"Slots at which we were there and could not check."`
	Missed     int64             `json:"missed" doc:"Slots at which nobody was there."`
	Late       int64             `json:"late" doc:"Checks, of those, that began a second or more after their slot."`
	Ratio      *float64          `json:"ratio" doc:"checked / promised. null: there was no slot."`
	LagP50     *httpapi.Duration `json:"lag_p50" doc:"From a slot's moment to the start of its check."`
	LagP99     *httpapi.Duration `json:"lag_p99" doc:"What 99 of 100 did not exceed."`
	NextSlotAt *time.Time        `json:"next_slot_at" doc:"null: the monitor is paused or is a heartbeat."`
}

type scheduleInput struct {
	IDPath
	RangeQuery
	Region string `query:"region" maxLength:"32"`
}

func (h *Handlers) schedule(ctx context.Context, in *scheduleInput) (*struct{ Body scheduleView }, error) {
	now := time.Now()
	r, err := in.times(day, now)
	if err != nil {
		return nil, err
	}
	t := httpapi.Tenant(ctx)
	w, err := h.Store.Monitor(ctx, t, in.ID)
	if err != nil {
		return nil, err
	}
	plan := h.Kept.Plan(r, ledger.Days, now)
	rollups, err := h.Store.Rollups(ctx, t, in.ID, in.Region, plan.Spans)
	if err != nil {
		return nil, err
	}
	_, whole := ledger.Series(rollups, plan.Step)
	v := scheduleView{
		From: plan.From, To: plan.To, Promised: whole.Promised(), Checked: whole.Checked(), NotChecked: whole.NotChecked, Missed: whole.Missed, Late: whole.Late,
		LagP50: quantile(&whole.Lag, .5), LagP99: quantile(&whole.Lag, .99),
	}
	if v.Promised > 0 {
		v.Ratio = known(float64(v.Checked)/float64(v.Promised), true)
	}
	if !w.Paused && w.Spec.Kind != check.Heartbeat {
		s := w.Schedule()
		v.NextSlotAt = optional(s.At(s.Slot(now) + 1))
	}
	return &struct{ Body scheduleView }{v}, nil
}
