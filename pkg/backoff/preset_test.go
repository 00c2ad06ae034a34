package backoff_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/backoff"
)

func TestPresets(t *testing.T) {
	t.Parallel()
	for _, name := range backoff.Presets() {
		p, ok := backoff.Preset(name)
		require.True(t, ok)
		require.NoError(t, p.Validate())
		require.Equal(t, name, p.PresetOf())
		p.MaxAge = time.Hour
		require.Equal(t, name, p.PresetOf(), "an age is beside it")
		require.Equal(t, p, backoff.Policy{Base: 7, Schedule: nil, MaxAttempts: 3}.Merge(p), "it is complete: nothing of what is below shows through")
		require.Equal(t, p, backoff.Policy{Schedule: []time.Duration{1}}.Merge(p))
	}
	_, ok := backoff.Preset("linear")
	require.False(t, ok)
	for _, other := range []backoff.Policy{{}, {MaxAttempts: 15}, {Base: time.Second}, {Schedule: []time.Duration{5 * time.Second}}} {
		require.Empty(t, other.PresetOf(), "%+v", other)
	}
	standard, _ := backoff.Preset(backoff.StandardWebhooks)
	require.Equal(t, 10, standard.Attempts())
	var total time.Duration
	for _, d := range standard.Schedule {
		total += d
	}
	require.Equal(t, 75*time.Hour+35*time.Minute+5*time.Second, total)
}

func TestTooOld(t *testing.T) {
	t.Parallel()
	p := backoff.Policy{MaxAge: time.Hour}
	require.False(t, p.TooOld(time.Hour))
	require.True(t, p.TooOld(time.Hour+1))
	require.False(t, backoff.Policy{}.TooOld(1<<62))
}
