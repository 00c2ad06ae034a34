// Package stream is monitor's way to the broker: it keeps the schedules there as Postgres says, takes the checks that are due, and plans confirmations.
//
// One schedule per monitor and region. Its subject says what it is, so that the list of subjects is all that has to be compared.
package stream

import (
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"github.com/beaconpost/beaconpost/pkg/tenant"
	monitorv1 "github.com/beaconpost/beaconpost/proto/beaconpost/monitor/v1"
	"github.com/beaconpost/beaconpost/proto/subject"
	"github.com/beaconpost/beaconpost/services/monitor/internal/calendar"
	"github.com/beaconpost/beaconpost/services/monitor/internal/monitor"
)

const (
	headerSchedule = "Nats-Schedule"
	headerTarget   = "Nats-Schedule-Target"
	headerTTL      = "Nats-Schedule-TTL"
	// headerMessageTTL is that of a message which is no schedule.
	headerMessageTTL = "Nats-TTL"
)

// Scheduled is a monitor that has to have a schedule in each of its regions.
type Scheduled struct {
	monitor.Key
	Interval time.Duration
	Regions  []string
}

func (s *Scheduled) subjects() []string {
	subjects := make([]string, len(s.Regions))
	for i, region := range s.Regions {
		subjects[i] = subject.Schedule(s.ID, region, s.Interval)
	}
	return subjects
}

// scheduleMsg makes the schedule whose every firing is a check that is due. What nobody takes expires before the next one.
func scheduleMsg(s *Scheduled, region string) (*nats.Msg, error) {
	schedule := calendar.ScheduleOf(s.ID, s.Interval)
	return dueMsg(monitor.Due{Key: s.Key, Region: region}, subject.Schedule(s.ID, region, s.Interval), schedule.Cron(), s.Interval/2)
}

// confirmMsg makes a check that is due once.
func confirmMsg(d monitor.Due) (*nats.Msg, error) {
	return dueMsg(d, subject.Confirm(d.ID, d.Region), "@at "+d.At.UTC().Format(time.RFC3339Nano), 30*time.Second)
}

func dueMsg(d monitor.Due, on, schedule string, ttl time.Duration) (*nats.Msg, error) {
	body, err := encode(d)
	if err != nil {
		return nil, err
	}
	msg := &nats.Msg{Subject: on, Data: body, Header: nats.Header{}}
	msg.Header[headerSchedule] = []string{schedule}
	msg.Header[headerTarget] = []string{subject.CheckDue(d.Region)}
	msg.Header[headerTTL] = []string{ttl.Truncate(time.Second).String()}
	return msg, nil
}

func encode(d monitor.Due) ([]byte, error) {
	body, err := proto.Marshal(&monitorv1.CheckDue{TenantId: d.Tenant[:], MonitorId: d.ID[:], Confirmation: uint32(d.Confirmation), Slot: d.Slot}) //nolint:gosec // confirmations are few
	if err != nil {
		return nil, fmt.Errorf("encode check: %w", err)
	}
	return body, nil
}

// decode reads a message body. Bytes that are not such a message are an error.
func decode(body []byte) (d monitor.Due, err error) {
	var m monitorv1.CheckDue
	if err := proto.Unmarshal(body, &m); err != nil {
		return d, fmt.Errorf("decode check: %w", err)
	}
	t, err := uuid.FromBytes(m.GetTenantId())
	if err != nil {
		return d, fmt.Errorf("decode check: tenant_id: %w", err)
	}
	if d.ID, err = uuid.FromBytes(m.GetMonitorId()); err != nil {
		return d, fmt.Errorf("decode check: monitor_id: %w", err)
	}
	if m.GetConfirmation() > 100 {
		return d, fmt.Errorf("decode check: confirmation %d: expected 100 at most", m.GetConfirmation())
	}
	d.Tenant, d.Confirmation, d.Slot = tenant.ID(t), int(m.GetConfirmation()), m.GetSlot()
	return d, nil
}
