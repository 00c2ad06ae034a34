// Package probe makes one check: it looks at a target as a monitor's spec says and reports what it saw.
//
// It owns the protocols, the limits that no target can exceed (time, bytes, addresses) and the sorting of what went wrong into causes. It does
// not own when a check is made, what several checks mean together, or anything stored. What it cannot do for reasons of its own it reports
// as not checked, never as down.
//
// A target is hostile until proven otherwise, and so is whoever chose it: every address is judged when it is dialled, no answer is read to an
// end that it does not have, and nothing outlives the check's timeout.
package probe

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"runtime/debug"
	"time"

	"cel.dev/cel-go/cel"
	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/quic-go/quic-go/http3"

	"github.com/beaconpost/beaconpost/pkg/netguard"
	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
)

const (
	defaultPlans   = 10_000
	maxHeaderBytes = 64 << 10
)

// Config is what a Prober is made of. Its zero value works and permits public addresses only.
type Config struct {
	Network   netguard.Policy
	UserAgent string
	// Nameserver (host:port) is asked for targets' names, and by DNS checks that name none; "": those of /etc/resolv.conf. The policy does not apply to it.
	Nameserver string
	Resolver   *net.Resolver  // for targets' names, instead; nil: none
	RootCAs    *x509.CertPool // nil: the system's
	Plans      int            // monitors whose patterns, expressions and certificates stay compiled, and whose tokens are kept; 10,000 unless given
	// AllowProxies lets monitors name a proxy. Network is asked about the proxy's own address only: what the proxy connects to, a private
	// network behind it included, cannot be seen from here.
	AllowProxies bool
	// Trouble is told of our own faults; nil: nobody is.
	Trouble func(doing string, err error)
}

// Prober makes checks. It is safe for concurrent use by any number of goroutines, and keeps no connection between two checks.
type Prober struct {
	cfg      Config
	resolver *net.Resolver
	plans    *plans
	tokens   *lru.Cache[tokenKey, token]
	env      *cel.Env
	web      *http.Transport  // turns a connection into a client of HTTP; it dials nothing itself
	web3     *http3.Transport // does so for HTTP/3
}

// New makes a Prober.
func New(cfg Config) *Prober {
	if cfg.Plans <= 0 {
		cfg.Plans = defaultPlans
	}
	if cfg.Trouble == nil {
		cfg.Trouble = func(string, error) {}
	}
	if cfg.UserAgent == "" {
		cfg.UserAgent = "Beaconpost"
	}
	resolver := cfg.Resolver
	if resolver == nil {
		resolver = newResolver(cfg.Nameserver)
	}
	tokens, _ := lru.New[tokenKey, token](cfg.Plans) // fails only for a size below 1
	return &Prober{cfg: cfg, resolver: resolver, plans: newPlans(cfg.Plans), tokens: tokens, env: newEnv(), web: newTransport(), web3: newTransportHTTP3()}
}

// Close releases what the Prober holds. Checks must have ended.
func (p *Prober) Close() { p.web.CloseIdleConnections() }

// Check makes one check. It returns within job.Timeout and a moment, whatever the target does; if ctx ends earlier, the check is not made.
func (p *Prober) Check(ctx context.Context, job *check.Job) check.Result {
	l := &look{p: p, job: job, started: time.Now()}
	limited, cancel := context.WithTimeout(ctx, job.Timeout)
	defer cancel()
	err := l.run(limited)
	switch {
	case err == nil:
	case ctx.Err() != nil:
		err = ownFault{"The prober stopped before the check was over.", ctx.Err()}
	case limited.Err() != nil && !isHindrance(err): // which knows already
		err = overdue{err}
	}
	return l.judge(err)
}

// run makes the check. What a library panics on is a fault of ours, and no reason for the other checks to end.
func (l *look) run(ctx context.Context) (err error) {
	defer func() {
		if what := recover(); what != nil {
			l.p.cfg.Trouble("make a check", fmt.Errorf("monitor %s: panic: %v\n%s", l.job.Monitor, what, debug.Stack()))
			err = ownFault{"The prober failed.", fmt.Errorf("panic: %v", what)}
		}
	}()
	if l.plan, err = l.p.planFor(l.job); err != nil {
		return ownFault{"The monitor cannot be carried out: " + err.Error() + ".", err}
	}
	if err := l.make(ctx); err != nil {
		return err
	}
	l.clock.enter(idle)
	return l.plan.assert(ctx, l)
}

func (l *look) make(ctx context.Context) error {
	if l.plan.proxy != nil && !l.p.cfg.AllowProxies {
		return hindrance{&unmet{check.CauseBlockedAddress, "This installation does not permit proxies.", "no proxy", ""}}
	}
	switch l.job.Spec.Kind {
	case check.HTTP:
		return l.http(ctx)
	case check.TCP:
		return l.tcp(ctx)
	case check.UDP:
		return l.udp(ctx)
	case check.TLS:
		return l.tls(ctx)
	case check.DNS:
		return l.dns(ctx)
	case check.ICMP:
		return l.icmp(ctx)
	case check.GRPC:
		return l.grpc(ctx)
	case check.WebSocket:
		return l.websocket(ctx)
	default:
		return ownFault{"A monitor of this kind is not checked by a prober.", fmt.Errorf("kind %q", l.job.Spec.Kind)}
	}
}
