package up

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/beaconpost/beaconpost/pkg/lifecycle"
)

// alerts is a copy of deploy/k8s/observability/alerts.yaml, which `make generate` makes.
//
//go:embed alerts.yaml
var alerts []byte

const (
	observeStart = 20 * time.Second
	observeStop  = 10 * time.Second
	observePoll  = 100 * time.Millisecond
)

// findPrometheus is asked before anything is started.
func findPrometheus() (string, error) {
	program, err := exec.LookPath("prometheus")
	if err != nil {
		return "", errors.New("--observe needs Prometheus, and there is no program prometheus on PATH: install it, or leave --observe out")
	}
	return program, nil
}

// startPrometheus has a server on a free port of this machine scrape the services and look at the alerts. Its data are in the data directory.
func (s *system) startPrometheus(ctx context.Context, program string) error {
	dir, err := filepath.Abs(filepath.Join(s.dir, "prometheus"))
	if err != nil {
		return err
	}
	if err := s.writePrometheus(dir); err != nil {
		return fmt.Errorf("set up Prometheus: %w", err)
	}
	address, err := freeAddress(ctx)
	if err != nil {
		return fmt.Errorf("find a port for Prometheus: %w", err)
	}
	p, err := startProcess(filepath.Join(dir, "prometheus.log"), program, "--config.file="+filepath.Join(dir, "prometheus.yml"),
		"--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+address, "--enable-feature=exemplar-storage")
	if err != nil {
		return fmt.Errorf("start Prometheus: %w", err)
	}
	s.stack.Push("Prometheus", observeStop+time.Second, p.end)
	s.prometheusURL = "http://" + address
	return s.awaitPrometheus(ctx, p)
}

// process is a program that runs beside us.
type process struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{} // closed when it has ended
	err  error         // how; read it after that
}

func startProcess(log, program string, args ...string) (*process, error) {
	file, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	p := &process{cmd: exec.CommandContext(context.Background(), program, args...), log: log, done: make(chan struct{})} // it is stopped in order
	p.cmd.Stdout, p.cmd.Stderr = file, file
	p.cmd.SysProcAttr = &syscall.SysProcAttr{}
	lifecycle.DieWithParent(p.cmd.SysProcAttr, syscall.SIGTERM)
	started := make(chan error)
	go func() { // ends with the program, which end and the kernel see to
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.err = p.cmd.Wait()
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// end asks it to end, and ends it when it does not.
func (p *process) end(ctx context.Context) error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	ctx, cancel := context.WithTimeout(ctx, observeStop)
	defer cancel()
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		_ = p.cmd.Process.Kill()
		<-p.done
		return errors.New("it did not end in time")
	}
}

func (s *system) writePrometheus(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	targets := make([]string, 0, len(s.adminAddrs))
	for _, name := range serviceNames() {
		targets = append(targets, fmt.Sprintf("%q", s.adminAddrs[name]))
	}
	config := "# Written by beaconpost up --observe at each start.\nglobal: {scrape_interval: 5s, evaluation_interval: 5s}\nrule_files: [alerts.yaml]\n" +
		"scrape_configs:\n  - {job_name: beaconpost, static_configs: [{targets: [" + strings.Join(targets, ", ") + "]}]}\n"
	return errors.Join(os.WriteFile(filepath.Join(dir, "alerts.yaml"), alerts, 0o600), os.WriteFile(filepath.Join(dir, "prometheus.yml"), []byte(config), 0o600))
}

// awaitPrometheus waits until it answers. That it ends is no failure of ours, but a start that does not work is told.
func (s *system) awaitPrometheus(ctx context.Context, p *process) error {
	ctx, cancel := context.WithTimeout(ctx, observeStart)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.prometheusURL+"/-/ready", http.NoBody)
		if err != nil {
			return err
		}
		if resp, err := http.DefaultClient.Do(req); err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-p.done:
			return fmt.Errorf("Prometheus ended (%w): see %s", p.err, p.log) //nolint:staticcheck // a name
		default:
		}
		if !lifecycle.Wait(ctx, observePoll) {
			return fmt.Errorf("Prometheus did not become ready: see %s", p.log) //nolint:staticcheck // a name
		}
	}
}

func freeAddress(ctx context.Context) (string, error) {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return ln.Addr().String(), ln.Close()
}
