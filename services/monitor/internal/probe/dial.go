package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/net/idna"

	"github.com/beaconpost/beaconpost/pkg/netguard"
	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
)

// ownDialFault marks, in the only thing that net.DNSError keeps of it, that the resolver could not open a socket.
const ownDialFault = "prober cannot dial name server"

// newResolver gives the system's resolver, or one that asks a name server (host:port) in place of the system's. It is Go's: a thread of libc's for each name
// would be too many.
func newResolver(nameserver string) *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		if nameserver != "" {
			address = nameserver
		}
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if _, fault := ours(err); err != nil && (fault || errors.Is(err, syscall.EACCES)) && ctx.Err() == nil {
			return nil, fmt.Errorf("%s: %w", ownDialFault, err)
		}
		return conn, err
	}}
}

// socket is a connection of a check. It is closed when the check's context ends, which ends whatever waits on it, and is closed
// before what is built on it: the farewells of TLS and HTTP/2 are writes, with seconds of their own, to a target that may read nothing.
type socket struct {
	net.Conn
	once  sync.Once
	unbid func() bool
	err   error
}

func newSocket(ctx context.Context, conn net.Conn) *socket {
	s := &socket{Conn: conn}
	s.unbid = context.AfterFunc(ctx, func() { _ = conn.Close() })
	return s
}

// Close implements net.Conn. It may be called more than once.
func (s *socket) Close() error {
	s.end()
	return s.err
}

func (s *socket) end() {
	s.once.Do(func() {
		s.unbid()
		s.err = s.Conn.Close()
	})
}

// dial resolves a name and connects to its addresses, one after another, until one answers.
func (l *look) dial(ctx context.Context, network, host, port string) (*socket, error) {
	addrs, err := l.resolve(ctx, host)
	if err != nil {
		return nil, err
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, ownFault{"The port is not valid.", err}
	}
	l.clock.enter(connecting)
	var first error
	for i, addr := range addrs {
		conn, err := l.p.dialOne(ctx, network, netip.AddrPortFrom(addr, uint16(number)), len(addrs)-i)
		if err == nil {
			l.saw.ip = addr.String()
			l.clock.enter(idle)
			return newSocket(ctx, conn), nil
		}
		first = worse(first, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, first
}

// worse gives the error that tells more: the first of an address that we may and can connect to.
func worse(first, err error) error {
	if first == nil {
		return err
	}
	_, blocked := errors.AsType[*netguard.BlockedError](first)
	if _, fault := ours(first); blocked || fault {
		return err
	}
	return first
}

// dialOne connects to one of left addresses, in its share of the time that is left.
func (p *Prober) dialOne(ctx context.Context, network string, addr netip.AddrPort, left int) (net.Conn, error) {
	if deadline, ok := ctx.Deadline(); ok && left > 1 {
		limited, cancel := context.WithTimeout(ctx, time.Until(deadline)/time.Duration(left))
		defer cancel()
		ctx = limited
	}
	dialer := net.Dialer{Control: p.cfg.Network.Control, KeepAlive: -1}
	conn, err := dialer.DialContext(ctx, network, addr.String())
	// Routers that forbid the way say EACCES, by ICMPv6, as a route of this machine does that forbids it.
	if (errors.Is(err, syscall.ENETUNREACH) || errors.Is(err, syscall.EACCES)) && !p.hasRoute(addr) {
		return nil, ownFault{"The prober has no way to addresses of this kind.", err}
	}
	return conn, err
}

// hasRoute tells a network that we have no way to from one that says it is unreachable: to connect a UDP socket asks only the routing
// table of this machine, and sends nothing.
func (p *Prober) hasRoute(addr netip.AddrPort) bool {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(addr))
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

// resolve gives a name's addresses in the resolver's order, and an address itself.
func (l *look) resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	if addr, err := netip.ParseAddr(host); err == nil {
		l.saw.ips = []netip.Addr{addr}
		return l.saw.ips, nil
	}
	l.clock.enter(resolving)
	addrs, err := l.lookup(ctx, asciiName(host))
	if err != nil {
		return nil, err
	}
	for i := range addrs {
		addrs[i] = addrs[i].Unmap()
	}
	l.saw.ips = addrs
	l.clock.enter(idle)
	return addrs, nil
}

// lookup asks who the spec says, or who we ask, which is nobody else's choice.
func (l *look) lookup(ctx context.Context, name string) ([]netip.Addr, error) {
	spec := l.job.Spec
	if spec.Resolver == "" || spec.Kind == check.DNS {
		return l.p.resolver.LookupNetIP(ctx, "ip"+spec.IPFamily, name)
	}
	server, err := check.ParseResolver(spec.Resolver)
	if err != nil {
		return nil, ownFault{"The resolver is not valid.", err}
	}
	if err := l.p.cfg.Network.CheckAddr(server); err != nil {
		return nil, err
	}
	return l.p.lookupAt(ctx, server.String(), spec.IPFamily, name)
}

// asciiName gives a name as it is asked for.
func asciiName(host string) string {
	name, err := idna.Lookup.ToASCII(host)
	if err != nil || host == "" {
		return host // names with an underscore are none for IDNA, but are resolved
	}
	return name
}

// permits says whether any port of an address may be connected to.
func (p *Prober) permits(addr netip.Addr) bool { return p.checkIP(addr) == nil }

// checkIP judges an address without a port.
func (p *Prober) checkIP(addr netip.Addr) error {
	policy := p.cfg.Network
	policy.Ports = nil
	return policy.CheckAddr(netip.AddrPortFrom(addr, 1))
}
