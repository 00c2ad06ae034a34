package netguard

import (
	"net/netip"

	"code.dny.dev/ssrf"
)

// metadata lists the services that hand credentials to whoever can reach them, those included that live outside of
// link-local networks: where AllowPrivate would permit them, or at a public address.
func metadata() []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix("169.254.169.254/32"),     // AWS, Azure, GCP, DigitalOcean, …
		netip.MustParsePrefix("169.254.170.2/32"),       // AWS ECS
		netip.MustParsePrefix("169.254.170.23/32"),      // AWS EKS
		netip.MustParsePrefix("fd00:ec2::254/128"),      // AWS
		netip.MustParsePrefix("fd00:ec2::23/128"),       // AWS EKS
		netip.MustParsePrefix("fd20:ce::254/128"),       // GCP
		netip.MustParsePrefix("168.63.129.16/32"),       // Azure, a public address
		netip.MustParsePrefix("100.100.100.200/32"),     // Alibaba
		netip.MustParsePrefix("fd00:100::100:200/128"),  // Alibaba
		netip.MustParsePrefix("192.0.0.192/32"),         // Oracle
		netip.MustParsePrefix("fd00:c1::a9fe:a9fe/128"), // Oracle
		netip.MustParsePrefix("169.254.42.42/32"),       // Scaleway
		netip.MustParsePrefix("fd00:42::42/128"),        // Scaleway
		netip.MustParsePrefix("169.254.0.23/32"),        // Tencent
		netip.MustParsePrefix("169.254.10.10/32"),       // Tencent
		netip.MustParsePrefix("fd00:a9fe:a9fe::1/128"),  // Akamai
		netip.MustParsePrefix("fe80::a9fe:a9fe/128"),    // OpenStack, Akamai
	}
}

// behind gives the IPv4 address at which a packet to addr ends, and whether addr is of a mechanism that leads to one. The
// address is not valid if it cannot be told.
func (p Policy) behind(addr netip.Addr) (inner netip.Addr, leads bool) {
	if addr.Is4() || addr.IsLoopback() || addr.IsUnspecified() {
		return netip.Addr{}, false
	}
	b := addr.As16()
	last := netip.AddrFrom4([4]byte(b[12:]))
	switch {
	case ssrf.IPv6NAT64Prefix.Contains(addr): // RFC 6052
		return last, true
	case netip.MustParsePrefix("64:ff9b:1::/48").Contains(addr): // NAT64 inside of a network, RFC 8215
		return p.behindLocalNAT64(addr), true
	case netip.MustParsePrefix("2002::/16").Contains(addr): // 6to4, RFC 3056
		return netip.AddrFrom4([4]byte(b[2:])), true
	case netip.MustParsePrefix("2001::/32").Contains(addr): // Teredo, RFC 4380: the client's address, inverted
		return netip.AddrFrom4([4]byte{^b[12], ^b[13], ^b[14], ^b[15]}), true
	case netip.MustParsePrefix("::/96").Contains(addr), // IPv4-compatible, RFC 4291
		netip.MustParsePrefix("::ffff:0:0:0/96").Contains(addr),  // IPv4-translated, RFC 7915
		b[8]&^2 == 0 && [3]byte(b[9:]) == [3]byte{0, 0x5e, 0xfe}: // ISATAP in any network, RFC 5214
		return last, true
	}
	return netip.Addr{}, false
}

// behindLocalNAT64 reads addr by the length of the prefix that the operator allowed, since where the IPv4 address stands
// depends on it (RFC 6052, 2.2).
func (p Policy) behindLocalNAT64(addr netip.Addr) netip.Addr {
	length := 0
	for _, prefix := range p.Allow {
		if prefix.Contains(addr) {
			length = max(length, prefix.Bits())
		}
	}
	b := addr.As16()
	switch {
	case length >= 96:
		return netip.AddrFrom4([4]byte(b[12:]))
	case length == 64:
		return netip.AddrFrom4([4]byte(b[9:]))
	case length == 56:
		return netip.AddrFrom4([4]byte{b[7], b[9], b[10], b[11]})
	case length == 48:
		return netip.AddrFrom4([4]byte{b[6], b[7], b[9], b[10]})
	}
	return netip.Addr{}
}
