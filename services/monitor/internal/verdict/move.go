package verdict

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
)

const (
	flapHalfLife = time.Hour
	flapEnter    = 3.0
	flapLeave    = 1.0
)

// offer makes v the verdict since at, unless it is that already or a recovery has to wait for Hold.
func (p *step) offer(v Status, at time.Time, cause check.Cause, detail string) {
	if v == p.s.Verdict {
		p.s.HoldFrom = time.Time{}
		return
	}
	recovers := (v == Up || v == Degraded) && (p.s.Verdict == Down || p.s.Incident != uuid.Nil)
	if recovers && p.s.Flapping && p.Hold > 0 {
		if p.s.HoldFrom.IsZero() {
			p.s.HoldFrom = moment(earliest(at, p.now))
		}
		if p.clock.Before(p.s.HoldFrom.Add(p.Hold)) {
			return
		}
	}
	if recovers && !p.s.HoldFrom.IsZero() {
		at = p.s.HoldFrom
	}
	p.s.Verdict, p.s.Cause, p.s.Detail, p.s.HoldFrom = v, cause, detail, time.Time{}
	if p.s.Status != Maintenance {
		p.show(at)
	} else if v == Up || v == Degraded { // what began before may end
		if in := p.resolve(at); in.ID != uuid.Nil {
			p.tell(in.At, in.ID)
		}
	}
}

// show makes the verdict the status.
func (p *step) show(at time.Time) {
	p.move(p.s.Verdict, at)
	at = p.s.Since
	switch p.s.Verdict {
	case Down:
		if p.s.Incident == uuid.Nil {
			p.open(at)
		}
	case Up, Degraded:
		p.tell(at, p.resolve(at).ID)
	default:
	}
}

// move changes the status. The ledger's order comes before the exact time.
func (p *step) move(to Status, at time.Time) {
	if to == p.s.Status {
		return
	}
	at = latest(moment(earliest(at, p.now)), p.s.Since.Add(time.Microsecond))
	c := Change{From: p.s.Status, To: to, At: at}
	if to == Down || to == Degraded {
		c.Cause, c.Detail = p.s.Cause, p.s.Detail
	}
	p.e.Changes = append(p.e.Changes, c)
	p.s.Status, p.s.Since = to, at
	p.s.Version++
}

func (p *step) open(at time.Time) {
	p.s.Incident, p.s.IncidentAt = incidentID(p.Monitor, at, p.s.Version), at
	p.e.Incidents = append(p.e.Incidents, Incident{ID: p.s.Incident, At: at, Cause: p.s.Cause, Detail: p.s.Detail})
	if p.s.Cause == check.CauseMissed {
		p.event(HeartbeatMissed, at, p.s.Incident)
	}
	p.tell(at, p.s.Incident)
	p.event(IncidentOpened, at, p.s.Incident)
	p.flap(at)
}

// resolve ends the open incident, and gives the end; its ID is nil if there is none.
func (p *step) resolve(at time.Time) Incident {
	if p.s.Incident == uuid.Nil {
		return Incident{}
	}
	in := Incident{ID: p.s.Incident, Resolved: true, At: latest(moment(earliest(at, p.now)), p.s.IncidentAt)}
	p.s.Incident, p.s.IncidentAt = uuid.Nil, time.Time{}
	p.e.Incidents = append(p.e.Incidents, in)
	p.e.Events = append(p.e.Events, Event{Type: IncidentResolved, At: in.At, Incident: in.ID})
	return in
}

// tell tells the verdict, if the tenant does not know it. That a new monitor is up is no news.
func (p *step) tell(at time.Time, incident uuid.UUID) {
	before := p.s.Told
	p.s.Told = p.s.Verdict
	if before == p.s.Verdict || before == "" && p.s.Verdict == Up {
		return
	}
	p.event(map[Status]string{Up: MonitorUp, Degraded: MonitorDegraded, Down: MonitorDown}[p.s.Verdict], at, incident)
}

func (p *step) event(kind string, at time.Time, incident uuid.UUID) {
	p.e.Events = append(p.e.Events, Event{Type: kind, At: at, Incident: incident, Cause: p.s.Cause, Detail: p.s.Detail})
}

// flap adds an incident to the score.
func (p *step) flap(at time.Time) {
	age := max(at.Sub(p.s.FlapsAt), 0)
	p.s.Flaps = p.s.Flaps*math.Exp2(-float64(age)/float64(flapHalfLife)) + 1
	p.s.FlapsAt = latest(at, p.s.FlapsAt)
	p.s.Flapping = p.s.Flapping || p.s.Flaps >= flapEnter
}

// calm is when a flapping monitor's score falls below flapLeave; zero: it is not flapping.
func (s State) calm() time.Time {
	if !s.Flapping {
		return time.Time{}
	}
	return moment(s.FlapsAt.Add(time.Duration(math.Log2(s.Flaps/flapLeave) * float64(flapHalfLife)))).Add(time.Microsecond)
}

func incidentID(monitor uuid.UUID, at time.Time, version int64) uuid.UUID {
	sum := sha256.Sum256(slices.Concat(monitor[:], binary.BigEndian.AppendUint64(nil, uint64(version)))) //nolint:gosec // bits to be hashed
	var id uuid.UUID
	copy(id[6:], sum[:])
	ms := at.UnixMilli()
	for i := range 6 {
		id[i] = byte(ms >> (40 - 8*i)) //nolint:gosec // the lowest 8 bits are meant
	}
	id[6] = id[6]&0x0f | 0x70 // version 7
	id[8] = id[8]&0x3f | 0x80 // variant of RFC 9562
	return id
}
