package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/beaconpost/beaconpost/pkg/auth"
	"github.com/beaconpost/beaconpost/pkg/httpapi"
	"github.com/beaconpost/beaconpost/pkg/tenant"
	"github.com/beaconpost/beaconpost/pkg/uuid7"
	"github.com/beaconpost/beaconpost/services/monitor/internal/calendar"
	"github.com/beaconpost/beaconpost/services/monitor/internal/ledger"
)

// Windows keeps times of maintenance.
type Windows interface {
	CreateWindow(ctx context.Context, t tenant.ID, w ledger.Window) error
	ReplaceWindow(ctx context.Context, t tenant.ID, w ledger.Window) error
	Windows(ctx context.Context, t tenant.ID, cursor *uuid.UUID, limit int) ([]ledger.Window, error)
	Window(ctx context.Context, t tenant.ID, id uuid.UUID) (ledger.Window, error)
	DeleteWindow(ctx context.Context, t tenant.ID, id uuid.UUID) error
}

// WindowSettings are what a caller says of a window. It is exported so that the framework describes what embeds it.
type WindowSettings struct {
	Name     string      `json:"name" doc:"1 to 200 characters." example:"Backups"`
	Monitors []uuid.UUID `json:"monitors,omitempty" doc:"At most 1000. Without monitors and tags it is for all monitors."`
	Tags     []string    `json:"tags,omitempty" doc:"Monitors with one of these too, at most 50."`
	WindowTimes
}

// WindowTimes say when there is maintenance: once, or again and again. Its fields are those of calendar.Window.
type WindowTimes struct {
	StartsAt time.Time `json:"starts_at,omitzero" required:"false" doc:"RFC 3339; of one that happens once."`
	EndsAt   time.Time `json:"ends_at,omitzero" required:"false" doc:"RFC 3339; 1 minute to 366 days after starts_at."`
	RRule    string    `json:"rrule,omitempty" maxLength:"500" doc:"RFC 5545, such as FREQ=WEEKLY;BYDAY=SU. Excludes cron, starts_at and ends_at."`
	Cron     string    `json:"cron,omitempty" maxLength:"200" doc:"Five fields: when occurrences begin. Excludes rrule, starts_at and ends_at."`
	Start    string    `json:"start,omitempty" maxLength:"30" doc:"Local time, such as 2026-11-24T02:30:00, at which the rule begins; with cron it may be absent."`
	Duration string    `json:"duration,omitempty" maxLength:"30" doc:"Of each occurrence, such as 2h; 1 minute to 168 hours. Elapsed time, also when clocks change."`
	TimeZone string    `json:"time_zone,omitempty" maxLength:"64" doc:"IANA name, for rrule and cron; UTC unless given."`
}

// WindowView is a window. It is exported so that the framework describes what embeds it.
type WindowView struct {
	ID uuid.UUID `json:"id" doc:"Of the window."`
	WindowSettings
	Active    bool      `json:"active" doc:"There is maintenance by it now."`
	CreatedAt time.Time `json:"created_at" doc:"When it was made."`
}

func viewWindow(w ledger.Window) WindowView {
	_, active := w.When.Active(time.Now())
	return WindowView{w.ID, WindowSettings{w.Name, w.Monitors, w.Tags, WindowTimes(w.When)}, active, uuid7.Time(w.ID)}
}

type occurrenceView struct {
	From time.Time `json:"from" doc:"When maintenance begins."`
	To   time.Time `json:"to" doc:"When it is over."`
}

type windowDetail struct {
	WindowView
	Occurrences []occurrenceView `json:"occurrences" nullable:"false" doc:"The present one and the next, at most five, within a year."`
}

const occurrencesShown = 5

func detailWindow(w ledger.Window) *windowOutput {
	now := time.Now()
	list := w.When.Occurrences(now, now.Add(366*day))
	list = list[:min(len(list), occurrencesShown)]
	return &windowOutput{windowDetail{viewWindow(w), views(list, func(i calendar.Interval) occurrenceView { return occurrenceView(i) })}}
}

type (
	windowOutput      struct{ Body windowDetail }
	createWindowInput struct{ Body WindowSettings }
	putWindowInput    struct {
		IDPath
		Body WindowSettings
	}
	listWindowsOutput struct{ Body httpapi.List[WindowView] }
)

func (h *Handlers) registerWindows(api *httpapi.API) {
	route := routes("maintenance")
	httpapi.Register(api, route(post, "/v1/maintenance-windows", "create-maintenance-window", "Plan maintenance", auth.ScopeMonitorsWrite, http.StatusCreated,
		"Checks go on during maintenance, but no incident opens and the time does not count for uptime. An incident that is open stays open."), h.createWindow)
	httpapi.Register(api, route(get, "/v1/maintenance-windows", "list-maintenance-windows", "List maintenance windows, newest first", auth.ScopeMonitorsRead, 0, ""), h.listWindows)
	httpapi.Register(api, route(get, "/v1/maintenance-windows/{id}", "get-maintenance-window", "Read a maintenance window", auth.ScopeMonitorsRead, 0, ""), h.getWindow)
	httpapi.Register(api, route(put, "/v1/maintenance-windows/{id}", "replace-maintenance-window", "Replace a maintenance window", auth.ScopeMonitorsWrite, 0, ""), h.replaceWindow)
	httpapi.Register(api, route(remove, "/v1/maintenance-windows/{id}", "delete-maintenance-window", "Delete a maintenance window", auth.ScopeMonitorsWrite, http.StatusNoContent,
		"Maintenance that is under way by it ends; past maintenance stays in the ledger."), h.deleteWindow)
}

const windowMonitors = 1000

// window reads settings, or says what is wrong with them.
func (s *WindowSettings) window(id uuid.UUID) (ledger.Window, error) {
	w := ledger.Window{ID: id, Name: s.Name, Monitors: s.Monitors, Tags: s.Tags, When: calendar.Window(s.WindowTimes)}
	var p problems
	p.require(isName(s.Name), "name", "Expected 1 to %d characters.", nameMost)
	p.require(len(s.Monitors) <= windowMonitors, "monitors", "Expected at most %d; tags choose more.", windowMonitors)
	checkTags(&p, s.Tags)
	p.found(w.When.Validate(), "")
	return w, p.fault("invalid_maintenance")
}

func (h *Handlers) createWindow(ctx context.Context, in *createWindowInput) (*windowOutput, error) {
	w, err := created(ctx, in.Body.window, h.Store.CreateWindow)
	if err != nil {
		return nil, err
	}
	return detailWindow(w), nil
}

func (h *Handlers) replaceWindow(ctx context.Context, in *putWindowInput) (*windowOutput, error) {
	w, err := stored(ctx, in.ID, in.Body.window, h.Store.ReplaceWindow)
	if err != nil {
		return nil, err
	}
	return detailWindow(w), nil
}

func (h *Handlers) listWindows(ctx context.Context, in *pageInput) (*listWindowsOutput, error) {
	list, err := listed(ctx, in.Page, h.Store.Windows, viewWindow, func(v WindowView) uuid.UUID { return v.ID })
	if err != nil {
		return nil, err
	}
	return &listWindowsOutput{list}, nil
}

func (h *Handlers) getWindow(ctx context.Context, in *IDPath) (*windowOutput, error) {
	w, err := h.Store.Window(ctx, httpapi.Tenant(ctx), in.ID)
	if err != nil {
		return nil, err
	}
	return detailWindow(w), nil
}

func (h *Handlers) deleteWindow(ctx context.Context, in *IDPath) (*struct{}, error) {
	return nil, h.Store.DeleteWindow(ctx, httpapi.Tenant(ctx), in.ID)
}
