package batch_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/beaconpost/beaconpost/pkg/batch"
)

// BenchmarkPut is the cost of one item when flushing is free.
func BenchmarkPut(b *testing.B) {
	for _, parallel := range []int{1, 4} {
		b.Run(fmt.Sprintf("flushers=%d", parallel), func(b *testing.B) {
			engine := batch.New(batch.Config{MaxItems: 500, Parallel: parallel}, func(context.Context, []int) {})
			defer engine.Close(b.Context())
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					_ = engine.Put(b.Context(), 1)
				}
			})
		})
	}
}

// BenchmarkGroupCommit has 256 callers that wait for a 2 ms commit each: items/flush shows what is shared.
func BenchmarkGroupCommit(b *testing.B) {
	for _, parallel := range []int{1, 2, 4} {
		b.Run(fmt.Sprintf("flushers=%d", parallel), func(b *testing.B) {
			var flushes, items atomic.Int64
			engine := batch.New(batch.Config{MaxItems: 500, Parallel: parallel}, func(_ context.Context, waiting []chan struct{}) {
				time.Sleep(2 * time.Millisecond)
				flushes.Add(1)
				items.Add(int64(len(waiting)))
				for _, w := range waiting {
					w <- struct{}{}
				}
			})
			defer engine.Close(b.Context())
			b.SetParallelism(128)
			b.RunParallel(func(pb *testing.PB) {
				answered := make(chan struct{}, 1)
				for pb.Next() {
					_ = engine.Put(b.Context(), answered)
					<-answered
				}
			})
			b.ReportMetric(float64(items.Load())/float64(flushes.Load()), "items/flush")
		})
	}
}
