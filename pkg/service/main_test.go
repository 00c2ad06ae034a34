package service_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/beaconpost/beaconpost/pkg/service"
)

// childVar makes the test program a service's main function, for the tests of Main.
const childVar = "BEACONPOST_TEST_SERVICE_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childVar) != "" {
		os.Exit(child())
	}
	goleak.VerifyTestMain(m)
}

type childConfig struct {
	service.Config
	Name string `env:"NAME" envDefault:"nobody"`
}

func child() int {
	return service.Main(func(ctx context.Context, cfg childConfig) error {
		if cfg.Name == "broken" {
			return errors.New("it is broken")
		}
		_, _ = os.Stdout.WriteString(cfg.Name + " " + cfg.Version + "\n")
		<-ctx.Done()
		return nil
	}, func(cfg *childConfig) { cfg.Version = "1.2.3" })
}

func command(environ ...string) (*exec.Cmd, *bytes.Buffer) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append([]string{childVar + "=1", "PATH=" + os.Getenv("PATH")}, environ...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	return cmd, &stderr
}

func exitCode(t *testing.T, err error) int {
	t.Helper()
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	return exit.ExitCode()
}

func TestMainReportsAllOfABadConfiguration(t *testing.T) {
	t.Parallel()
	cmd, stderr := command("BEACONPOST_SHUTDOWN_GRACE=soon", "BEACONPOST_NAMES=x", "BEACONPOST_STREAM_REPLICAS=1")
	require.Equal(t, 2, exitCode(t, cmd.Run()))
	for _, line := range []string{
		"BEACONPOST_DATABASE_URL: is required",
		`BEACONPOST_SHUTDOWN_GRACE: "soon" is not a duration`,
		"BEACONPOST_NAMES: is not a known variable, did you mean BEACONPOST_NAME?",
	} {
		require.Contains(t, stderr.String(), line)
	}
}

func TestMainExitsWithOneAndTheError(t *testing.T) {
	t.Parallel()
	cmd, stderr := command("BEACONPOST_DATABASE_URL=postgres://x", "BEACONPOST_NAME=broken")
	require.Equal(t, 1, exitCode(t, cmd.Run()))
	require.Equal(t, "error: it is broken\n", stderr.String())
}

func TestMainRunsUntilASignal(t *testing.T) {
	t.Parallel()
	cmd, stderr := command("BEACONPOST_DATABASE_URL=postgres://x", "BEACONPOST_NAME=shop")
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() }) // if it still lives
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "shop 1.2.3", strings.TrimSpace(line))
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(t, cmd.Wait(), stderr.String())
}
