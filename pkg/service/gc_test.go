package service

import (
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestGCPercent(t *testing.T) {
	for live, want := range map[uint64]int{0: 400, 1 << 20: 400, 16 << 20: 400, 32 << 20: 200, 64 << 20: 100, 1 << 30: 100} {
		require.Equal(t, want, gcPercent(live), live)
	}
}

func TestTuneGCLeavesGOGCAlone(t *testing.T) {
	percent := func() int {
		p := debug.SetGCPercent(100)
		debug.SetGCPercent(p)
		return p
	}
	t.Setenv("GOGC", "")
	before := percent()
	stop := TuneGC()
	require.Equal(t, gcMost, percent())
	stop()
	require.Equal(t, before, percent())

	t.Setenv("GOGC", "77")
	stop = TuneGC()
	require.Equal(t, before, percent(), "the runtime has read the variable")
	stop()
	runtime.GC()
	require.NotZero(t, liveHeap())
}
