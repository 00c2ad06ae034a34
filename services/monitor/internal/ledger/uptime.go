package ledger

import "time"

// Times say for how long a monitor was in each status.
type Times struct{ Up, Degraded, Down, Maintenance, Unknown, Paused time.Duration }

// Of gives the time in a status; nil if there is no such status.
func (t *Times) Of(status string) *time.Duration {
	switch status {
	case "up":
		return &t.Up
	case "degraded":
		return &t.Degraded
	case "down":
		return &t.Down
	case "maintenance":
		return &t.Maintenance
	case "unknown":
		return &t.Unknown
	case "paused":
		return &t.Paused
	}
	return nil
}

// Counted is the time that says something of the target: neither maintenance, which was announced, nor what nobody saw.
func (t Times) Counted() time.Duration { return t.Up + t.Degraded + t.Down }

// Ratio is the share of the counted time that it was not down. It is meaningless, and ok false, if no time counts.
func (t Times) Ratio() (ratio float64, ok bool) {
	counted := t.Counted()
	if counted == 0 {
		return 0, false
	}
	return float64(t.Up+t.Degraded) / float64(counted), true
}

// Budget is for how long it may be down in the counted time by a target such as 0.999, and how much of that is left: below zero exactly if the ratio
// is below the target.
func (t Times) Budget(target float64) (whole, left time.Duration) {
	whole = time.Duration((1 - target) * float64(t.Counted()))
	return whole, whole - t.Down
}

// BurnRate says how many times as fast as a target permits the budget was spent: 1 spends all of it in the time that it is for.
func (t Times) BurnRate(target float64) (rate float64, ok bool) {
	ratio, ok := t.Ratio()
	if !ok {
		return 0, false
	}
	return (1 - ratio) / (1 - target), true
}
