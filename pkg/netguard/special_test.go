package netguard_test

import (
	"net/netip"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/netguard"
)

// specials are addresses that no tenant may reach unless the operator says so. They are tried in every test of this file.
var specials = []struct {
	name, addr                  string
	private, loopback, metadata bool
}{
	{name: "this network", addr: "0.0.0.0"},
	{name: "this network, end", addr: "0.255.255.255"},
	{name: "10/8", addr: "10.0.0.0", private: true},
	{name: "10/8, end", addr: "10.255.255.255", private: true},
	{name: "shared address space", addr: "100.64.0.0"},
	{name: "shared address space, end", addr: "100.127.255.255"},
	{name: "Alibaba's metadata", addr: "100.100.100.200", metadata: true},
	{name: "loopback", addr: "127.0.0.1", loopback: true},
	{name: "loopback, end", addr: "127.255.255.255", loopback: true},
	{name: "link-local", addr: "169.254.0.0"},
	{name: "link-local, end", addr: "169.254.255.255"},
	{name: "metadata", addr: "169.254.169.254", metadata: true},
	{name: "ECS's metadata", addr: "169.254.170.2", metadata: true},
	{name: "EKS's metadata", addr: "169.254.170.23", metadata: true},
	{name: "Scaleway's metadata", addr: "169.254.42.42", metadata: true},
	{name: "Tencent's metadata", addr: "169.254.0.23", metadata: true},
	{name: "Azure's metadata, a public address", addr: "168.63.129.16", metadata: true},
	{name: "172.16/12", addr: "172.16.0.0", private: true},
	{name: "172.16/12, end", addr: "172.31.255.255", private: true},
	{name: "protocol assignments", addr: "192.0.0.0"},
	{name: "protocol assignments, end", addr: "192.0.0.255"},
	{name: "Oracle's metadata", addr: "192.0.0.192", metadata: true},
	{name: "documentation 1", addr: "192.0.2.0"},
	{name: "6to4 relays", addr: "192.88.99.1"},
	{name: "192.168/16", addr: "192.168.0.0", private: true},
	{name: "192.168/16, end", addr: "192.168.255.255", private: true},
	{name: "benchmarking", addr: "198.18.0.0"},
	{name: "benchmarking, end", addr: "198.19.255.255"},
	{name: "documentation 2", addr: "198.51.100.255"},
	{name: "documentation 3", addr: "203.0.113.1"},
	{name: "multicast", addr: "224.0.0.1"},
	{name: "multicast, end", addr: "239.255.255.255"},
	{name: "reserved", addr: "240.0.0.0"},
	{name: "broadcast", addr: "255.255.255.255"},

	{name: "unspecified", addr: "::"},
	{name: "loopback v6", addr: "::1", loopback: true},
	{name: "discard only", addr: "100::1"},
	{name: "protocol assignments v6", addr: "2001:1::1"},
	{name: "ORCHID", addr: "2001:20::1"},
	{name: "benchmarking v6", addr: "2001:2::1"},
	{name: "documentation v6", addr: "2001:db8::1"},
	{name: "documentation v6, new", addr: "3fff::1"},
	{name: "AS112", addr: "2620:4f:8000::1"},
	{name: "segment routing", addr: "5f00::1"},
	{name: "beyond what is assigned", addr: "4000::1"},
	{name: "unique local, unassigned half", addr: "fc00::1", private: true},
	{name: "unique local", addr: "fd12:3456::1", private: true},
	{name: "AWS's metadata v6", addr: "fd00:ec2::254", metadata: true},
	{name: "EKS's metadata v6", addr: "fd00:ec2::23", metadata: true},
	{name: "GCP's metadata v6", addr: "fd20:ce::254", metadata: true},
	{name: "Oracle's metadata v6", addr: "fd00:c1::a9fe:a9fe", metadata: true},
	{name: "Scaleway's metadata v6", addr: "fd00:42::42", metadata: true},
	{name: "Alibaba's metadata v6", addr: "fd00:100::100:200", metadata: true},
	{name: "Akamai's metadata v6", addr: "fd00:a9fe:a9fe::1", metadata: true},
	{name: "OpenStack's metadata v6", addr: "fe80::a9fe:a9fe", metadata: true},
	{name: "link-local v6", addr: "fe80::1"},
	{name: "link-local v6, end", addr: "febf:ffff::1"},
	{name: "site-local", addr: "fec0::1"},
	{name: "multicast v6, this machine", addr: "ff01::1"},
	{name: "multicast v6, the link", addr: "ff02::1"},
	{name: "multicast v6, the world", addr: "ff0e::1"},
}

// permits asks the check of what is dialled and that of URLs, which must agree.
func permits(t *testing.T, p netguard.Policy, addr netip.Addr) bool {
	t.Helper()
	network := "tcp4"
	if addr.Is6() {
		network = "tcp6"
	}
	target := netip.AddrPortFrom(addr, 443)
	dial := p.Control(network, target.String(), nil)
	if addr.Zone() == "" {
		u := &url.URL{Scheme: "https", Host: target.String(), Path: "/"}
		early := p.CheckURL(u)
		require.Equal(t, dial == nil, early == nil, "%s: dialled: %v, in a URL: %v", addr, dial, early)
	}
	if dial != nil {
		var blocked *netguard.BlockedError
		require.ErrorAs(t, dial, &blocked)
		require.Equal(t, target, blocked.Addr)
	}
	return dial == nil
}

func exactly(addr netip.Addr) netip.Prefix { return netip.PrefixFrom(addr, addr.BitLen()) }

func TestSpecialAddresses(t *testing.T) {
	t.Parallel()
	for _, tt := range specials {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			addr := netip.MustParseAddr(tt.addr)
			named := []netip.Prefix{exactly(addr)}
			everything := prefixes("0.0.0.0/0", "::/0")
			forms := []netip.Addr{addr}
			if addr.Is4() {
				forms = append(forms, netip.AddrFrom16(addr.As16())) // ::ffff:a.b.c.d
			} else {
				forms = append(forms, addr.WithZone("eth0"))
			}
			for _, form := range forms {
				require.False(t, permits(t, netguard.Policy{}, form))
				require.Equal(t, tt.private, permits(t, netguard.Policy{AllowPrivate: true}, form))
				require.Equal(t, tt.loopback, permits(t, netguard.Policy{AllowLoopback: true}, form))
				require.Equal(t, !tt.metadata, permits(t, netguard.Policy{Allow: everything}, form), "a metadata service must be named")
				require.True(t, permits(t, netguard.Policy{Allow: named}, form))
				require.False(t, permits(t, netguard.Policy{Allow: named, Deny: named}, form), "deny beats allow")
				require.False(t, permits(t, netguard.Policy{AllowPrivate: true, AllowLoopback: true, Deny: everything}, form), "deny beats the switches")
				require.False(t, permits(t, netguard.Policy{Allow: named, Ports: []uint16{80}}, form), "allow opens no port")
			}
		})
	}
}

func TestPublicAddresses(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"1.0.0.0", "9.255.255.255", "11.0.0.0", "93.184.215.14", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0", "169.253.255.255", "169.255.0.0",
		"172.15.255.255", "172.32.0.0", "192.0.1.0", "192.0.3.0", "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0", "223.255.255.255",
		"2001:200::1", "2003::1", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "2a00:1450::1", "3ffe::1",
		"2a00:1450::5efe:a00:1:1", // ::5efe: is elsewhere than ISATAP has it
	} {
		addr := netip.MustParseAddr(text)
		require.True(t, permits(t, netguard.Policy{}, addr), text)
		require.True(t, permits(t, netguard.Policy{Allow: prefixes("10.0.0.0/8")}, addr), "%s: allow adds, it does not replace", text)
		require.False(t, permits(t, netguard.Policy{Deny: []netip.Prefix{exactly(addr)}}, addr), text)
		require.False(t, permits(t, netguard.Policy{Allow: prefixes("0.0.0.0/0", "::/0"), Deny: []netip.Prefix{exactly(addr)}}, addr), text)
	}
}

// transitions are the mechanisms by which a packet to an IPv6 address ends at an IPv4 address.
var transitions = []struct {
	name, gateway string
	public        bool // the gateway's prefix is not special
	address       func(v4 [4]byte) [16]byte
}{
	{"NAT64", "64:ff9b::/96", false, func(a [4]byte) [16]byte {
		return [16]byte{0: 0, 1: 0x64, 2: 0xff, 3: 0x9b, 12: a[0], 13: a[1], 14: a[2], 15: a[3]}
	}},
	{"local NAT64, 96", "64:ff9b:1:7::/96", false, func(a [4]byte) [16]byte {
		return [16]byte{1: 0x64, 2: 0xff, 3: 0x9b, 5: 1, 7: 7, 12: a[0], 13: a[1], 14: a[2], 15: a[3]}
	}},
	{"local NAT64, 64", "64:ff9b:1:7::/64", false, func(a [4]byte) [16]byte {
		return [16]byte{1: 0x64, 2: 0xff, 3: 0x9b, 5: 1, 7: 7, 9: a[0], 10: a[1], 11: a[2], 12: a[3]}
	}},
	{"local NAT64, 56", "64:ff9b:1:700::/56", false, func(a [4]byte) [16]byte {
		return [16]byte{1: 0x64, 2: 0xff, 3: 0x9b, 5: 1, 6: 7, 7: a[0], 9: a[1], 10: a[2], 11: a[3]}
	}},
	{"local NAT64, 48", "64:ff9b:1::/48", false, func(a [4]byte) [16]byte {
		return [16]byte{1: 0x64, 2: 0xff, 3: 0x9b, 5: 1, 6: a[0], 7: a[1], 9: a[2], 10: a[3]}
	}},
	{"6to4", "2002::/16", false, func(a [4]byte) [16]byte {
		return [16]byte{0x20, 0x02, a[0], a[1], a[2], a[3], 15: 1}
	}},
	{"Teredo", "2001::/32", false, func(a [4]byte) [16]byte {
		return [16]byte{0: 0x20, 1: 0x01, 4: 65, 5: 54, 6: 227, 7: 120, 12: ^a[0], 13: ^a[1], 14: ^a[2], 15: ^a[3]}
	}},
	{"IPv4-compatible", "::/96", false, func(a [4]byte) [16]byte {
		return [16]byte{12: a[0], 13: a[1], 14: a[2], 15: a[3]}
	}},
	{"IPv4-translated", "::ffff:0:0:0/96", false, func(a [4]byte) [16]byte {
		return [16]byte{8: 0xff, 9: 0xff, 12: a[0], 13: a[1], 14: a[2], 15: a[3]}
	}},
	{"ISATAP", "2a00:1450::/64", true, func(a [4]byte) [16]byte {
		return [16]byte{0: 0x2a, 2: 0x14, 3: 0x50, 10: 0x5e, 11: 0xfe, 12: a[0], 13: a[1], 14: a[2], 15: a[3]}
	}},
	{"ISATAP, universal", "2a00:1450::/64", true, func(a [4]byte) [16]byte {
		return [16]byte{0: 0x2a, 2: 0x14, 3: 0x50, 8: 2, 10: 0x5e, 11: 0xfe, 12: a[0], 13: a[1], 14: a[2], 15: a[3]}
	}},
}

// Allowing a gateway is not allowing what is behind it.
func TestAddressesBehindOthers(t *testing.T) {
	t.Parallel()
	public := netip.MustParseAddr("93.184.215.14")
	for _, via := range transitions {
		t.Run(via.name, func(t *testing.T) {
			t.Parallel()
			gateway := netip.MustParsePrefix(via.gateway)
			open := netguard.Policy{Allow: []netip.Prefix{gateway}}
			reached := netip.AddrFrom16(via.address(public.As4()))
			require.True(t, gateway.Contains(reached), reached)
			require.Equal(t, via.public, permits(t, netguard.Policy{}, reached))
			require.True(t, permits(t, open, reached))
			require.False(t, permits(t, netguard.Policy{Allow: open.Allow, Deny: []netip.Prefix{gateway}}, reached))
			require.False(t, permits(t, netguard.Policy{Allow: open.Allow, Deny: prefixes("93.184.0.0/16")}, reached), "what is denied is so behind a gateway too")

			for _, tt := range specials {
				inner := netip.MustParseAddr(tt.addr)
				if inner.Is6() || via.gateway == "::/96" && inner == netip.IPv4Unspecified() { // which is ::
					continue
				}
				reached := netip.AddrFrom16(via.address(inner.As4()))
				require.False(t, permits(t, netguard.Policy{}, reached), tt.name)
				require.False(t, permits(t, open, reached), tt.name)
				require.Equal(t, tt.private, permits(t, netguard.Policy{Allow: open.Allow, AllowPrivate: true}, reached), tt.name)
				require.Equal(t, tt.loopback, permits(t, netguard.Policy{Allow: open.Allow, AllowLoopback: true}, reached), tt.name)
				require.True(t, permits(t, netguard.Policy{Allow: []netip.Prefix{gateway, exactly(inner)}}, reached), tt.name)
				require.Equal(t, via.public, permits(t, netguard.Policy{Allow: []netip.Prefix{exactly(inner)}}, reached), "%s: nor the reverse", tt.name)
			}
		})
	}
	// Where the IPv4 address stands is not known unless the prefix is one of RFC 6052.
	for _, allow := range []string{"::/0", "64:ff9b::/32", "64:ff9b:1::/52"} {
		require.False(t, permits(t, netguard.Policy{Allow: prefixes(allow)}, netip.MustParseAddr("64:ff9b:1::808:808")), allow)
	}
}
