package health

import (
	"time"

	"github.com/google/uuid"

	"github.com/beaconpost/beaconpost/pkg/notice"
)

// Notice tells the tenant what a step means for an endpoint.
func (s *Step) Notice(key Key, rules Rules, now time.Time) (notice.Notice, error) {
	data := struct {
		Endpoint     uuid.UUID  `json:"endpoint_id"`
		Reason       Reason     `json:"reason,omitempty"`
		Failures     int        `json:"failures,omitempty"`
		FailingSince *time.Time `json:"failing_since,omitempty"`
		LastFailedAt *time.Time `json:"last_failed_at,omitempty"`
		LastStatus   int        `json:"last_status_code,omitempty"`
		LastClass    string     `json:"last_error_class,omitempty"`
		DisableAt    *time.Time `json:"disable_at,omitempty"`
	}{Endpoint: key.Endpoint}
	if s.Tell != notice.EndpointRecovered {
		data.Reason, data.Failures, data.FailingSince, data.LastFailedAt = s.Reason, s.Failures, timeOf(s.FailingSince), timeOf(s.LastFailedAt)
		data.LastStatus, data.LastClass = s.LastStatus, s.LastClass
	}
	if s.Tell == notice.EndpointFailing && rules.DisableAfter > 0 {
		data.DisableAt = timeOf(s.FailingSince.Add(rules.DisableAfter))
	}
	n, err := notice.New(key.Tenant, s.Tell, now, data)
	n.About = key.Endpoint
	return n, err
}

func timeOf(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
