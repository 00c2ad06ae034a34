package pgcluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"github.com/beaconpost/beaconpost/pkg/lifecycle"
)

// process is a postmaster that is a child of this process.
type process struct {
	proc     *os.Process
	logStart int64         // where its lines begin in the log
	done     chan struct{} // closed when it has ended
	err      error         // how it ended; read after done
}

// launchOwned starts the server and waits for its end in a goroutine of its own, bound to the thread that forked: to
// Linux the parent whose death is signalled is that thread.
func (in *instance) launchOwned() (*process, error) {
	cmd, log, err := in.command()
	if err != nil {
		return nil, err
	}
	// Fast shutdown is the postmaster's answer to SIGINT. Its own process group keeps a terminal's Ctrl-C away from it,
	// because the services are to stop first.
	lifecycle.DieWithParent(cmd.SysProcAttr, syscall.SIGINT) // or, where there is no such signal, the next start finds and stops the orphan
	cmd.SysProcAttr.Setpgid = true
	p := &process{logStart: log.start, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		log.file.Close() // the child has its own
		p.proc = cmd.Process
		started <- err
		if err == nil {
			p.err = cmd.Wait()
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("run postgres: %w", err)
	}
	return p, nil
}

func (p *process) pid() int { return p.proc.Pid }

func (p *process) exited() (bool, error) {
	select {
	case <-p.done:
		if p.err == nil {
			return true, errors.New("exit status 0")
		}
		return true, p.err
	default:
		return false, nil
	}
}

// stop ends the process, by force when ctx ends before it does. It has ended when stop returns.
func (p *process) stop(ctx context.Context) error {
	p.signal(syscall.SIGINT)
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
	}
	p.signal(syscall.SIGQUIT)
	quit, cancel := context.WithTimeout(context.WithoutCancel(ctx), quitTimeout)
	defer cancel()
	select {
	case <-p.done:
	case <-quit.Done():
		p.signal(syscall.SIGKILL)
		<-p.done
	}
	return fmt.Errorf("stop postgres: made to quit without a checkpoint: %w", ctx.Err())
}

func (p *process) signal(sig os.Signal) { _ = p.proc.Signal(sig) } // fails only when it has ended

// command prepares the server's start; no context may end it. The caller closes the log.
func (in *instance) command() (*exec.Cmd, openedLog, error) {
	log, err := openLog(in.logFile)
	if err != nil {
		return nil, openedLog{}, err
	}
	cmd := &exec.Cmd{
		Path:   in.bin.path("postgres"),
		Args:   append([]string{in.bin.path("postgres")}, in.args()...),
		Env:    environment(),
		Stdout: log.file, Stderr: log.file,
		SysProcAttr: &syscall.SysProcAttr{},
	}
	in.runAs.apply(cmd)
	return cmd, log, nil
}

// environment keeps the caller's PG… variables and locale from changing how the server behaves.
func environment() []string {
	return []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC"}
}
