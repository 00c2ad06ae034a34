package kube

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	retryAfter    = 500 * time.Millisecond // what was missing may be there; the kubelet waits longer
	restartAfter  = time.Second            // what has ended is started again; the kubelet waits longer, and longer each time
	livenessGrace = 5 * time.Second        // to end, for what did not answer
)

// pod is one, from when it has a node to when it is gone.
type pod struct {
	nodes  *Nodes
	object *core.Pod // as it was first seen: specs do not change
	ip     string    // as the API knows it; Reach has where it is
	dir    string

	once  sync.Once
	ended chan struct{} // closed when it is to stop
	grace time.Duration // that it has for it; set before

	status status
}

func newPod(n *Nodes, object *core.Pod, number int) *pod {
	return &pod{
		nodes: n, object: object, ended: make(chan struct{}), dir: filepath.Join(n.dir, string(object.UID)),
		ip: fmt.Sprintf("10.%d.%d.%d", n.network, number/250, number%250+1),
	}
}

// end has the pod stop within the grace. Only the first call counts.
func (p *pod) end(grace time.Duration) {
	p.once.Do(func() {
		p.grace = grace
		close(p.ended)
	})
}

// run starts the container as often as its policy says, and reports how it is.
func (p *pod) run(ctx context.Context) {
	defer os.RemoveAll(p.dir) //nolint:errcheck // of a test's directory
	p.status = status{phase: core.PodPending, started: metav1.Now()}
	for {
		code, again := p.live(ctx)
		switch policy := p.object.Spec.RestartPolicy; {
		case ctx.Err() != nil:
			return
		case p.isEnding():
			p.remove(ctx)
			return
		case again:
		case policy == core.RestartPolicyNever && code != 0:
			p.finish(ctx, core.PodFailed)
			return
		case policy != core.RestartPolicyAlways && code == 0:
			p.finish(ctx, core.PodSucceeded)
			return
		default:
			p.status.restarts++
			p.report(ctx)
			p.pause(ctx, restartAfter)
		}
	}
}

func (p *pod) isEnding() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

func (p *pod) pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-p.ended:
	case <-time.After(d):
	}
}

// finish waits, with a pod that has nothing left to do, until somebody deletes it.
func (p *pod) finish(ctx context.Context, phase core.PodPhase) {
	p.status.phase = phase
	p.report(ctx)
	select {
	case <-ctx.Done():
	case <-p.ended:
		p.remove(ctx)
	}
}

// remove tells the API that nothing of the pod is left.
func (p *pod) remove(ctx context.Context) {
	now, uid := int64(0), p.object.UID
	// It may be gone already.
	_ = p.nodes.client.CoreV1().Pods(p.object.Namespace).Delete(ctx, p.object.Name, metav1.DeleteOptions{GracePeriodSeconds: &now, Preconditions: &metav1.Preconditions{UID: &uid}})
}

// live runs the container once: its exit code, and whether it could not even be started and is to be tried again.
func (p *pod) live(ctx context.Context) (code int, again bool) {
	cmd, reason, err := p.prepare(ctx)
	if err != nil {
		p.status.waiting = &core.ContainerStateWaiting{Reason: reason, Message: err.Error()}
		p.report(ctx)
		p.pause(ctx, retryAfter)
		return 0, true
	}
	running, err := Spawn(cmd, p.nodes.Log(p.object.Namespace, p.object.Name))
	if err != nil {
		p.status.waiting = &core.ContainerStateWaiting{Reason: "RunContainerError", Message: err.Error()}
		p.report(ctx)
		p.pause(ctx, restartAfter)
		return 0, true
	}
	p.status.phase, p.status.waiting, p.status.running = core.PodRunning, nil, &core.ContainerStateRunning{StartedAt: metav1.Now()}
	p.report(ctx)
	p.watch(ctx, running)
	code = running.cmd.ProcessState.ExitCode()
	p.status.exited(code)
	p.report(ctx)
	return code, false
}

// watch returns when the process has ended, which it makes it do when the pod ends or the process does not answer.
func (p *pod) watch(ctx context.Context, running *Process) {
	probing, cancel := context.WithCancel(ctx)
	var prober sync.WaitGroup
	sick := make(chan struct{})
	changes := make(chan health)
	prober.Go(func() { p.probe(probing, changes, sick) })
	defer prober.Wait()
	defer cancel()
	for {
		select {
		case h := <-changes:
			p.status.health = h
			p.report(ctx)
		case <-running.done:
			return
		case <-sick:
			running.Stop(livenessGrace)
			return
		case <-ctx.Done():
			running.Stop(livenessGrace)
			return
		case <-p.ended:
			p.stop(ctx, running, changes)
			return
		}
	}
}

// stop does what its hook says, asks the process to end, and kills it when the grace is over. Until it has ended its probes are listened to.
func (p *pod) stop(ctx context.Context, running *Process, changes <-chan health) {
	over := time.After(p.grace)
	term := time.After(p.preStop())
	for {
		select {
		case h := <-changes:
			p.status.health = h
			p.report(ctx)
		case <-term:
			_ = running.cmd.Process.Signal(syscall.SIGTERM) // it has ended already
		case <-running.done:
			return
		case <-over:
			_ = running.cmd.Process.Kill()
			<-running.done
			return
		case <-ctx.Done():
			running.Stop(livenessGrace)
			return
		}
	}
}

func (p *pod) preStop() time.Duration {
	hook := p.container().Lifecycle
	if hook == nil || hook.PreStop == nil || hook.PreStop.Sleep == nil {
		return 0
	}
	return time.Duration(hook.PreStop.Sleep.Seconds) * time.Second
}

func (p *pod) container() *core.Container { return &p.object.Spec.Containers[0] }
