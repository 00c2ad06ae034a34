package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/google/uuid"
)

// The roles are what the program does when it starts itself: every part of a run is a process of its own, so that the system says what each
// of them costs.
const (
	roleSink      = "role:sink"
	roleChi       = "role:chi"
	roleCollector = "role:collector"
	roleProducer  = "role:producer"
	roleDirect    = "role:direct"
)

// RunRole does what args[0] names if it is a role, and reports whether it was.
func RunRole(args []string) (bool, error) {
	if len(args) == 0 || !strings.HasPrefix(args[0], "role:") {
		return false, nil
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	announce := func(addr string) { fmt.Println(addr) }
	switch args[0] {
	case roleSink:
		return true, RunSink(ctx, "127.0.0.1:0", announce)
	case roleChi:
		return true, unlessClosed(RunChi(ctx, "127.0.0.1:0", announce))
	case roleCollector:
		return true, unlessClosed(RunCollector(ctx, "127.0.0.1:0", announce))
	case roleProducer, roleDirect:
		return true, runLoad(ctx, args[0], os.Stdin, os.Stdout)
	}
	return true, fmt.Errorf("unknown role %q", args[0])
}

func unlessClosed(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// runLoad reads a Load, prints the number of accepted events each second, and at last the result as JSON.
func runLoad(ctx context.Context, role string, in io.Reader, out io.Writer) error {
	var load Load
	if err := json.NewDecoder(in).Decode(&load); err != nil {
		return fmt.Errorf("read load: %w", err)
	}
	var result Produced
	var ids []uuid.UUID
	var err error
	if role == roleDirect {
		result, err = PostDirectly(ctx, load)
	} else {
		result, ids, err = Produce(ctx, load, func(n int64) { fmt.Fprintln(out, n) })
	}
	if err != nil {
		return err
	}
	if load.IDs != "" {
		if err := os.WriteFile(load.IDs, writeIDs(ids), 0o600); err != nil {
			return err
		}
	}
	return json.NewEncoder(out).Encode(result)
}

// helper is a process in one of the roles that serve.
type helper struct {
	addr string
	cmd  *exec.Cmd
}

// startHelper starts this program in a role and waits for the address that it prints.
func startHelper(role string) (*helper, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(context.Background(), self, role)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	var addr string
	if _, err := fmt.Fscanln(out, &addr); err != nil {
		return nil, fmt.Errorf("%s did not start: %w", role, err)
	}
	return &helper{addr: addr, cmd: cmd}, nil
}

func (h *helper) pid() int { return h.cmd.Process.Pid }

func (h *helper) stop() {
	_ = h.cmd.Process.Signal(syscall.SIGTERM) // it has ended already
	_ = h.cmd.Wait()                          // by that signal
}

// loadResult is what a load's process reported and used.
type loadResult struct {
	Produced
	cpu    time.Duration
	memory int64 // most resident bytes
}

// perSecond is the rate of acceptance.
func (r loadResult) perSecond() float64 { return float64(r.Accepted) / r.Elapsed.Seconds() }

// runLoadProcess runs a load in a process of its own. each is told once a second how many events were accepted so far.
func runLoadProcess(ctx context.Context, role string, load Load, each func(accepted int64)) (loadResult, error) {
	self, err := os.Executable()
	if err != nil {
		return loadResult{}, err
	}
	in, err := json.Marshal(load)
	if err != nil {
		return loadResult{}, err
	}
	cmd := exec.CommandContext(ctx, self, role)
	cmd.Stdin, cmd.Stderr = bytes.NewReader(in), os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return loadResult{}, err
	}
	if err := cmd.Start(); err != nil {
		return loadResult{}, err
	}
	var result loadResult
	decoder := json.NewDecoder(out)
	for {
		var line json.RawMessage
		if err = decoder.Decode(&line); err != nil {
			break
		}
		var n int64
		if json.Unmarshal(line, &n) == nil {
			each(n)
			continue
		}
		if err = json.Unmarshal(line, &result.Produced); err != nil {
			break
		}
	}
	if waited := cmd.Wait(); waited != nil {
		return result, fmt.Errorf("%s: %w", role, waited)
	}
	if err != io.EOF { //nolint:errorlint // the decoder returns io.EOF itself
		return result, fmt.Errorf("read from %s: %w", role, err)
	}
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		result.memory = usage.Maxrss << 10
	}
	result.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	return result, nil
}
