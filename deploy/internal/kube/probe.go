package kube

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	core "k8s.io/api/core/v1"
)

// probe asks a container how it is, as often as its probes say, and sends what changes until ctx ends. It closes sick when the container is to be started again.
func (p *pod) probe(ctx context.Context, changes chan<- health, sick chan<- struct{}) {
	c := p.container()
	once := func(bool) bool { return false }
	if c.StartupProbe != nil && !p.repeat(ctx, c.StartupProbe, once) {
		if ctx.Err() == nil {
			close(sick)
		}
		return
	}
	tell := func(ready bool) bool {
		select {
		case changes <- health{up: true, ready: ready}:
		case <-ctx.Done():
		}
		return true
	}
	tell(c.ReadinessProbe == nil)
	var probes sync.WaitGroup
	defer probes.Wait()
	if c.ReadinessProbe != nil {
		probes.Go(func() { p.repeat(ctx, c.ReadinessProbe, tell) })
	}
	whileWell := func(ok bool) bool { return ok }
	if c.LivenessProbe != nil && !p.repeat(ctx, c.LivenessProbe, whileWell) && ctx.Err() == nil {
		close(sick)
	}
}

// repeat asks until ctx ends or next does not want to go on. That is told of an answer which is another one than before and came as often as it must to count.
// It gives the last answer that counted, false if there was none.
func (p *pod) repeat(ctx context.Context, probe *core.Probe, next func(ok bool) bool) bool {
	good, bad, last, told := int32(0), int32(0), false, false
	for wait := time.Duration(probe.InitialDelaySeconds) * time.Second; ; wait = time.Duration(probe.PeriodSeconds) * time.Second {
		select {
		case <-ctx.Done():
			return last
		case <-time.After(wait):
		}
		if p.ask(ctx, probe) == nil {
			good, bad = good+1, 0
		} else {
			good, bad = 0, bad+1
		}
		counts := good == probe.SuccessThreshold || bad == probe.FailureThreshold
		if !counts || (told && last == (good > 0)) {
			continue
		}
		last, told = good > 0, true
		if !next(last) {
			return last
		}
	}
}

// ask makes one request.
func (p *pod) ask(ctx context.Context, probe *core.Probe) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(probe.TimeoutSeconds)*time.Second)
	defer cancel()
	get := probe.HTTPGet
	if get == nil {
		return errors.New("only probes by HTTP are made")
	}
	port := get.Port.IntVal
	for _, named := range p.container().Ports {
		if named.Name == get.Port.StrVal && named.Name != "" {
			port = named.ContainerPort
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(Reach(p.ip), strconv.Itoa(int(port)))+get.Path, http.NoBody)
	if err != nil {
		return err
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode < 200 || resp.StatusCode >= 400 {
		return fmt.Errorf("answer is %s", resp.Status)
	}
	return nil
}
