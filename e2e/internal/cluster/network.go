package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"

	"github.com/beaconpost/beaconpost/e2e/internal/stack"
)

// lan is a network of hosts: namespaces of the kernel, each with one interface, on a bridge. This process is on the bridge too.
type lan struct {
	bridge string
	here   string // this process' address
	hosts  []stack.Host
	made   [][]string // arguments of ip that take away what was made
}

// ErrNotPermitted says that namespaces cannot be made here.
var ErrNotPermitted = errors.New("hosts are network namespaces, which takes Linux, root and the command ip")

// newLAN makes one. Remove it, also after an error.
func newLAN(ctx context.Context, hosts int) (*lan, error) {
	l := &lan{bridge: fmt.Sprintf("bpb%d", os.Getpid())}
	if _, err := exec.LookPath("ip"); err != nil || os.Geteuid() != 0 {
		return l, ErrNotPermitted
	}
	network, err := freeNetwork()
	if err != nil {
		return l, err
	}
	address := func(n int) string { return strings.TrimSuffix(network.Addr().String(), ".0") + fmt.Sprintf(".%d", n) }
	l.here = address(1)
	l.add(ctx, &err, []string{"link", "del", l.bridge}, "link", "add", l.bridge, "type", "bridge")
	l.add(ctx, &err, nil, "addr", "add", l.here+"/24", "dev", l.bridge)
	l.add(ctx, &err, nil, "link", "set", l.bridge, "up")
	for n := range hosts {
		at := stack.Host{Name: fmt.Sprintf("host%d", n), Address: address(11 + n)}
		space, link := l.space(n), l.link(n)
		at.Enter = []string{"ip", "netns", "exec", space}
		l.add(ctx, &err, []string{"netns", "del", space}, "netns", "add", space)
		l.add(ctx, &err, []string{"link", "del", link}, "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", space)
		l.add(ctx, &err, nil, "link", "set", link, "master", l.bridge)
		l.add(ctx, &err, nil, "link", "set", link, "up")
		l.add(ctx, &err, nil, "-n", space, "addr", "add", at.Address+"/24", "dev", "eth0")
		l.add(ctx, &err, nil, "-n", space, "link", "set", "eth0", "up")
		l.add(ctx, &err, nil, "-n", space, "link", "set", "lo", "up")
		l.hosts = append(l.hosts, at)
	}
	return l, err
}

func (l *lan) space(n int) string { return fmt.Sprintf("bp%d-%d", os.Getpid(), n) }
func (l *lan) link(n int) string  { return fmt.Sprintf("bpv%d-%d", os.Getpid(), n) }

// freeNetwork is one of RFC 2544's, for tests of networks, that no interface here is in.
func freeNetwork() (netip.Prefix, error) {
	taken, err := net.InterfaceAddrs()
	if err != nil {
		return netip.Prefix{}, err
	}
next:
	for n := range 50 {
		network := netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 18, byte(100 + (os.Getpid()+n)%100), 0}), 24)
		for _, addr := range taken {
			if prefix, err := netip.ParsePrefix(addr.String()); err == nil && prefix.Overlaps(network) {
				continue next
			}
		}
		return network, nil
	}
	return netip.Prefix{}, errors.New("no free network in 198.18.100.0–198.18.199.0")
}

// add does one step unless an earlier one failed, and notes what takes it back.
func (l *lan) add(ctx context.Context, failed *error, undo []string, args ...string) {
	if *failed != nil {
		return
	}
	if *failed = stack.Command(ctx, ".", "ip", args...); *failed == nil && undo != nil {
		l.made = append([][]string{undo}, l.made...)
	}
}

// cut separates a host from all others, which is silent: what is sent does not arrive.
func (l *lan) cut(ctx context.Context, n int) error {
	return stack.Command(ctx, ".", "ip", "link", "set", l.link(n), "nomaster")
}

// join connects it again.
func (l *lan) join(ctx context.Context, n int) error {
	return stack.Command(ctx, ".", "ip", "link", "set", l.link(n), "master", l.bridge)
}

// remove takes everything away.
func (l *lan) remove() error {
	var errs []error
	for _, undo := range l.made {
		errs = append(errs, stack.Command(context.Background(), ".", "ip", undo...))
	}
	return errors.Join(errs...)
}
