// Package netguard keeps requests to addresses that tenants choose out of the network they are sent from.
//
// It owns the policy of permitted addresses and ports. The check that counts is Control, on the address that is about to
// be dialled, after every name resolution and for every redirect or retry; CheckURL is early feedback and proves
// nothing, because a name may resolve differently later. It does not own HTTP clients, and cannot see through a proxy:
// with one, the proxy has to refuse private addresses itself.
//
// What is public is code.dny.dev/ssrf's to say: its lists are generated from IANA's registries. The rest is ours, because
// that library has one list for allow and deny, which also opens what is behind an allowed transition network, does not
// know metadata services in private networks, and reads neither URLs nor a configuration.
package netguard

import (
	"fmt"
	"net/netip"
	"slices"
	"syscall"

	"code.dny.dev/ssrf"

	"github.com/beaconpost/beaconpost/pkg/config"
)

// Policy says what may be dialled. The zero Policy permits every port of public unicast addresses and nothing else. It is
// a value, safe for concurrent use as long as nobody changes its slices.
//
// The order is: Ports, Deny, cloud metadata services, Allow, the two switches, public addresses. An IPv4 address inside
// an IPv6 one (::ffff:0:0/96) is judged as the IPv4 address that will be dialled. An address of a transition mechanism
// (NAT64, 6to4, Teredo, ISATAP) must be permitted itself, and so must the IPv4 address that it leads to: allowing the
// gateway is not allowing what is behind it.
type Policy struct {
	AllowPrivate  bool           `env:"ALLOW_PRIVATE" doc:"Permit private networks (RFC 1918, IPv6 unique local)."`
	AllowLoopback bool           `env:"ALLOW_LOOPBACK" doc:"Permit the machine itself. For development only."`
	Allow         []netip.Prefix `env:"ALLOW" doc:"Networks that are permitted although they are not public. A cloud metadata service must be named by its full address."`
	Deny          []netip.Prefix `env:"DENY" doc:"Networks that are refused although they are public."`
	Ports         []uint16       `env:"PORTS" doc:"The only permitted ports; empty permits all."`
	HTTPSOnly     bool           `env:"HTTPS_ONLY" doc:"Refuse http URLs. Set it for ingest and delivery alike."`
}

// Validate implements config.Validator.
func (p Policy) Validate() []error {
	var problems []error
	for _, list := range []struct {
		name     string
		prefixes []netip.Prefix
	}{{"ALLOW", p.Allow}, {"DENY", p.Deny}} {
		for _, prefix := range list.prefixes {
			if prefix.Addr().Is4In6() { // it would never match: what is dialled is the IPv4 address
				problems = append(problems, config.Invalid(list.name, "expected IPv4 networks in the form 192.0.2.0/24, got %s", prefix))
			}
		}
	}
	if slices.Contains(p.Ports, 0) {
		problems = append(problems, config.Invalid("PORTS", "expected ports from 1 to 65535, got 0"))
	}
	return problems
}

// BlockedError says that the policy refuses an address. It is found with errors.As in what a Dialer or an HTTP client
// returns. Its text is safe for the tenant who chose the address.
type BlockedError struct {
	Addr   netip.AddrPort
	Reason string
}

// Error gives address and reason.
func (e *BlockedError) Error() string {
	return fmt.Sprintf("address %s is not permitted: %s", e.Addr, e.Reason)
}

// Control is a net.Dialer's Control function: it runs after name resolution, before each connection. Its error is a
// *BlockedError, or plain if network or address are not such as a Dialer gives for TCP and UDP.
func (p Policy) Control(network, address string, _ syscall.RawConn) error {
	switch network {
	case "tcp4", "tcp6", "udp4", "udp6":
	default:
		return fmt.Errorf("network %q is not permitted", network)
	}
	addr, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("parse dialled address: %w", err)
	}
	return p.CheckAddr(addr)
}

// CheckAddr judges one address and port. Its error is a *BlockedError.
func (p Policy) CheckAddr(addr netip.AddrPort) error {
	if !p.permitsPort(addr.Port()) {
		return &BlockedError{addr, "this port is not permitted"}
	}
	if reason := p.refusal(addr.Addr().WithZone("").Unmap()); reason != "" {
		return &BlockedError{addr, reason}
	}
	return nil
}

func (p Policy) permitsPort(port uint16) bool {
	return port != 0 && (len(p.Ports) == 0 || slices.Contains(p.Ports, port))
}

// refusal gives the reason why addr, which has no zone and is not IPv4 in IPv6, is refused, or "".
func (p Policy) refusal(addr netip.Addr) string {
	if reason := p.refusalOf(addr); reason != "" {
		return reason
	}
	switch inner, leads := p.behind(addr); {
	case !leads:
		return ""
	case !inner.IsValid():
		return "it is not known where it leads to"
	default:
		return p.refusalOf(inner)
	}
}

// refusalOf is refusal without what may be behind addr.
func (p Policy) refusalOf(addr netip.Addr) string {
	switch {
	case contains(p.Deny, addr):
		return "this installation does not connect to this network"
	case contains(metadata(), addr) && !slices.Contains(p.Allow, netip.PrefixFrom(addr, addr.BitLen())):
		return "it is a cloud metadata service"
	case contains(p.Allow, addr):
		return ""
	case p.AllowLoopback && addr.IsLoopback():
		return ""
	case p.AllowPrivate && addr.IsPrivate():
		return ""
	case ssrf.New(ssrf.WithAnyPort(), ssrf.WithAnyNetwork()).SafeAddr(addr) != nil:
		return "it is not a public address"
	}
	return ""
}

func contains(prefixes []netip.Prefix, addr netip.Addr) bool {
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(addr) })
}
