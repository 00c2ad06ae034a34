package httpapi

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/beaconpost/beaconpost/pkg/histogram"
	"github.com/beaconpost/beaconpost/pkg/httpapi"
	"github.com/beaconpost/beaconpost/services/ingest/internal/account"
	"github.com/beaconpost/beaconpost/services/ingest/internal/endpoint"
)

type statsInput struct {
	ID   uuid.UUID `path:"id" format:"uuid"`
	From time.Time `query:"from" doc:"RFC 3339; the hour that it is in is the first one. 24 hours ago unless given."`
	To   time.Time `query:"to" doc:"RFC 3339, exclusive; the hour that it is in is the last one. Now unless given."`
}

type percentiles struct {
	P50 httpapi.Duration `json:"p50"`
	P95 httpapi.Duration `json:"p95"`
	P99 httpapi.Duration `json:"p99"`
}

// CountsView is exported so that the framework describes what embeds it.
type CountsView struct {
	AttemptsSucceeded int64        `json:"attempts_succeeded"`
	AttemptsFailed    int64        `json:"attempts_failed"`
	Delivered         int64        `json:"delivered" doc:"Deliveries."`
	Exhausted         int64        `json:"exhausted" doc:"Deliveries."`
	SuccessRatio      *float64     `json:"success_ratio" doc:"Of attempts; null: there were none."`
	AttemptDuration   *percentiles `json:"attempt_duration" doc:"Of attempts that succeeded, to about a fifth; null: there were none."`
	Latency           *percentiles `json:"latency" doc:"From an event's acceptance to its delivery, retries included, to about a fifth; null: there were none."`
}

type hourView struct {
	Hour time.Time `json:"hour" doc:"Its beginning."`
	CountsView
}

type statsView struct {
	EndpointID uuid.UUID  `json:"endpoint_id"`
	From       time.Time  `json:"from"`
	To         time.Time  `json:"to"`
	Total      CountsView `json:"total"`
	Hours      []hourView `json:"hours" nullable:"false" doc:"In order; those in which nothing happened are left out."`
}

func (h *Handlers) endpointStats(ctx context.Context, in *statsInput) (*struct{ Body statsView }, error) {
	period, err := account.NewPeriod(in.From, in.To, account.Hourly, time.Now())
	if err != nil {
		return nil, err
	}
	hours, err := h.Endpoints.Stats(ctx, httpapi.Tenant(ctx), in.ID, period.From, period.Until)
	if err != nil {
		return nil, err
	}
	view := statsView{EndpointID: in.ID, From: period.From, To: period.Until, Hours: make([]hourView, len(hours))}
	var total endpoint.Hour
	for i := range hours {
		total.Add(&hours[i])
		view.Hours[i] = hourView{hours[i].Begin, viewCounts(&hours[i])}
	}
	view.Total = viewCounts(&total)
	return &struct{ Body statsView }{view}, nil
}

func viewCounts(h *endpoint.Hour) CountsView {
	v := CountsView{
		AttemptsSucceeded: h.Succeeded, AttemptsFailed: h.Failed, Delivered: h.Delivered, Exhausted: h.Exhausted,
		AttemptDuration: viewPercentiles(&h.Attempts), Latency: viewPercentiles(&h.Latencies),
	}
	if all := h.Succeeded + h.Failed; all > 0 {
		ratio := float64(h.Succeeded) / float64(all)
		v.SuccessRatio = &ratio
	}
	return v
}

func viewPercentiles(c *histogram.Counts) *percentiles {
	if c.Total() == 0 {
		return nil
	}
	at := func(q float64) httpapi.Duration { return httpapi.Duration(c.Quantile(q).Round(10 * time.Microsecond)) }
	return &percentiles{at(0.5), at(0.95), at(0.99)}
}
