package lifecycle_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/lifecycle"
)

func TestRoundsGoOnWhileThereIsMoreAndWaitForNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var told []error
		trouble := func(_ string, err error) { told = append(told, err) }
		made := 0
		work := lifecycle.Rounds(trouble, "x", time.Minute, func(context.Context) (bool, error) {
			made++
			return made < 3, nil
		})
		work(t.Context())
		require.Equal(t, 3, made)
		require.Empty(t, told)

		began := time.Now()
		stuck := lifecycle.Rounds(trouble, "x", time.Minute, func(ctx context.Context) (bool, error) {
			<-ctx.Done() // a database that never answers
			return true, ctx.Err()
		})
		stuck(t.Context())
		require.Equal(t, time.Minute, time.Since(began))
		require.Equal(t, []error{context.DeadlineExceeded}, told)

		stopped, stop := context.WithCancel(t.Context())
		lifecycle.Rounds(trouble, "x", time.Minute, func(context.Context) (bool, error) {
			stop()
			return true, errors.New("because of the stop")
		})(stopped)
		require.Len(t, told, 1, "a stop is no trouble")
	})
}
