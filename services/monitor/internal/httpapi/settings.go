package httpapi

import (
	"time"

	"github.com/google/uuid"

	"github.com/beaconpost/beaconpost/pkg/httpapi"
	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
	"github.com/beaconpost/beaconpost/services/monitor/internal/monitor"
)

// MonitorSettings are what a caller says of a monitor. It is exported so that the framework describes what embeds it.
type MonitorSettings struct {
	Name string `json:"name" doc:"1 to 200 characters; no two monitors of a tenant have the same." example:"Shop"`
	check.Spec
	Interval          httpapi.Duration `json:"interval,omitempty" doc:"Between two checks: 10s, 12s, 15s, 20s, 30s, minutes that divide an hour, or hours that divide a day. 30s unless given."`
	Timeout           httpapi.Duration `json:"timeout,omitempty" doc:"Bound on a whole check: 100ms to 60s, less than the interval. Unless given 10s, or half of the interval if that is less."`
	DegradedAfter     httpapi.Duration `json:"degraded_after,omitempty" doc:"An answer that takes longer is degraded; less than the timeout. Absent: none is."`
	FailureThreshold  int              `json:"failure_threshold,omitempty" minimum:"1" doc:"Failing checks in a row that make it down, 1 to 20; 3 unless given."`
	RecoveryThreshold int              `json:"recovery_threshold,omitempty" minimum:"1" doc:"Good checks in a row that make it up again, 1 to 20; 2 unless given."`
	Confirm           *bool            `json:"confirm,omitempty" doc:"A first failure is checked again at once, from every region; true unless given."`
	Paused            bool             `json:"paused" required:"false" doc:"It is not checked."`
	Regions           []string         `json:"regions,omitempty" doc:"From where it is checked, at most 20; [default] unless given."`
	Tags              []string         `json:"tags" required:"false" nullable:"false" doc:"At most 50 of at most 64 characters."`
	ProjectID         *uuid.UUID       `json:"project_id,omitempty" format:"uuid" doc:"Whose endpoints are told of it, beside those without a project."`
	SLO               *SLOSettings     `json:"slo,omitempty" doc:"Absent: none."`
}

// SLOSettings say how available a monitor is to be.
type SLOSettings struct {
	Target float64 `json:"target" doc:"Share of time, between 0 and 1." example:"0.999"`
}

const defaultRegion = "default"

// apply gives a monitor these settings. Secrets that are hidden stay as they are stored.
func (s *MonitorSettings) apply(m *monitor.Monitor) {
	spec := s.Spec
	spec.Unmask(&m.Spec)
	m.Name, m.Spec, m.ProjectID = s.Name, spec, s.ProjectID
	m.Interval = or(time.Duration(s.Interval), monitor.DefaultInterval)
	m.Timeout = or(time.Duration(s.Timeout), min(monitor.DefaultTimeout, m.Interval/2))
	m.Degraded = time.Duration(s.DegradedAfter)
	m.FailureThreshold = or(s.FailureThreshold, monitor.DefaultFailureThreshold)
	m.RecoveryThreshold = or(s.RecoveryThreshold, monitor.DefaultRecoveryThreshold)
	m.Confirm, m.Paused = s.Confirm == nil || *s.Confirm, s.Paused
	m.Regions, m.Tags, m.SLOTarget = s.Regions, s.Tags, 0
	if len(m.Regions) == 0 {
		m.Regions = []string{defaultRegion}
	}
	if m.Tags == nil {
		m.Tags = []string{}
	}
	if s.SLO != nil {
		m.SLOTarget = s.SLO.Target
	}
}

func or[T comparable](value, otherwise T) T {
	var zero T
	if value == zero {
		return otherwise
	}
	return value
}

// settingsOf gives a monitor's settings as they are shown: its secrets are hidden.
func settingsOf(m *monitor.Monitor) MonitorSettings {
	s := MonitorSettings{
		Name: m.Name, Spec: m.Spec.Masked(), Interval: httpapi.Duration(m.Interval), Timeout: httpapi.Duration(m.Timeout), DegradedAfter: httpapi.Duration(m.Degraded),
		FailureThreshold: m.FailureThreshold, RecoveryThreshold: m.RecoveryThreshold, Confirm: &m.Confirm, Paused: m.Paused,
		Regions: m.Regions, Tags: m.Tags, ProjectID: m.ProjectID,
	}
	if s.Tags == nil {
		s.Tags = []string{}
	}
	if m.SLOTarget != 0 {
		s.SLO = &SLOSettings{m.SLOTarget}
	}
	return s
}
