package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/beaconpost/beaconpost/e2e/internal/proxy"
	"github.com/beaconpost/beaconpost/e2e/internal/stack"
	"github.com/beaconpost/beaconpost/pkg/lifecycle"
)

const (
	heard     = time.Second      // until the proxies of all nodes know that a pod is ending
	preStop   = 5 * time.Second  // the chart's preStopSeconds
	grace     = 35 * time.Second // its shutdownGraceSeconds
	mostGrace = preStop + grace + 25*time.Second
	dialLimit = 5 * time.Second
)

// pod is a process of a deployment.
type pod struct {
	*stack.Process
	host int
}

// deployment is what a Deployment of Kubernetes is: so many pods of a service, and a Service in front of them if they answer requests.
type deployment struct {
	system  *system
	service string

	mu      sync.Mutex
	pods    []*pod
	serving []*pod // those that new connections go to
	next    int    // of serving
	started int
	late    int // pods that had to be killed at the end of their grace
	front   *proxy.Proxy
}

// expose gives it an address of its own. A connection goes to one of the pods that serve, each in its turn, and stays there; one that cannot be made is not tried
// elsewhere, just as kube-proxy does not.
func (d *deployment) expose(ctx context.Context) (err error) {
	d.front, err = proxy.Start(context.WithoutCancel(ctx), d.system.lan.here, func(ctx context.Context) (net.Conn, error) {
		d.mu.Lock()
		if len(d.serving) == 0 {
			d.mu.Unlock()
			return nil, errors.New("no pod is ready")
		}
		d.next++
		to := d.serving[d.next%len(d.serving)].API
		d.mu.Unlock()
		return (&net.Dialer{Timeout: dialLimit}).DialContext(ctx, "tcp", to)
	})
	return err
}

func (d *deployment) url() string { return "http://" + d.front.Addr }

// start starts a pod on a host; it serves as soon as it is ready.
func (d *deployment) start(ctx context.Context, host int) error {
	d.mu.Lock()
	d.started++
	as := d.service + "-" + strconv.Itoa(d.started)
	d.mu.Unlock()
	process, err := d.system.stack.Launch(ctx, d.system.lan.hosts[host], d.service, as)
	if err != nil {
		return fmt.Errorf("%s on host%d: %w", as, host, err)
	}
	p := &pod{process, host}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.pods, d.serving = append(d.pods, p), append(d.serving, p)
	return nil
}

func (d *deployment) leave(p *pod) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.serving = slices.DeleteFunc(d.serving, func(other *pod) bool { return other == p })
}

func (d *deployment) forget(p *pod) {
	d.leave(p)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.pods = slices.DeleteFunc(d.pods, func(other *pod) bool { return other == p })
}

// all is a copy of what runs, the oldest first.
func (d *deployment) all() []*pod {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.pods)
}

// terminate ends a pod as a kubelet does: it serves until everybody has heard, after preStop comes SIGTERM, and at the end of the grace SIGKILL.
func (d *deployment) terminate(ctx context.Context, p *pod) {
	deadline := time.NewTimer(mostGrace)
	defer deadline.Stop()
	lifecycle.Wait(ctx, heard)
	d.leave(p)
	lifecycle.Wait(ctx, preStop-heard)
	p.Signal(syscall.SIGTERM)
	select {
	case <-p.Done():
	case <-deadline.C:
		p.Kill()
		d.mu.Lock()
		d.late++
		d.mu.Unlock()
	}
	d.forget(p)
}

// roll replaces all pods, as maxSurge 1 and maxUnavailable 0 have it: when a new one is ready an old one begins to end, and the next new one does not wait for that.
func (d *deployment) roll(ctx context.Context) error {
	var ending sync.WaitGroup
	defer ending.Wait()
	for _, old := range d.all() {
		if err := d.start(ctx, old.host); err != nil {
			return err
		}
		ending.Go(func() { d.terminate(ctx, old) })
	}
	return nil
}

// crash kills a pod's process; a kubelet starts it again at once.
func (d *deployment) crash(ctx context.Context, p *pod) error {
	p.Kill()
	d.forget(p)
	return d.start(ctx, p.host)
}
