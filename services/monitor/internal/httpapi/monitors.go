package httpapi

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"time"

	"github.com/google/uuid"

	"github.com/beaconpost/beaconpost/pkg/auth"
	"github.com/beaconpost/beaconpost/pkg/httpapi"
	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
	"github.com/beaconpost/beaconpost/services/monitor/internal/ledger"
	"github.com/beaconpost/beaconpost/services/monitor/internal/monitor"
)

// MonitorView is a monitor with where it stands.
type MonitorView struct {
	ID uuid.UUID `json:"id" doc:"Of the monitor."`
	MonitorSettings
	Status           string     `json:"status" enum:"up,degraded,down,maintenance,paused,unknown" doc:"unknown: not checked yet, or too few regions report."`
	Since            time.Time  `json:"since" doc:"Of the status: the first check that showed it."`
	IncidentID       *uuid.UUID `json:"incident_id,omitempty" doc:"The open incident that its checks opened."`
	LastReportedAt   *time.Time `json:"last_reported_at,omitempty" doc:"When a check said something of it last."`
	CertificateTo    *time.Time `json:"certificate_ends_at,omitempty" doc:"When the certificate ends that ends first of those that its regions saw last."`
	SecretsLocked    bool       `json:"secrets_locked,omitempty" doc:"The installation cannot open its passwords, tokens and keys: it is not checked until they are set again."`
	HeartbeatURLPath string     `json:"heartbeat_url_path,omitempty" doc:"heartbeat: what jobs call, behind this API's origin. Whoever knows it can report."`
	Version          int64      `json:"version" doc:"Grows with every change of the settings."`
	CreatedAt        time.Time  `json:"created_at" doc:"When it was made."`
	UpdatedAt        time.Time  `json:"updated_at" doc:"When the settings changed last."`
}

func viewMonitor(w ledger.Watched) MonitorView {
	v := MonitorView{
		ID: w.ID, MonitorSettings: settingsOf(&w.Monitor), Status: w.Status.Status, Since: w.Since.UTC(), IncidentID: w.Incident, LastReportedAt: optional(w.ReportedAt), CertificateTo: optional(w.CertEnds), SecretsLocked: w.Locked,
		Version: w.Version, CreatedAt: w.CreatedAt.UTC(), UpdatedAt: w.UpdatedAt.UTC(),
	}
	if w.Token != "" {
		v.HeartbeatURLPath = heartbeatPath + w.Token
	}
	return v
}

type (
	monitorOutput      struct{ Body MonitorView }
	createMonitorInput struct{ Body MonitorSettings }
	putMonitorInput    struct {
		IDPath
		Body MonitorSettings
	}
	patchMonitorInput struct {
		IDPath
		Body mergePatch
	}
	listMonitorsInput struct {
		httpapi.Page
		Name      string `query:"name" doc:"Exactly this one."`
		Kind      string `query:"kind" enum:"http,tcp,udp,dns,tls,icmp,grpc,websocket,heartbeat"`
		Status    string `query:"status" enum:"up,degraded,down,maintenance,paused,unknown"`
		Tag       string `query:"tag"`
		ProjectID string `query:"project_id" format:"uuid"`
	}
	listMonitorsOutput struct {
		Body httpapi.List[MonitorView]
	}
)

func (h *Handlers) registerMonitors(api *httpapi.API) {
	route := routes("monitors")
	httpapi.Register(api, route(post, "/v1/monitors", "create-monitor", "Create a monitor", auth.ScopeMonitorsWrite, http.StatusCreated,
		"It is checked within its interval. Which fields a kind takes, their descriptions say; others are refused."), h.createMonitor)
	httpapi.Register(api, route(get, "/v1/monitors", "list-monitors", "List monitors, newest first", auth.ScopeMonitorsRead, 0, ""), h.listMonitors)
	httpapi.Register(api, route(get, "/v1/monitors/{id}", "get-monitor", "Read a monitor", auth.ScopeMonitorsRead, 0, ""), h.getMonitor)
	httpapi.Register(api, route(put, "/v1/monitors/{id}", "replace-monitor", "Replace a monitor's settings", auth.ScopeMonitorsWrite, 0,
		"What is absent gets its default. What is known of the monitor, an open incident too, stays."), h.replaceMonitor)
	httpapi.Register(api, route(patch, "/v1/monitors/{id}", "update-monitor", "Change a monitor's settings", auth.ScopeMonitorsWrite, 0, ""), h.updateMonitor)
	httpapi.Register(api, route(remove, "/v1/monitors/{id}", "delete-monitor", "Delete a monitor", auth.ScopeMonitorsWrite, http.StatusNoContent,
		"An open incident of it is resolved. What was found of it can still be read."), h.deleteMonitor)
	httpapi.Register(api, route(post, "/v1/monitors/preview", "preview-monitor", "See what creating or replacing a monitor would store", auth.ScopeMonitorsWrite, 0,
		"Judges a body as POST does, or PUT with an id, and gives the settings with everything that was left out. Nothing is stored."), h.previewMonitor)
	httpapi.Register(api, route(post, "/v1/monitors/{id}/pause", "pause-monitor", "Stop checking a monitor", auth.ScopeMonitorsWrite, 0,
		"An open incident stays open."), h.pause(true))
	httpapi.Register(api, route(post, "/v1/monitors/{id}/resume", "resume-monitor", "Check a monitor again", auth.ScopeMonitorsWrite, 0, ""), h.pause(false))
	httpapi.Register(api, route(post, "/v1/monitors/{id}/check", "check-monitor", "Check a monitor now", auth.ScopeMonitorsWrite, 0,
		"One check, whatever the monitor's state. Nothing is stored, and it counts for nothing."), h.checkNow)
}

func (h *Handlers) createMonitor(ctx context.Context, in *createMonitorInput) (*monitorOutput, error) {
	t := httpapi.Tenant(ctx)
	id, err := uuid.NewV7()
	if err != nil {
		return nil, fmt.Errorf("make monitor id: %w", err)
	}
	m := &monitor.Monitor{Key: monitor.Key{Tenant: t, ID: id}}
	in.Body.apply(m)
	if err := h.checkMonitor(m, in.Body.SLO); err != nil {
		return nil, err
	}
	if m.Spec.Kind == check.Heartbeat {
		m.Token = newToken()
	}
	if err := h.Store.Create(ctx, m); err != nil {
		return nil, err
	}
	return h.getMonitor(ctx, &IDPath{id})
}

type previewInput struct {
	ReplacedID string `query:"id" format:"uuid" doc:"The monitor that would be replaced; absent: one would be created."`
	Body       MonitorSettings
}

type previewView struct {
	Monitor        MonitorSettings `json:"monitor" doc:"As it would be stored and shown."`
	SecretsChanged bool            `json:"secrets_changed" doc:"Passwords, tokens, keys or secret headers differ from those that are stored."`
}

func (h *Handlers) previewMonitor(ctx context.Context, in *previewInput) (*struct{ Body previewView }, error) {
	t := httpapi.Tenant(ctx)
	m := &monitor.Monitor{Key: monitor.Key{Tenant: t}}
	id, err := httpapi.OptionalID("id", in.ReplacedID)
	if err != nil {
		return nil, err
	}
	if id != nil {
		w, err := h.Store.Monitor(ctx, t, *id)
		if err != nil {
			return nil, err
		}
		if m = &w.Monitor; sameKind(m, in.Body.Kind) != nil {
			return nil, sameKind(m, in.Body.Kind)
		}
	}
	_, before := m.Spec.Split()
	in.Body.apply(m)
	if err := h.checkMonitor(m, in.Body.SLO); err != nil {
		return nil, err
	}
	if err := h.Store.CheckProject(ctx, t, m.ProjectID); err != nil {
		return nil, err
	}
	_, after := m.Spec.Split()
	return &struct{ Body previewView }{previewView{settingsOf(m), !reflect.DeepEqual(before, after)}}, nil
}

const tokenBytes = 24 // 32 characters

func newToken() string {
	var raw [tokenBytes]byte
	_, _ = rand.Read(raw[:]) // never fails, see crypto/rand
	return base64.RawURLEncoding.EncodeToString(raw[:])
}

func (h *Handlers) listMonitors(ctx context.Context, in *listMonitorsInput) (*listMonitorsOutput, error) {
	cursor, err := in.After()
	if err != nil {
		return nil, err
	}
	project, err := httpapi.OptionalID("project_id", in.ProjectID)
	if err != nil {
		return nil, err
	}
	list, err := h.Store.List(ctx, httpapi.Tenant(ctx), ledger.Filter{
		Name: in.Name, Kind: in.Kind, Status: in.Status, Tag: in.Tag, Project: project, Cursor: cursor, Limit: in.Limit,
	})
	if err != nil {
		return nil, err
	}
	return &listMonitorsOutput{httpapi.NewList(in.Page, views(list, viewMonitor), func(v MonitorView) uuid.UUID { return v.ID })}, nil
}

func (h *Handlers) getMonitor(ctx context.Context, in *IDPath) (*monitorOutput, error) {
	w, err := h.Store.Monitor(ctx, httpapi.Tenant(ctx), in.ID)
	if err != nil {
		return nil, err
	}
	return &monitorOutput{viewMonitor(w)}, nil
}

func (h *Handlers) replaceMonitor(ctx context.Context, in *putMonitorInput) (*monitorOutput, error) {
	return h.update(ctx, in.ID, func(m *monitor.Monitor) error { return h.change(m, &in.Body) })
}

func (h *Handlers) updateMonitor(ctx context.Context, in *patchMonitorInput) (*monitorOutput, error) {
	return h.update(ctx, in.ID, func(m *monitor.Monitor) error {
		settings, err := patched(m, in.Body)
		if err != nil {
			return err
		}
		return h.change(m, &settings)
	})
}

// pause makes the handler that pauses a monitor, or ends that.
func (h *Handlers) pause(paused bool) func(context.Context, *IDPath) (*monitorOutput, error) {
	return func(ctx context.Context, in *IDPath) (*monitorOutput, error) {
		return h.update(ctx, in.ID, func(m *monitor.Monitor) error {
			m.Paused = paused
			return nil
		})
	}
}

func (h *Handlers) change(m *monitor.Monitor, settings *MonitorSettings) error {
	if err := sameKind(m, settings.Kind); err != nil {
		return err
	}
	settings.apply(m)
	return h.checkMonitor(m, settings.SLO)
}

var errUnchanged = errors.New("it is so already")

// update changes a monitor. One that comes out as it was is not stored: a new version would make its schedule and its slots start anew.
func (h *Handlers) update(ctx context.Context, id uuid.UUID, change func(*monitor.Monitor) error) (*monitorOutput, error) {
	w, err := h.Store.Update(ctx, httpapi.Tenant(ctx), id, func(m *monitor.Monitor) error {
		was, err := json.Marshal(m)
		if err != nil {
			return err
		}
		if err := change(m); err != nil {
			return err
		}
		is, err := json.Marshal(m)
		if err == nil && bytes.Equal(was, is) {
			return errUnchanged
		}
		return err
	})
	if errors.Is(err, errUnchanged) {
		return h.getMonitor(ctx, &IDPath{id})
	}
	if err != nil {
		return nil, err
	}
	return &monitorOutput{viewMonitor(w)}, nil
}

func (h *Handlers) deleteMonitor(ctx context.Context, in *IDPath) (*struct{}, error) {
	return nil, h.Store.Delete(ctx, httpapi.Tenant(ctx), in.ID)
}
