package beaconpost_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/beaconpost/beaconpost/pkg/service/servicetest"
	"github.com/beaconpost/beaconpost/services/beaconpost/internal/demo"
)

const (
	testVersion = "v0.0.0-test"
	limit       = 2 * time.Minute // on anything that a process is waited for
	poll        = 10 * time.Millisecond
)

// binary is the program under test. All tests run it as a user does.
var binary string

func TestMain(m *testing.M) {
	code, err := withBinary(m.Run)
	http.DefaultClient.CloseIdleConnections()
	if err == nil && code == 0 {
		err = goleak.Find()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func withBinary(run func() int) (code int, err error) {
	dir, err := os.MkdirTemp("", "beaconpost-test-")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	binary = filepath.Join(dir, "beaconpost")
	build := exec.Command("go", "build", "-ldflags", "-X main.version="+testVersion, "-o", binary, "./cmd/beaconpost")
	if out, err := build.CombinedOutput(); err != nil {
		return 1, fmt.Errorf("build: %w\n%s", err, out)
	}
	return run(), nil
}

// output collects what a process writes.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// process is a run of the program.
type process struct {
	t              *testing.T
	cmd            *exec.Cmd
	stdout, stderr output
	done           chan struct{} // closed when it has ended
}

// start runs the program with args and nothing of the tests' BEACONPOST_ variables but environ. It is killed when the test ends.
func start(t *testing.T, environ []string, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(binary, args...), done: make(chan struct{})}
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "BEACONPOST_") || strings.HasPrefix(v, "BEACONPOST_POSTGRES_BIN=") {
			p.cmd.Env = append(p.cmd.Env, v)
		}
	}
	p.cmd.Env = append(p.cmd.Env, environ...)
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	require.NoError(t, p.cmd.Start())
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait() // the state says how it ended
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("beaconpost %s\n%s%s", strings.Join(args, " "), p.stdout.String(), p.stderr.String())
		}
	})
	return p
}

// run runs the program to its end.
func run(t *testing.T, environ []string, args ...string) *process {
	t.Helper()
	p := start(t, environ, args...)
	p.wait()
	return p
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill() // fails only when it has ended
	<-p.done
}

// wait gives the exit code.
func (p *process) wait() int {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(limit):
		require.Failf(p.t, "the process does not end", "beaconpost %s", strings.Join(p.cmd.Args[1:], " "))
	}
	return p.cmd.ProcessState.ExitCode()
}

// wantCode expects the process to have ended, or to end, with this code.
func (p *process) wantCode(code int) *process {
	p.t.Helper()
	require.Equalf(p.t, code, p.wait(), "%s%s", p.stdout.String(), p.stderr.String())
	return p
}

// wantError expects a failed command to say this on standard error, as one line or a list, without a page of help.
func (p *process) wantError(code int, parts ...string) {
	p.t.Helper()
	p.wantCode(code)
	for _, part := range parts {
		require.Contains(p.t, p.stderr.String(), part)
	}
	require.NotContains(p.t, p.stderr.String()+p.stdout.String(), "USAGE")
	require.Less(p.t, strings.Count(p.stderr.String(), "\n"), 8, p.stderr.String())
}

// line expects the command to have succeeded and gives what it printed.
func (p *process) line() string {
	p.t.Helper()
	p.wantCode(0)
	require.Empty(p.t, p.stderr.String())
	return strings.TrimSpace(p.stdout.String())
}

func (p *process) signal(s os.Signal) {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Signal(s))
}

// await waits until the condition holds; a process that ends before that fails the test.
func (p *process) await(what string, condition func() bool) {
	p.t.Helper()
	deadline := time.After(limit)
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-p.done:
			require.Failf(p.t, "the process ended", "while the test waited until %s\n%s%s", what, p.stdout.String(), p.stderr.String())
		case <-deadline:
			require.Failf(p.t, "timeout", "the test waited until %s\n%s%s", what, p.stdout.String(), p.stderr.String())
		}
	}
}

// instance is a running `beaconpost up`.
type instance struct {
	*process
	dir string
	demo.File
}

// up runs `beaconpost up` on the directory until it is ready.
func up(t *testing.T, dir string, environ []string, args ...string) *instance {
	t.Helper()
	return startUp(t, dir, environ, args...).ready(dir)
}

// ready waits until `beaconpost up` says so.
func (p *process) ready(dir string) *instance {
	p.t.Helper()
	p.await("it is ready", func() bool { return strings.Contains(p.stdout.String(), "Beaconpost is ready") })
	file, err := demo.Read(dir)
	require.NoError(p.t, err)
	return &instance{process: p, dir: dir, File: file}
}

// startUp runs `beaconpost up` on free ports, unless args say otherwise.
func startUp(t *testing.T, dir string, environ []string, args ...string) *process {
	t.Helper()
	return start(t, environ, append([]string{"up", "--data-dir", dir, "--listen", "127.0.0.1:0", "--admin-ports", "random"}, args...)...)
}

// stop is Ctrl-C.
func (i *instance) stop() {
	i.t.Helper()
	i.signal(os.Interrupt)
	i.wantCode(0)
	require.Contains(i.t, i.stdout.String(), "\nStopped.\n")
	requireNothingLeft(i.t, i.dir)
}

func (i *instance) client() servicetest.Client {
	return servicetest.Client{T: i.t, URL: i.URL, Token: i.APIKey}
}

// operator is a client that may manage tenants.
func (i *instance) operator() servicetest.Client {
	i.t.Helper()
	return servicetest.Client{T: i.t, URL: i.URL, Token: run(i.t, nil, "token", "--data-dir", i.dir, "--operator").line()}
}

// sharedTempDir is a t.TempDir that the account that Postgres runs as can enter.
func sharedTempDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.Chmod(filepath.Dir(dir), 0o755))
	return dir
}

// freePort gives a port that nobody listens on at the moment.
func freePort(t *testing.T) string {
	t.Helper()
	_, port, err := net.SplitHostPort(listen(t, "127.0.0.1:0", true))
	require.NoError(t, err)
	return port
}

// takenPort gives a port that somebody listens on until the test ends.
func takenPort(t *testing.T) string {
	t.Helper()
	_, port, err := net.SplitHostPort(listen(t, "127.0.0.1:0", false))
	require.NoError(t, err)
	return port
}

func listen(t *testing.T, addr string, closeNow bool) string {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	require.NoError(t, err)
	if closeNow {
		require.NoError(t, l.Close())
	} else {
		t.Cleanup(func() { _ = l.Close() })
	}
	return l.Addr().String()
}

// get gives the status of a GET, 0 if there was no answer, and the body.
func get(t *testing.T, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodGet, url, nil)
	require.NoError(t, err)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, ""
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(body)
}

// receiver is an endpoint that accepts everything.
type receiver struct {
	url string

	mu  sync.Mutex
	ids []string // webhook-id of what came
}

// receive listens on the port of 127.0.0.1 until the test ends.
func receive(t *testing.T, port string) *receiver {
	t.Helper()
	r := &receiver{}
	l, err := net.Listen("tcp", "127.0.0.1:"+port)
	require.NoError(t, err)
	r.url = "http://" + l.Addr().String()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.ids = append(r.ids, req.Header.Get("Webhook-Id"))
	}))
	_ = server.Listener.Close()
	server.Listener = l
	server.Start()
	t.Cleanup(server.Close)
	return r
}

func (r *receiver) received() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.ids...)
}

// processesOf lists running processes that name dir or work below it.
func processesOf(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	var found []string
	if len(files) == 0 { // no Linux
		out, err := exec.Command("ps", "-A", "-o", "args=").Output()
		require.NoError(t, err)
		for _, line := range strings.Split(string(out), "\n") {
			if strings.Contains(line, dir) {
				found = append(found, line)
			}
		}
		return found
	}
	for _, file := range files {
		args, _ := os.ReadFile(file) // it may have ended
		at, _ := os.Readlink(filepath.Join(filepath.Dir(file), "cwd"))
		if strings.Contains(string(args), dir) || strings.HasPrefix(at, dir) {
			found = append(found, strings.ReplaceAll(string(args), "\x00", " "))
		}
	}
	return found
}

func requireNothingLeft(t *testing.T, dir string) {
	t.Helper()
	require.Empty(t, processesOf(t, dir))
}

func requireClosed(t *testing.T, addr string) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err == nil {
		_ = conn.Close()
	}
	require.ErrorIs(t, err, syscall.ECONNREFUSED, addr)
}
