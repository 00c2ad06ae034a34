// Package netguard keeps requests to addresses that tenants choose out of the network they are sent from.
//
// It owns the policy of permitted addresses and ports. The check that counts is Control, on the address that is about to
// be dialled, after every name resolution and for every redirect or retry; CheckURL is early feedback and proves
// nothing, because a name may resolve differently later. It does not own HTTP clients, and cannot see through a proxy:
// with one, the proxy has to refuse private addresses itself.
package netguard

import (
	"fmt"
	"net/netip"
	"slices"
	"syscall"

	"code.dny.dev/ssrf"
)

// Policy says what may be dialled. The zero Policy permits every port of public unicast addresses and nothing else. It is
// a value, safe for concurrent use as long as nobody changes its slices.
//
// The order is: Ports, Deny, cloud metadata services, Allow, the two switches, public addresses. An IPv4 address inside
// an IPv6 one (::ffff:0:0/96) is judged as the IPv4 address that will be dialled.
type Policy struct {
	AllowPrivate  bool           `env:"ALLOW_PRIVATE" doc:"Permit private networks (RFC 1918, IPv6 unique local)."`
	AllowLoopback bool           `env:"ALLOW_LOOPBACK" doc:"Permit the machine itself. For development only."`
	Allow         []netip.Prefix `env:"ALLOW" doc:"Networks that are permitted although they are not public. A cloud metadata service must be named by its full address."`
	Deny          []netip.Prefix `env:"DENY" doc:"Networks that are refused although they are public."`
	Ports         []uint16       `env:"PORTS" doc:"The only permitted ports; empty permits all."`
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
	allowed := contains(p.Allow, addr)
	switch {
	case contains(p.Deny, addr):
		return "this network is denied by configuration"
	case contains(metadata(), addr) && !slices.Contains(p.Allow, netip.PrefixFrom(addr, addr.BitLen())):
		return "it is a cloud metadata service"
	case allowed && nat64().Contains(addr):
		return p.refusal(embedded(addr)) // allowing the gateway is not allowing what is behind it
	case allowed:
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

// metadata lists the services that hand credentials to whoever can reach them, those included that live outside of
// link-local networks: where AllowPrivate would permit them, or at a public address.
func metadata() []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix("169.254.169.254/32"), // AWS, Azure, GCP, DigitalOcean, …
		netip.MustParsePrefix("169.254.170.2/32"),   // AWS ECS
		netip.MustParsePrefix("169.254.170.23/32"),  // AWS EKS
		netip.MustParsePrefix("fd00:ec2::254/128"),  // AWS
		netip.MustParsePrefix("fd00:ec2::23/128"),   // AWS EKS
		netip.MustParsePrefix("fd20:ce::254/128"),   // GCP
		netip.MustParsePrefix("168.63.129.16/32"),   // Azure, a public address
		netip.MustParsePrefix("100.100.100.200/32"), // Alibaba
		netip.MustParsePrefix("192.0.0.192/32"),     // Oracle
	}
}

// nat64 is the prefix under which a NAT64 gateway reaches IPv4 (RFC 6052).
func nat64() netip.Prefix { return ssrf.IPv6NAT64Prefix }

// embedded gives the IPv4 address in the last 32 bits of addr.
func embedded(addr netip.Addr) netip.Addr {
	bytes := addr.As16()
	return netip.AddrFrom4([4]byte(bytes[12:]))
}
