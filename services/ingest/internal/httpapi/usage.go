package httpapi

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/beaconpost/beaconpost/pkg/auth"
	"github.com/beaconpost/beaconpost/pkg/httpapi"
	"github.com/beaconpost/beaconpost/pkg/tenant"
	"github.com/beaconpost/beaconpost/services/ingest/internal/account"
)

// UsagePeriod is exported so that the framework describes what embeds it.
type UsagePeriod struct {
	From time.Time `query:"from" doc:"RFC 3339; the hour or day of UTC that it is in is the first one. Unless given a day ago, or 30 days ago by day."`
	To   time.Time `query:"to" doc:"RFC 3339, exclusive; the hour or day that it is in is the last one. Now unless given."`
}

// UsageQuery adds the length of buckets.
type UsageQuery struct {
	UsagePeriod
	By string `query:"by" enum:"hour,day" default:"hour" doc:"How long the buckets are, in UTC: at most 92 days of hours, 400 of days."`
}

func (q UsageQuery) period() (account.Period, error) {
	return account.NewPeriod(q.From, q.To, account.Step(q.By), time.Now())
}

type tenantUsageInput struct {
	ID uuid.UUID `path:"id" format:"uuid"`
	UsageQuery
}

type topUsageInput struct {
	UsagePeriod
	Sort  string `query:"sort" enum:"events,event_bytes,attempts,checks" default:"events" doc:"The number by which the largest come first; tenants that have none of it are left out."`
	Limit int    `query:"limit" minimum:"1" maximum:"200" default:"50"`
}

// UsageView is exported so that the framework describes what embeds it.
type UsageView struct {
	Events        int64 `json:"events" doc:"Accepted from producers. A repeated request with the same Idempotency-Key is one."`
	EventBytes    int64 `json:"event_bytes" doc:"Of their payloads."`
	Notices       int64 `json:"notices" doc:"Events that Beaconpost made itself, such as endpoint.failing and monitor.down. They are not among events."`
	Deliveries    int64 `json:"deliveries" doc:"That were made of events and notices: one for each endpoint that one goes to."`
	Attempts      int64 `json:"attempts" doc:"Requests to endpoints, by the time of their record. Tests are not among them."`
	Delivered     int64 `json:"delivered" doc:"Attempts that succeeded."`
	Exhausted     int64 `json:"exhausted" doc:"Attempts after which their delivery was given up."`
	Checks        int64 `json:"checks" doc:"Of monitors, by the time of their record: those of every region, confirmations, and calls of heartbeats. Those that could not be made are not among them."`
	Notifications int64 `json:"notifications" doc:"That were sent to alert channels: one for each incident and channel, even if a message tells of several."`
}

func viewUsage(u account.Usage) UsageView {
	return UsageView{u.Events, u.EventBytes, u.Notices, u.Deliveries, u.Attempts, u.Delivered, u.Exhausted, u.Checks, u.Notifications}
}

// CountedView is exported so that the framework describes what embeds it.
type CountedView struct {
	CountedFrom  time.Time `json:"counted_from" doc:"What was before is not known: of the hour or day that it is in, there is a part."`
	CountedUntil time.Time `json:"counted_until" doc:"Until then events, deliveries and attempts are counted once and for all; as a rule two to three minutes ago. Events, their bytes, notices and the deliveries made of them are counted for this answer, up to fifteen minutes after it."`
	ChecksUntil  time.Time `json:"checks_counted_until" doc:"The same of checks and notifications; none are counted after it."`
}

func viewCounted(c account.Counted) CountedView { return CountedView{c.From, c.Until, c.ChecksUntil} }

type usageBucketView struct {
	Begin      time.Time `json:"begin"`
	Open       bool      `json:"open" doc:"Events, deliveries and attempts of it are still being counted."`
	ChecksOpen bool      `json:"checks_open" doc:"Checks and notifications of it are still being counted."`
	UsageView
}

type usageReportView struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	By   string    `json:"by" enum:"hour,day"`
	CountedView
	Total   UsageView         `json:"total"`
	Buckets []usageBucketView `json:"buckets" nullable:"false" doc:"In order; those in which nothing was used are left out."`
}

type topUsageView struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	CountedView
	Data []tenantUsageView `json:"data" nullable:"false"`
}

type tenantUsageView struct {
	TenantID uuid.UUID `json:"tenant_id"`
	Name     string    `json:"name"`
	UsageView
}

func (h *Handlers) registerUsage(api *httpapi.API) {
	httpapi.Register(api, httpapi.Route{
		Method: get, Path: "/v1/usage", ID: "get-usage", Summary: "What the tenant used, by hour or day", Tag: "usage", Scope: auth.ScopeUsageRead,
		Doc: "Hours that are not open do not change any more: bills can be made of them. What belongs to an hour is what was stored in it.",
	}, h.usage)
	httpapi.Register(api, httpapi.Route{Method: get, Path: "/v1/tenants/{id}/usage", ID: "get-tenant-usage", Summary: "What a tenant used, by hour or day", Tag: "tenants", Scope: auth.ScopeOperator}, h.tenantUsage)
	httpapi.Register(api, httpapi.Route{
		Method: get, Path: "/v1/tenants/usage", ID: "list-tenant-usage", Summary: "Which tenants used most", Tag: "tenants", Scope: auth.ScopeOperator,
		Doc: "Of at most 31 days. What was not counted yet, the last two to three minutes as a rule, is not among it.",
	}, h.topUsage)
}

func (h *Handlers) usage(ctx context.Context, in *UsageQuery) (*struct{ Body usageReportView }, error) {
	return h.usageOf(ctx, httpapi.Tenant(ctx), *in)
}

func (h *Handlers) tenantUsage(ctx context.Context, in *tenantUsageInput) (*struct{ Body usageReportView }, error) {
	t, err := h.Accounts.Tenant(ctx, tenant.ID(in.ID))
	if err != nil {
		return nil, err
	}
	return h.usageOf(ctx, t.ID, in.UsageQuery)
}

func (h *Handlers) usageOf(ctx context.Context, t tenant.ID, query UsageQuery) (*struct{ Body usageReportView }, error) {
	period, err := query.period()
	if err != nil {
		return nil, err
	}
	counted, buckets, err := h.Accounts.Usage(ctx, t, period)
	if err != nil {
		return nil, err
	}
	view := usageReportView{From: period.From, To: period.Until, By: string(period.Step), CountedView: viewCounted(counted), Buckets: make([]usageBucketView, len(buckets))}
	var total account.Usage
	for i, b := range buckets {
		total.Add(b.Usage)
		end := period.End(b.Begin)
		view.Buckets[i] = usageBucketView{b.Begin, end.After(counted.Until), end.After(counted.ChecksUntil), viewUsage(b.Usage)}
	}
	view.Total = viewUsage(total)
	return &struct{ Body usageReportView }{view}, nil
}

// topDays bounds the hours of all tenants that are added up for one answer.
const topDays = 31

func (h *Handlers) topUsage(ctx context.Context, in *topUsageInput) (*struct{ Body topUsageView }, error) {
	period, err := account.NewPeriod(in.From, in.To, account.Hourly, time.Now())
	if err != nil || period.Asked > topDays*24*time.Hour {
		return nil, account.InvalidPeriod(topDays)
	}
	counted, top, err := h.Accounts.TopUsage(ctx, period, account.UsageSort(in.Sort), in.Limit)
	if err != nil {
		return nil, err
	}
	view := topUsageView{From: period.From, To: period.Until, CountedView: viewCounted(counted), Data: make([]tenantUsageView, len(top))}
	for i, u := range top {
		view.Data[i] = tenantUsageView{u.Tenant.UUID(), u.Name, viewUsage(u.Usage)}
	}
	return &struct{ Body topUsageView }{view}, nil
}
