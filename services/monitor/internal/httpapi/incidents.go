package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/beaconpost/beaconpost/pkg/auth"
	"github.com/beaconpost/beaconpost/pkg/httpapi"
	"github.com/beaconpost/beaconpost/pkg/uuid7"
	"github.com/beaconpost/beaconpost/services/monitor/internal/ledger"
)

// IncidentView is an incident without its notes. It is exported so that the framework describes what embeds it.
type IncidentView struct {
	ID             uuid.UUID  `json:"id" doc:"Of the incident."`
	MonitorID      *uuid.UUID `json:"monitor_id,omitempty" doc:"Absent: it is about no monitor."`
	ProjectID      *uuid.UUID `json:"project_id,omitempty" doc:"Its monitor's when it opened."`
	Manual         bool       `json:"manual" doc:"Opened by hand, and ended by hand."`
	Title          string     `json:"title" doc:"One line for people."`
	Severity       string     `json:"severity" enum:"critical,major,minor" doc:"How bad it is."`
	Cause          string     `json:"cause,omitempty" doc:"Of the checks that opened it."`
	Detail         string     `json:"detail,omitempty" doc:"More for people."`
	OpenedAt       time.Time  `json:"opened_at" doc:"The first check that failed."`
	AcknowledgedAt *time.Time `json:"acknowledged_at" doc:"null: nobody said so."`
	AcknowledgedBy string     `json:"acknowledged_by,omitempty" doc:"Who said so first."`
	ResolvedAt     *time.Time `json:"resolved_at" doc:"null: it is open."`
}

func viewIncident(i ledger.Incident) IncidentView {
	return IncidentView{
		i.ID, i.Monitor, i.Project, i.Manual, i.Title, i.Severity, string(i.Cause), i.Detail, i.OpenedAt.UTC(), optional(i.AcknowledgedAt), i.AcknowledgedBy, optional(i.ResolvedAt),
	}
}

type noteView struct {
	ID        uuid.UUID `json:"id" doc:"Of the note."`
	Author    string    `json:"author" doc:"Who wrote it."`
	Text      string    `json:"text" doc:"What was written."`
	CreatedAt time.Time `json:"created_at" doc:"When it was made."`
}

func viewNote(n ledger.Note) noteView { return noteView{n.ID, n.Author, n.Text, uuid7.Time(n.ID)} }

type notificationView struct {
	ID            uuid.UUID  `json:"id" doc:"Of the message."`
	ChannelID     uuid.UUID  `json:"channel_id" doc:"Whom it goes to."`
	PolicyID      uuid.UUID  `json:"policy_id" doc:"That asked for it."`
	Kind          string     `json:"kind" enum:"fire,escalate,remind,resolve" doc:"fire: the first message. escalate: of a later step. remind: again. resolve: the end."`
	Status        string     `json:"status" enum:"pending,sent,failed" doc:"pending: it is still tried."`
	Attempts      int        `json:"attempts" doc:"How often it was tried."`
	NextAttemptAt *time.Time `json:"next_attempt_at,omitempty" doc:"Of a pending one."`
	SentAt        *time.Time `json:"sent_at,omitempty" doc:"When it was handed over."`
	LastError     string     `json:"last_error,omitempty" doc:"Of the last attempt that failed."`
}

func viewNotification(n ledger.Notification) notificationView {
	return notificationView{n.ID, n.Channel, n.Policy, n.Kind, n.Status, n.Attempts, optional(n.NextAt), optional(n.SentAt), n.Error}
}

type incidentDetail struct {
	IncidentView
	Notes         []noteView         `json:"notes" nullable:"false" doc:"The first one first."`
	Notifications []notificationView `json:"notifications" nullable:"false" doc:"Messages to alert channels, the first one first."`
}

type (
	listIncidentsInput struct {
		httpapi.Page
		MonitorID string    `query:"monitor_id" format:"uuid"`
		Open      string    `query:"open" enum:"true,false" doc:"Only those that are open, or that are not."`
		From      time.Time `query:"from" doc:"RFC 3339, inclusive: of opened_at."`
		To        time.Time `query:"to" doc:"RFC 3339, exclusive."`
	}
	listIncidentsOutput struct {
		Body httpapi.List[IncidentView]
	}
	openIncidentInput struct {
		Body struct {
			Title     string     `json:"title" minLength:"1" maxLength:"300" doc:"One line for people."`
			Severity  string     `json:"severity,omitempty" enum:"critical,major,minor" default:"critical" doc:"How bad it is."`
			Detail    string     `json:"detail,omitempty" maxLength:"10000" doc:"More for people."`
			MonitorID *uuid.UUID `json:"monitor_id,omitempty" format:"uuid" doc:"What it is about; absent: no monitor."`
		}
	}
	acknowledgeInput struct {
		IDPath
		Body struct {
			By string `json:"by" minLength:"1" maxLength:"200" doc:"Who takes care of it."`
		}
	}
	noteInput struct {
		IDPath
		Body struct {
			Author string `json:"author" minLength:"1" maxLength:"200" doc:"Who wrote it."`
			Text   string `json:"text" minLength:"1" maxLength:"10000" doc:"What was written."`
		}
	}
	incidentOutput       struct{ Body IncidentView }
	incidentDetailOutput struct{ Body incidentDetail }
	noteOutput           struct{ Body noteView }
)

func (h *Handlers) registerIncidents(api *httpapi.API) {
	route := routes("incidents")
	httpapi.Register(api, route(get, "/v1/incidents", "list-incidents", "List incidents, newest first", auth.ScopeMonitorsRead, 0, ""), h.listIncidents)
	httpapi.Register(api, route(get, "/v1/incidents/{id}", "get-incident", "Read an incident with its notes and notifications", auth.ScopeMonitorsRead, 0, ""), h.getIncident)
	httpapi.Register(api, route(post, "/v1/incidents", "open-incident", "Open an incident by hand", auth.ScopeMonitorsWrite, http.StatusCreated,
		"It ends by hand too, whatever checks say."), h.openIncident)
	httpapi.Register(api, route(post, "/v1/incidents/{id}/acknowledge", "acknowledge-incident", "Say that somebody takes care of an incident", auth.ScopeMonitorsWrite, 0,
		"Stops reminders and escalation. Who said so first stays."), h.acknowledge)
	httpapi.Register(api, route(post, "/v1/incidents/{id}/resolve", "resolve-incident", "End an incident that was opened by hand", auth.ScopeMonitorsWrite, 0,
		"One that checks opened is refused (409 incident_is_automatic): it ends when they are good again."), h.resolve)
	httpapi.Register(api, route(post, "/v1/incidents/{id}/notes", "add-incident-note", "Write a note about an incident", auth.ScopeMonitorsWrite, http.StatusCreated, ""), h.addNote)
}

func (h *Handlers) listIncidents(ctx context.Context, in *listIncidentsInput) (*listIncidentsOutput, error) {
	f := ledger.IncidentFilter{Range: ledger.Range{From: in.From, To: in.To}, Limit: in.Limit}
	var err error
	if f.Cursor, err = in.After(); err != nil {
		return nil, err
	}
	if f.Monitor, err = httpapi.OptionalID("monitor_id", in.MonitorID); err != nil {
		return nil, err
	}
	if in.Open != "" {
		open := in.Open == "true"
		f.Open = &open
	}
	list, err := h.Store.Incidents(ctx, httpapi.Tenant(ctx), f)
	if err != nil {
		return nil, err
	}
	return &listIncidentsOutput{httpapi.NewList(in.Page, views(list, viewIncident), func(v IncidentView) uuid.UUID { return v.ID })}, nil
}

func (h *Handlers) getIncident(ctx context.Context, in *IDPath) (*incidentDetailOutput, error) {
	i, notes, sends, err := h.Store.Incident(ctx, httpapi.Tenant(ctx), in.ID)
	if err != nil {
		return nil, err
	}
	return &incidentDetailOutput{incidentDetail{viewIncident(i), views(notes, viewNote), views(sends, viewNotification)}}, nil
}

func (h *Handlers) openIncident(ctx context.Context, in *openIncidentInput) (*incidentOutput, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return nil, fmt.Errorf("make incident id: %w", err)
	}
	b := &in.Body
	i := ledger.Incident{ID: id, Monitor: b.MonitorID, Manual: true, Title: b.Title, Severity: b.Severity, Detail: b.Detail}
	if err := h.Store.Open(ctx, httpapi.Tenant(ctx), &i); err != nil {
		return nil, err
	}
	return &incidentOutput{viewIncident(i)}, nil
}

func (h *Handlers) acknowledge(ctx context.Context, in *acknowledgeInput) (*incidentOutput, error) {
	i, err := h.Store.Acknowledge(ctx, httpapi.Tenant(ctx), in.ID, in.Body.By)
	if err != nil {
		return nil, err
	}
	return &incidentOutput{viewIncident(i)}, nil
}

func (h *Handlers) resolve(ctx context.Context, in *IDPath) (*incidentOutput, error) {
	i, err := h.Store.Resolve(ctx, httpapi.Tenant(ctx), in.ID)
	if err != nil {
		return nil, err
	}
	return &incidentOutput{viewIncident(i)}, nil
}

func (h *Handlers) addNote(ctx context.Context, in *noteInput) (*noteOutput, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return nil, fmt.Errorf("make note id: %w", err)
	}
	n := ledger.Note{ID: id, Author: in.Body.Author, Text: in.Body.Text}
	if err := h.Store.AddNote(ctx, httpapi.Tenant(ctx), in.ID, n); err != nil {
		return nil, err
	}
	return &noteOutput{viewNote(n)}, nil
}
