package lifecycle_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/beaconpost/beaconpost/pkg/lifecycle"
)

// childVar makes the test program the process that TestASecondSignalEndsTheProcess sends signals to.
const childVar = "BEACONPOST_TEST_LIFECYCLE_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childVar) != "" {
		child()
		return
	}
	goleak.VerifyTestMain(m)
}

func TestStepsRunInReverseOrderAndOnce(t *testing.T) {
	t.Parallel()
	var s lifecycle.Stack
	require.NoError(t, s.Unwind(t.Context()), "a zero stack is empty")
	var ran []string
	for _, name := range []string{"telemetry", "database", "broker"} {
		s.Push(name, time.Second, func(context.Context) error { ran = append(ran, name); return nil })
	}
	require.NoError(t, s.Unwind(t.Context()))
	require.Equal(t, []string{"broker", "database", "telemetry"}, ran)
	require.NoError(t, s.Unwind(t.Context()))
	require.Len(t, ran, 3)
}

func TestEveryStepRunsAndAllErrorsAreNamed(t *testing.T) {
	t.Parallel()
	var s lifecycle.Stack
	first, second := errors.New("disk full"), errors.New("no route")
	ran := 0
	step := func(err error) func(context.Context) error {
		return func(context.Context) error { ran++; return err }
	}
	s.Push("first", time.Second, step(first))
	s.Push("fine", time.Second, step(nil))
	s.Push("second", time.Second, step(second))
	err := s.Unwind(t.Context())
	require.Equal(t, 3, ran)
	require.ErrorIs(t, err, first)
	require.ErrorIs(t, err, second)
	require.EqualError(t, err, "stop second: no route\nstop first: disk full")
}

func TestStepsAreBoundedByTheirLimitAndByTheWhole(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var s lifecycle.Stack
		start := time.Now()
		ended := map[string]time.Duration{}
		hang := func(name string) func(context.Context) error {
			return func(ctx context.Context) error {
				<-ctx.Done()
				ended[name] = time.Since(start)
				return ctx.Err()
			}
		}
		s.Push("late", time.Minute, hang("late"))
		s.Push("cut", time.Minute, hang("cut"))
		s.Push("own limit", 2*time.Second, hang("own limit"))
		whole, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		require.ErrorIs(t, s.Unwind(whole), context.DeadlineExceeded)
		require.Equal(t, map[string]time.Duration{"own limit": 2 * time.Second, "cut": 5 * time.Second, "late": 5 * time.Second}, ended)
	})
}

func TestPeriodicWorkStartsAtARandomTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const replicas, interval = 50, time.Minute
		start := time.Now()
		runs := make([][]time.Duration, replicas)
		g := lifecycle.NewGroup(t.Context())
		for i := range replicas {
			g.Every(interval, func(context.Context) { runs[i] = append(runs[i], time.Since(start)) })
		}
		time.Sleep(3 * interval) // fake time
		synctest.Wait()
		require.NoError(t, g.Stop(t.Context()))
		firsts := map[time.Duration]bool{}
		for _, at := range runs {
			require.Len(t, at, 3)
			require.Less(t, at[0], interval)
			require.Equal(t, []time.Duration{at[0], at[0] + interval, at[0] + 2*interval}, at)
			firsts[at[0]] = true
		}
		require.Greater(t, len(firsts), replicas/2, "replicas that start together do not work together")
	})
}

func TestASlowRunDelaysTheNext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var begun, ended []time.Time
		g := lifecycle.NewGroup(t.Context())
		g.Every(time.Second, func(ctx context.Context) {
			begun = append(begun, time.Now())
			lifecycle.Wait(ctx, 5*time.Second)
			ended = append(ended, time.Now())
		})
		time.Sleep(20 * time.Second) // fake time
		require.NoError(t, g.Stop(t.Context()))
		require.GreaterOrEqual(t, len(begun), 3)
		for i := 1; i < len(begun); i++ {
			require.Equal(t, ended[i-1].Add(time.Second), begun[i])
		}
	})
}

func TestStopWaitsForGoroutines(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var done atomic.Bool
		g := lifecycle.NewGroup(t.Context())
		g.Go(func(ctx context.Context) {
			<-ctx.Done()
			time.Sleep(3 * time.Second) // fake: clearing up takes a while
			done.Store(true)
		})
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := g.Stop(short)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "wait for goroutines")
		require.False(t, done.Load())
		require.NoError(t, g.Stop(t.Context()), "it may be asked again")
		require.True(t, done.Load())
	})
}

func TestAGroupEndsWithItsContextAndPassesItsValues(t *testing.T) {
	t.Parallel()
	type key struct{}
	ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "value"))
	g := lifecycle.NewGroup(ctx)
	got := make(chan any, 1)
	g.Go(func(ctx context.Context) {
		<-ctx.Done()
		got <- ctx.Value(key{})
	})
	cancel()
	require.Equal(t, "value", <-got)
	require.NoError(t, g.Stop(t.Context()))
}

func TestWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		require.True(t, lifecycle.Wait(t.Context(), time.Hour))
		require.Equal(t, time.Hour, time.Since(start))
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.False(t, lifecycle.Wait(short, time.Hour))
		require.Equal(t, time.Hour+time.Second, time.Since(start))
	})
}

// child stops orderly at the first signal, and that takes for ever.
func child() {
	ctx, stop := lifecycle.Signals(context.Background())
	defer stop()
	fmt.Println("ready")
	<-ctx.Done()
	fmt.Println("stopping")
	_, _ = io.Copy(io.Discard, os.Stdin) // the parent does not close it
}

func TestASecondSignalEndsTheProcess(t *testing.T) {
	t.Parallel()
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(signal.String(), func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), childVar+"=1")
			_, err := cmd.StdinPipe()
			require.NoError(t, err)
			out, err := cmd.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, cmd.Start())
			t.Cleanup(func() { _ = cmd.Process.Kill() }) // if it still lives
			lines := bufio.NewScanner(out)
			next := func() string {
				require.True(t, lines.Scan(), "%v", lines.Err())
				return lines.Text()
			}
			require.Equal(t, "ready", next())
			require.NoError(t, cmd.Process.Signal(signal))
			require.Equal(t, "stopping", next())

			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			var exit *exec.ExitError
			require.Eventually(t, func() bool {
				select {
				case err := <-ended:
					return errors.As(err, &exit)
				default:
					// The handler is taken back a moment after the context ended.
					_ = cmd.Process.Signal(signal)
					return false
				}
			}, 10*time.Second, 10*time.Millisecond)
			status := exit.Sys().(syscall.WaitStatus)
			require.True(t, status.Signaled())
			require.Equal(t, signal, status.Signal())
		})
	}
}
