package verdict

import (
	"time"

	"github.com/google/uuid"

	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
)

// Region is what one region said of a monitor.
type Region struct {
	// Of the slots' own checks.
	Slot   int64     `json:"slot,omitempty"` // the last one that has a result; 0: none
	SlotAt time.Time `json:"slot_at,omitzero"`
	Seen   uint64    `json:"seen,omitempty"` // which of the 64 slots up to it need no result any more, itself the lowest bit

	// Of its results, confirmations too, that say something of the target.
	At         time.Time `json:"at,omitzero"`          // slot of the last one
	ReportedAt time.Time `json:"reported_at,omitzero"` // when that came in
	From       time.Time `json:"from,omitzero"`        // slot of the first one since it was silent; zero: it is
	Answered   int       `json:"answered,omitempty"`   // the last confirmation of At's slot
	AskedSlot  int64     `json:"asked_slot,omitempty"` // in which it was asked last
	Asked      int       `json:"asked,omitempty"`      // for this confirmation

	// Consecutive results.
	Failures Streak `json:"failures,omitzero"` // down
	Bad      Streak `json:"bad,omitzero"`      // not up
	Good     Streak `json:"good,omitzero"`     // up
	Answers  Streak `json:"answers,omitzero"`  // not down

	Verdict Status      `json:"verdict,omitempty"`    // up, degraded or down; "": it has not made up its mind
	Since   time.Time   `json:"since,omitzero"`       // the first slot of the streak that says so
	NotUp   time.Time   `json:"not_up,omitzero"`      // the first slot of the streak that ended up
	NotDown time.Time   `json:"not_down,omitzero"`    // the first slot of the streak that ended down
	Cause   check.Cause `json:"last_cause,omitempty"` // of the last result that was not up
	Detail  string      `json:"last_detail,omitempty"`
}

// Streak is a number of results of consecutive slots, and the time of the first one's.
type Streak struct {
	N     int       `json:"n"`
	Since time.Time `json:"since"`
}

func (k *Streak) add(at time.Time) {
	if k.N == 0 {
		k.Since = at
	}
	k.N++
}

// slot counts the result among the region's slots and says whether it is news of the target: the newest, not a repetition, and not our own fault.
func (p *step) slot(g *Region, rep Report) bool {
	if rep.Confirmation == 0 && !p.count(g, rep.Slot) {
		return false
	}
	if rep.Outcome == check.NotChecked || rep.Slot.At.Before(g.At) {
		return false
	}
	if rep.Slot.At.After(g.At) {
		g.Answered = 0
	}
	if rep.Confirmation > 0 {
		if rep.Confirmation <= g.Answered {
			return false
		}
		g.Answered = rep.Confirmation
	}
	g.At = rep.Slot.At
	return true
}

// count does so for the slot's own check, and says whether it is the region's newest slot.
func (p *step) count(g *Region, slot check.Slot) bool {
	ahead := slot.Number - g.Slot
	switch {
	case g.Slot == 0 || slot.At.Sub(g.SlotAt) != time.Duration(ahead)*p.Interval: // the first, or of another schedule: nothing before it was promised
		if g.Slot != 0 && !slot.At.After(g.SlotAt) {
			return false
		}
		g.Seen = ^uint64(0)
	case ahead > 0:
		p.e.Missed = int(ahead - 1)
		g.Seen = g.Seen<<ahead | 1
	case ahead < 0 && ahead > -64 && g.Seen&(1<<-ahead) == 0:
		g.Seen |= 1 << -ahead
		p.e.Late, p.e.Missed = 1, -1
		return false
	default:
		return false
	}
	g.Slot, g.SlotAt = slot.Number, slot.At
	p.e.Checked = 1
	return true
}

// learn adds a result to the streaks and draws the region's conclusion.
func (g *Region) learn(rep Report, p *step) {
	g.ReportedAt = p.now
	if g.From.IsZero() {
		g.From = g.At
	}
	if rep.Outcome == check.Up {
		g.Failures, g.Bad = Streak{}, Streak{}
		g.Good.add(g.At)
		g.Answers.add(g.At)
	} else {
		g.Cause, g.Detail, g.Good = rep.Cause, rep.Detail, Streak{}
		g.Bad.add(g.At)
		if rep.Outcome == check.Down {
			g.Answers = Streak{}
			g.Failures.add(g.At)
		} else {
			g.Failures = Streak{}
			g.Answers.add(g.At)
		}
	}
	g.conclude(p.Rules, p.s.Incident != uuid.Nil)
}

// conclude takes an incident into account: what is not known is taken for down then, so that a single good result resolves nothing.
func (g *Region) conclude(r Rules, incident bool) {
	down := g.Verdict == Down || g.Verdict == "" && incident
	first := g.Verdict == "" && !incident
	switch {
	case g.Failures.N >= r.FailureThreshold:
		g.become(Down)
	case g.Good.N >= r.RecoveryThreshold || first && g.Good.N > 0:
		g.become(Up)
	case down && g.Answers.N >= r.RecoveryThreshold, !down && g.Bad.N >= r.FailureThreshold:
		g.become(Degraded)
	}
}

func (g *Region) become(v Status) {
	if g.Verdict == v {
		return
	}
	if v != Up && g.Verdict != Down && g.Verdict != Degraded {
		g.NotUp = g.Bad.Since
	}
	if v != Down && g.Verdict != Up && g.Verdict != Degraded {
		g.NotDown = g.Answers.Since
	}
	switch v {
	case Down:
		g.Since = g.Failures.Since
	case Up:
		g.Since = g.Good.Since
	default:
		g.Since = g.NotUp
		if g.Verdict == Down {
			g.Since = g.NotDown
		}
	}
	g.Verdict = v
}

// silent is when the region does not count any more if it says nothing; zero: it does not count.
func (g Region) silent(r Rules) time.Time {
	if g.From.IsZero() {
		return time.Time{}
	}
	return g.At.Add(r.silence())
}

// forget is for a region that was silent: what it says next has nothing to do with what it said before.
func (g *Region) forget() {
	*g = Region{
		Slot: g.Slot, SlotAt: g.SlotAt, Seen: g.Seen, At: g.At, ReportedAt: g.ReportedAt, Answered: g.Answered, AskedSlot: g.AskedSlot, Asked: g.Asked,
		Cause: g.Cause, Detail: g.Detail,
	}
}

// restart is for a region whose schedule changed: the old slots are over, and it has until then plus the silence to say something of a new one.
func (g *Region) restart(now time.Time) {
	g.Slot, g.SlotAt, g.Seen, g.Answered, g.AskedSlot, g.Asked = 0, time.Time{}, 0, 0, 0, 0
	if !g.At.IsZero() {
		g.At = now
	}
}
