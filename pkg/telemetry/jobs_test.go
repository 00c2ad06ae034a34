package telemetry_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/telemetry"
)

func TestJobsAreCountedAndTimed(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	jobs := telemetry.NewJobs(telemetry.NewMetrics(reg))
	fails := errors.New("broken")
	job := jobs.Timed("sweep", func(context.Context) (bool, error) { return true, fails })
	for range 3 {
		more, err := job(t.Context())
		require.True(t, more)
		require.Equal(t, fails, err)
	}
	fails = nil
	_, err := job(t.Context())
	require.NoError(t, err)
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = jobs.Timed("sweep", func(ctx context.Context) (bool, error) { return false, ctx.Err() })(stopped)
	require.Error(t, err)
	jobs.Timed("never done", nil)

	require.NoError(t, testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP beaconpost_job_failures_total Rounds of background work that failed. They are repeated.
# TYPE beaconpost_job_failures_total counter
beaconpost_job_failures_total{doing="never done"} 0
beaconpost_job_failures_total{doing="sweep"} 3
`), "beaconpost_job_failures_total"))
	count, err := testutil.GatherAndCount(reg, "beaconpost_job_duration_seconds")
	require.NoError(t, err)
	require.Equal(t, 2, count)
}
