package kube

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"github.com/beaconpost/beaconpost/pkg/lifecycle"
)

// Process is a program that ends with us.
type Process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

// Spawn starts a program whose output is appended to a file.
func Spawn(cmd *exec.Cmd, log string) (*Process, error) {
	file, err := os.OpenFile(log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = file, file
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	lifecycle.DieWithParent(cmd.SysProcAttr, syscall.SIGKILL)
	p := &Process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // the kernel watches the thread
		defer runtime.UnlockOSThread()
		defer file.Close()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // ProcessState says how it ended
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	return p, nil
}

// Stop asks the process to end, and kills it when it has not within the time.
func (p *Process) Stop(within time.Duration) {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it has ended already
	select {
	case <-p.done:
	case <-time.After(within):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// command is a program that gets no environment of ours.
func command(path string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(context.Background(), path, args...)
	cmd.Env = []string{}
	return cmd
}
