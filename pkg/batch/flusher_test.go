package batch

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The pace may run out between the look at it and the wait for it: then the wait is for nothing, not for ever.
func TestTheWaitForAPaceThatHasRunOutEnds(t *testing.T) {
	t.Parallel()
	b := New(Config{Pace: time.Millisecond}, func(context.Context, []int) {})
	defer b.Close(t.Context())
	c := &collector[int]{Batcher: b, done: make(chan []int, 1), timer: time.NewTimer(0), items: []int{1}, peak: 100}
	c.notBefore = time.Now().Add(time.Millisecond)
	pause := c.pause()
	require.False(t, c.ready(true, pause))
	time.Sleep(5 * time.Millisecond)
	ended := make(chan struct{})
	go func() {
		c.wait(true, pause)
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		require.Fail(t, "it waits for ever")
	}
	require.True(t, c.ready(true, c.pause()))
}
