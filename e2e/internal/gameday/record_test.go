package gameday

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/e2e/internal/observe"
)

var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func at(seconds int) time.Time { return noon.Add(time.Duration(seconds) * time.Second) }

func TestSpellsAreJoinedLooks(t *testing.T) {
	t.Parallel()
	looks := map[time.Time]bool{at(0): false, at(5): false, at(10): true, at(20): true, at(35): false, at(40): false}
	require.Equal(t, []spell{
		{alert: "X", since: at(0), fires: at(10), until: at(20)},
		{alert: "X", since: at(35), until: at(40)},
	}, join("X", looks, 10*time.Second))
	require.Empty(t, join("X", nil, time.Second))
}

func TestAPanelMovesBySpreadsOfItsCalm(t *testing.T) {
	t.Parallel()
	r := &recorded{day: &Day{Interval: 5 * time.Second}}
	for name, c := range map[string]struct {
		calm, fault []float64
		want        float64
	}{
		"within":          {[]float64{8, 12, 10, 9}, []float64{11, 9, 10, 12}, 0},
		"above":           {[]float64{8, 12, 10, 9}, []float64{11, 24, 10, 12}, 2.975},
		"below":           {[]float64{8, 12, 10, 9}, []float64{11, 0, 10, 12}, 2},
		"grows as before": {[]float64{0, 1, 2, 3}, []float64{4, 5, 6, 7}, 1. / 3},
		"grows faster":    {[]float64{0, 1, 2, 3}, []float64{4, 20, 6, 7}, 16. / 3},
		"falls as before": {[]float64{3, 2, 1, 0}, []float64{-1, -2, -3, -4}, 1. / 3},
		"flat, a little":  {[]float64{100, 100, 100, 100}, []float64{100, 105, 100, 100}, .5},
		"from nothing":    {[]float64{0, 0, 0, 0}, []float64{0, .1, .1, 0}, farthest},
		"stays nothing":   {[]float64{0, 0, 0, 0}, []float64{0, 0, 0, 0}, 0},
		"appears":         {nil, []float64{1, 1, 1, 1}, farthest},
		"appears briefly": {nil, []float64{1, 1}, 0},
		"vanishes":        {[]float64{1, 1, 1, 1}, []float64{1}, farthest},
		"was rarely":      {[]float64{1, math.NaN()}, []float64{1}, 0},
	} {
		var samples []observe.Sample
		for i, v := range c.calm {
			samples = append(samples, observe.Sample{At: at(-20 + 5*i), Value: v})
		}
		for i, v := range c.fault {
			samples = append(samples, observe.Sample{At: at(5 * i), Value: v})
		}
		require.InDelta(t, c.want, r.movement(samples, at(0), at(-20), at(20)), 1e-9, name)
	}
}
