package backoff

import (
	"slices"
	"time"
)

// The presets.
const (
	Exponential      = "exponential"       // Default
	StandardWebhooks = "standard-webhooks" // the schedule that the Standard Webhooks specification gives as an example: ten attempts in three days
)

// Presets lists the names that Preset knows.
func Presets() []string { return []string{Exponential, StandardWebhooks} }

// Preset gives the policy of a name, complete but for its jitter.
func Preset(name string) (p Policy, ok bool) {
	switch name {
	case Exponential:
		p = Default()
		p.Jitter = 0
		return p, true
	case StandardWebhooks:
		return Policy{Schedule: []time.Duration{
			5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour, 10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour,
		}}, true
	}
	return Policy{}, false
}

// PresetOf gives the name of the preset whose delays and attempts p has; "" if there is none.
func (p Policy) PresetOf() string {
	for _, name := range Presets() {
		preset, _ := Preset(name)
		if slices.Equal(preset.Schedule, p.Schedule) && preset.Base == p.Base && preset.Cap == p.Cap && (preset.MaxAttempts == p.MaxAttempts || len(p.Schedule) > 0) {
			return name
		}
	}
	return ""
}
