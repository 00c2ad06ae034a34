package service

import (
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// The collector may let the heap grow to gcMost percent over what lives, as long as that is not more than gcRoom bytes; but never makes
// it collect more often than Go does by default. What lives is a few megabytes in a service without large caches: collecting those half as often
// as Go would costs little memory and a tenth less CPU (docs/benchmarks.md). With large caches the same percentage would cost hundreds of megabytes.
const (
	gcMost  = 400
	gcLeast = 100
	gcRoom  = 64 << 20
	gcEvery = 2 * time.Second
)

// TuneGC sets the collector's target, and again as the heap changes, until stop is called. It does nothing if GOGC is set.
func TuneGC() (stop func()) {
	if os.Getenv("GOGC") != "" {
		return func() {}
	}
	before := debug.SetGCPercent(gcMost)
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(gcEvery)
		defer tick.Stop()
		for present := gcMost; ; {
			select {
			case <-quit:
				return
			case <-tick.C:
			}
			// Setting it stops the world for a moment.
			if want := gcPercent(liveHeap()); want < present*9/10 || want > present*11/10 {
				debug.SetGCPercent(want)
				present = want
			}
		}
	}()
	return func() {
		close(quit)
		<-done
		debug.SetGCPercent(before)
	}
}

// gcPercent is the target for a heap of which so many bytes live.
func gcPercent(live uint64) int {
	return int(min(max(gcLeast, gcRoom*100/max(live, 1)), gcMost))
}

// liveHeap gives the bytes that the last collection found alive.
func liveHeap() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	if sample[0].Value.Kind() != metrics.KindUint64 {
		return 0
	}
	return sample[0].Value.Uint64()
}
