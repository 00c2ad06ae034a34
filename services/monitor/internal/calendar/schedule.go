package calendar

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/beaconpost/beaconpost/pkg/fault"
)

const (
	second = time.Second
	day    = 24 * time.Hour
)

// Intervals lists the intervals that a monitor may have, shortest first. Each divides a day, so that its slots are at the same times of every day (UTC)
// and one cron pattern names them all.
func Intervals() []time.Duration {
	list := []time.Duration{10 * second, 12 * second, 15 * second, 20 * second, 30 * second}
	for m := time.Minute; m < time.Hour; m += time.Minute {
		if time.Hour%m == 0 {
			list = append(list, m)
		}
	}
	for h := time.Hour; h <= day; h += time.Hour {
		if day%h == 0 {
			list = append(list, h)
		}
	}
	return list
}

// CheckInterval says whether a monitor may have the interval: an invalid_monitor fault if not.
func CheckInterval(interval time.Duration) error {
	if slices.Contains(Intervals(), interval) {
		return nil
	}
	return fault.Invalid("invalid_monitor", "interval",
		"Expected 10s, 12s, 15s, 20s, 30s, minutes that divide an hour (1m, 2m, 3m, 4m, 5m, 6m, 10m, 12m, 15m, 20m or 30m), or hours that divide a day (1h, 2h, 3h, 4h, 6h, 8h, 12h or 24h).")
}

// PhaseOf gives the phase of a monitor: whole milliseconds in [0, interval), by a hash of its id, so that monitors are spread over their interval
// wherever and whenever they start.
func PhaseOf(id uuid.UUID, interval time.Duration) time.Duration {
	most := interval.Milliseconds()
	if most <= 0 {
		return 0
	}
	sum := sha256.Sum256(id[:])
	n := binary.BigEndian.Uint64(sum[:8]) % uint64(most)
	return time.Duration(n) * time.Millisecond //nolint:gosec // less than most
}

// Schedule says when a monitor is checked. Interval is one of Intervals, Phase whole milliseconds in [0, Interval).
type Schedule struct {
	Interval time.Duration
	Phase    time.Duration
}

// ScheduleOf gives the schedule of a monitor with the interval.
func ScheduleOf(id uuid.UUID, interval time.Duration) Schedule {
	return Schedule{Interval: interval, Phase: PhaseOf(id, interval)}
}

// Slot gives the number of the slot that t is in: the last one whose time is not after t's millisecond.
func (s Schedule) Slot(t time.Time) int64 {
	return floor(t.UnixMilli()-s.Phase.Milliseconds(), s.Interval.Milliseconds())
}

// At gives the time of a slot, in UTC.
func (s Schedule) At(number int64) time.Time {
	return time.UnixMilli(number*s.Interval.Milliseconds() + s.Phase.Milliseconds()).UTC()
}

// Cron gives the schedule as a pattern of NATS: seconds, minutes, hours, day of month, month, day of week, in UTC. It fires at the start of the second
// in which a slot's time is, so up to a second early: who is fired waits for the slot's time.
func (s Schedule) Cron() string {
	first := int(s.Phase / time.Second)
	every := int(s.Interval / time.Second)
	switch {
	case every < 60:
		return list(first, every, 60) + " * * * * *"
	case every < 3600:
		return fmt.Sprintf("%d %s * * * *", first%60, list(first/60, every/60, 60))
	default:
		return fmt.Sprintf("%d %d %s * * *", first%60, first/60%60, list(first/3600, every/3600, 24))
	}
}

// list gives first, first+every, … below most as a field of a pattern.
func list(first, every, most int) string {
	if every == 1 {
		return "*"
	}
	var values []string
	for v := first % every; v < most; v += every {
		values = append(values, strconv.Itoa(v))
	}
	return strings.Join(values, ",")
}

// ID gives the id of a check, the same whoever makes it: a UUIDv7 with the slot's millisecond and a hash of the rest. Confirmation 0 is the slot's own check.
func (s Schedule) ID(monitor uuid.UUID, region string, slot int64, confirmation int) uuid.UUID {
	var numbers [16]byte
	binary.BigEndian.PutUint64(numbers[:8], uint64(slot))         //nolint:gosec // bits to be hashed
	binary.BigEndian.PutUint64(numbers[8:], uint64(confirmation)) //nolint:gosec // bits to be hashed
	sum := sha256.Sum256(slices.Concat(monitor[:], numbers[:], []byte(region)))
	var id uuid.UUID
	copy(id[6:], sum[:])
	ms := s.At(slot).UnixMilli()
	for i := range 6 {
		id[i] = byte(ms >> (40 - 8*i)) //nolint:gosec // the lowest 8 bits are meant
	}
	id[6] = id[6]&0x0f | 0x70 // version 7
	id[8] = id[8]&0x3f | 0x80 // variant of RFC 9562
	return id
}

func floor(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}
