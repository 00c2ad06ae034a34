package stack

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"time"

	"github.com/beaconpost/beaconpost/pkg/lifecycle"
)

const stopLimit = 60 * time.Second

// Process is a program that may be killed.
type Process struct {
	Name  string
	Admin string // address of the admin port; "" if it has none
	API   string // address of the API

	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

// Spawn starts a program that appends its output to log.
func Spawn(name, log, path string, environ []string, args ...string) (*Process, error) {
	file, err := os.OpenFile(log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(context.Background(), path, args...)
	cmd.Env = environ
	cmd.Stdout, cmd.Stderr = file, file
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	lifecycle.DieWithParent(cmd.SysProcAttr, syscall.SIGKILL)
	p := &Process{Name: name, cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer file.Close()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended is seen by what it wrote
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return p, nil
}

func (s *Stack) spawn(name, path string, environ []string, args ...string) (*Process, error) {
	log := filepath.Join(s.cfg.Dir, name+".log")
	if s.cfg.DiscardLogs {
		log = os.DevNull
	}
	return Spawn(name, log, path, environ, args...)
}

func (s *Stack) spawnAt(at Host, name, path string, environ []string, args ...string) (*Process, error) {
	command := slices.Concat(at.Enter, []string{path}, args)
	return s.spawn(name, command[0], environ, command[1:]...)
}

// service starts one of our services and waits until it is ready.
func (s *Stack) service(ctx context.Context, name, listen string) (*Process, error) {
	port, err := FreePort(ctx)
	if err != nil {
		return nil, err
	}
	return s.launch(ctx, Host{}, name, name, listen, fmt.Sprintf("127.0.0.1:%d", port))
}

// launch is service on given ports of a host, with variables of its own. as is what its log is called.
func (s *Stack) launch(ctx context.Context, at Host, name, as, listen, admin string, extra ...string) (*Process, error) {
	environ := slices.Concat(s.environ, s.varied, []string{"BEACONPOST_LISTEN=" + listen, "BEACONPOST_ADMIN_LISTEN=" + admin}, extra)
	p, err := s.spawnAt(at, as, s.cfg.Binaries.Beaconpost, environ, name)
	if err != nil {
		return nil, err
	}
	p.Admin, p.API = admin, listen
	err = p.await(ctx, func() bool {
		_, err := Get(ctx, "http://"+admin+"/readyz")
		return err == nil
	})
	if err != nil {
		p.Kill() // not everybody keeps what is not ready
	}
	return p, err
}

func (s *Stack) serviceAnywhere(ctx context.Context, name string) (*Process, error) {
	port, err := FreePort(ctx)
	if err != nil {
		return nil, err
	}
	return s.service(ctx, name, fmt.Sprintf("127.0.0.1:%d", port))
}

// await waits until up says true.
func (p *Process) await(ctx context.Context, up func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if up() {
			return nil
		}
		select {
		case <-tick.C:
		case <-p.done:
			return fmt.Errorf("%s ended at its start; see its log", p.Name)
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w", p.Name, ctx.Err())
		}
	}
}

// PID is the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Kill ends the process at once, as a crash does.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // it has ended already
	<-p.done
}

// Signal sends a signal to the process; to one that has ended it means nothing.
func (p *Process) Signal(sig os.Signal) { _ = p.cmd.Process.Signal(sig) }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Terminate asks the process to end and waits for it. One that does not end is killed, which is an error.
func (p *Process) Terminate() error {
	p.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
		return nil
	case <-time.After(stopLimit):
		p.Kill()
		return fmt.Errorf("%s did not end after SIGTERM", p.Name)
	}
}

// Get reads a URL that must answer 200.
func Get(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s", url, resp.Status)
	}
	return body, err
}

// Command runs a program to its end; an error has its output.
func Command(ctx context.Context, dir, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %v: %w\n%s", name, args, err, out)
	}
	return nil
}
