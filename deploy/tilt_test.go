package deploy_test

import (
	"bufio"
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/stretchr/testify/require"
)

const tiltDir = "tilt"

func tiltDockerfile(t *testing.T) []byte {
	t.Helper()
	text, err := os.ReadFile(tiltDir + "/Dockerfile")
	require.NoError(t, err)
	return text
}

// The image of `tilt up` is what BuildKit builds without a word, on both kinds of machines, and is as little root as the one that ships.
func TestTiltDockerfile(t *testing.T) {
	t.Parallel()
	for _, architecture := range []string{"amd64", "arm64"} {
		require.Empty(t, findings(t, tiltDockerfile(t), architecture), architecture)
	}
	parsed, err := parser.Parse(bytes.NewReader(tiltDockerfile(t)))
	require.NoError(t, err)
	stages, _, err := instructions.Parse(parsed.AST, nil)
	require.NoError(t, err)
	require.Len(t, stages, 1)
	require.Regexp(t, `^[a-z]+:[0-9.]+$`, stages[0].BaseName, "pinned")
	last := stages[0].Commands[len(stages[0].Commands)-2:]
	require.Equal(t, "65532:65532", last[0].(*instructions.UserCommand).User)
	require.Equal(t, []string{"/run.sh"}, last[1].(*instructions.EntrypointCommand).CmdLine)
}

// runScript is the script of the image of `tilt up`, with its root in a directory.
func runScript(t *testing.T, root string) string {
	t.Helper()
	parsed, err := parser.Parse(bytes.NewReader(tiltDockerfile(t)))
	require.NoError(t, err)
	stages, _, err := instructions.Parse(parsed.AST, nil)
	require.NoError(t, err)
	for _, command := range stages[0].Commands {
		if c, ok := command.(*instructions.CopyCommand); ok && c.DestPath == "/run.sh" {
			require.Len(t, c.SourceContents, 1)
			return strings.NewReplacer("/live/", root+"/live/", "=/beaconpost", "="+root+"/beaconpost").Replace(c.SourceContents[0].Data)
		}
	}
	t.Fatal("there is no /run.sh")
	return ""
}

// container runs the script with a program that says what becomes of it.
type container struct {
	root  string
	cmd   *exec.Cmd
	lines *bufio.Scanner
}

func (c *container) says(t *testing.T, want string) {
	t.Helper()
	require.True(t, c.lines.Scan(), "nothing more is said, expected %q", want)
	require.Equal(t, want, c.lines.Text())
}

const runs = "while :; do sleep 0.02; done"

// put replaces a program as tar does: the file is another, the directory the same. It says what its name and arguments are, and then does something.
func put(t *testing.T, path, name, then string) {
	t.Helper()
	program := "#!/bin/sh\ntrap 'echo " + name + " stopped; exit 7' TERM\necho " + name + " \"$@\"\n" + then + "\n"
	require.NoError(t, os.WriteFile(path+".new", []byte(program), 0o755))
	require.NoError(t, os.Rename(path+".new", path))
}

func runContainer(t *testing.T) *container {
	t.Helper()
	c := &container{root: t.TempDir()}
	require.NoError(t, os.Mkdir(filepath.Join(c.root, "live"), 0o755))
	put(t, filepath.Join(c.root, "beaconpost"), "first", runs)
	script := filepath.Join(c.root, "run.sh")
	require.NoError(t, os.WriteFile(script, []byte(runScript(t, c.root)), 0o755))
	c.cmd = exec.CommandContext(context.Background(), "sh", script, "ingest", "a b")
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := c.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.cmd.Start())
	t.Cleanup(func() { _ = syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL) })
	time.AfterFunc(time.Minute, func() { _ = syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL) })
	c.lines = bufio.NewScanner(out)
	c.says(t, "first ingest a b")
	return c
}

// What Tilt does with a changed program: it puts it into the volume and sends SIGHUP. The program that runs is stopped first, and the newest is started. SIGTERM
// stops it as the kubelet expects.
func TestTiltImageStartsWhatChanged(t *testing.T) {
	t.Parallel()
	c := runContainer(t)
	was := "first"
	for _, is := range []string{"second", "third"} {
		put(t, filepath.Join(c.root, "live", "beaconpost"), is, runs)
		require.NoError(t, c.cmd.Process.Signal(syscall.SIGHUP))
		c.says(t, was+" stopped")
		c.says(t, is+" ingest a b")
		was = is
	}
	require.NoError(t, c.cmd.Process.Signal(syscall.SIGTERM))
	c.says(t, "third stopped")
	require.False(t, c.lines.Scan(), "it is not started again")
	var exit *exec.ExitError
	require.ErrorAs(t, c.cmd.Wait(), &exit)
	require.Equal(t, 7, exit.ExitCode())
}

// A crash ends the container, or Kubernetes would not know; also that of a program that was put there.
func TestTiltImageEndsWithItsProgram(t *testing.T) {
	t.Parallel()
	c := runContainer(t)
	put(t, filepath.Join(c.root, "live", "beaconpost"), "broken", "exit 3")
	require.NoError(t, c.cmd.Process.Signal(syscall.SIGHUP))
	c.says(t, "first stopped")
	c.says(t, "broken ingest a b")
	require.False(t, c.lines.Scan())
	var exit *exec.ExitError
	require.ErrorAs(t, c.cmd.Wait(), &exit)
	require.Equal(t, 3, exit.ExitCode())
}

// A pod that is told to stop while it changes does not start again.
func TestTiltImageStopsWhileItChanges(t *testing.T) {
	t.Parallel()
	c := runContainer(t)
	require.NoError(t, c.cmd.Process.Signal(syscall.SIGHUP))
	require.NoError(t, c.cmd.Process.Signal(syscall.SIGTERM))
	c.says(t, "first stopped")
	require.False(t, c.lines.Scan(), "it is not started again")
	var exit *exec.ExitError
	require.ErrorAs(t, c.cmd.Wait(), &exit)
	require.Equal(t, 7, exit.ExitCode())
}
