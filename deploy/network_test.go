package deploy_test

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"code.dny.dev/ssrf"
	"github.com/stretchr/testify/require"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/beaconpost/beaconpost/deploy/internal/chart"
	"github.com/beaconpost/beaconpost/pkg/netguard"
)

// destination is where a pod wants to connect to: an address, or a pod of a namespace.
type destination struct {
	addr      netip.Addr
	namespace map[string]string // nil: the pod's own
	pod       map[string]string
	protocol  core.Protocol
	port      int32
}

func to(text string) destination {
	at := netip.MustParseAddrPort(text)
	return destination{addr: at.Addr(), protocol: core.ProtocolTCP, port: int32(at.Port())}
}

// reaches does what a network plugin does: whatever one policy of those that select the pod allows is allowed.
func reaches(t *testing.T, r *chart.Rendered, pod map[string]string, d destination) bool {
	t.Helper()
	isolated := false
	for _, p := range chart.All[networking.NetworkPolicy](r) {
		if !slices.Contains(p.Spec.PolicyTypes, networking.PolicyTypeEgress) || !selects(t, &p.Spec.PodSelector, pod) {
			continue
		}
		isolated = true
		for _, rule := range p.Spec.Egress {
			if permitsPort(rule.Ports, d) && (len(rule.To) == 0 || slices.ContainsFunc(rule.To, func(peer networking.NetworkPolicyPeer) bool { return isPeer(t, peer, d.addr, d.namespace, d.pod) })) {
				return true
			}
		}
	}
	return !isolated
}

// admits is the same for what comes to a port of a pod, by the port's name.
func admits(t *testing.T, r *chart.Rendered, pod map[string]string, from map[string]string, port string) bool {
	t.Helper()
	isolated := false
	for _, p := range chart.All[networking.NetworkPolicy](r) {
		if !slices.Contains(p.Spec.PolicyTypes, networking.PolicyTypeIngress) || !selects(t, &p.Spec.PodSelector, pod) {
			continue
		}
		isolated = true
		for _, rule := range p.Spec.Ingress {
			named := slices.ContainsFunc(rule.Ports, func(p networking.NetworkPolicyPort) bool { return p.Port.StrVal == port })
			if named && (len(rule.From) == 0 || slices.ContainsFunc(rule.From, func(peer networking.NetworkPolicyPeer) bool {
				return isPeer(t, peer, netip.Addr{}, from, map[string]string{})
			})) {
				return true
			}
		}
	}
	return !isolated
}

func permitsPort(ports []networking.NetworkPolicyPort, d destination) bool {
	return len(ports) == 0 || slices.ContainsFunc(ports, func(p networking.NetworkPolicyPort) bool {
		return *p.Protocol == d.protocol && (p.Port == nil || p.Port.IntVal == d.port)
	})
}

func isPeer(t *testing.T, peer networking.NetworkPolicyPeer, addr netip.Addr, namespace, pod map[string]string) bool {
	t.Helper()
	if peer.IPBlock != nil {
		return addr.IsValid() && netip.MustParsePrefix(peer.IPBlock.CIDR).Contains(addr) &&
			!slices.ContainsFunc(peer.IPBlock.Except, func(except string) bool { return netip.MustParsePrefix(except).Contains(addr) })
	}
	if pod == nil {
		return false
	}
	if peer.NamespaceSelector == nil {
		return namespace == nil && selects(t, peer.PodSelector, pod)
	}
	return selects(t, peer.NamespaceSelector, namespace) && (peer.PodSelector == nil || selects(t, peer.PodSelector, pod))
}

func podOf(t *testing.T, r *chart.Rendered, name string) map[string]string {
	t.Helper()
	pod, ok := pods(r)[prefix+"-"+name]
	require.True(t, ok, name)
	return pod.Labels
}

// addresses are the first and last of every network that is special to somebody, their neighbours, and many others.
func addresses() []netip.Addr {
	var list []netip.Addr
	for _, prefix := range slices.Concat(ssrf.IPv4DeniedPrefixes, ssrf.IPv6DeniedPrefixes, []netip.Prefix{
		ssrf.IPv6GlobalUnicast, ssrf.IPv6NAT64Prefix, netip.MustParsePrefix("fc00::/7"), netip.MustParsePrefix("fe80::/10"), netip.MustParsePrefix("168.63.129.16/32"),
		netip.MustParsePrefix("169.254.169.254/32"), netip.MustParsePrefix("fd00:ec2::254/128"), netip.MustParsePrefix("100.100.100.200/32"),
	}) {
		last := prefix.Addr().AsSlice()
		for i := prefix.Bits(); i < len(last)*8; i++ {
			last[i/8] |= 1 << (7 - i%8)
		}
		end, _ := netip.AddrFromSlice(last)
		for _, addr := range []netip.Addr{prefix.Addr(), prefix.Addr().Prev(), end, end.Next()} {
			if addr.IsValid() {
				list = append(list, addr)
			}
		}
	}
	source := rand.New(rand.NewPCG(7, 7))
	for range 20000 {
		var v6 [16]byte
		for i := range v6 {
			v6[i] = byte(source.Uint32())
		}
		list = append(list, netip.AddrFrom4([4]byte(v6[:4])), netip.AddrFrom16(v6))
		v6[0] = 0x20 | v6[0]&0x1f
		list = append(list, netip.AddrFrom16(v6))
	}
	return list
}

// The network lets delivery and probers go exactly where the services' own check does: less would be deliveries that fail without a word, more is the hole that the
// second wall is for.
func TestNetworkAgreesWithTheServices(t *testing.T) {
	t.Parallel()
	for text, policy := range map[string]netguard.Policy{
		``: {},
		`{BEACONPOST_NETWORK_ALLOW: "10.4.0.0/16,fd00:4::/64", BEACONPOST_NETWORK_DENY: "9.9.0.0/16,2a00::/16,fd00::/8", BEACONPOST_MONITOR_NETWORK_ALLOW: "10.4.0.0/16,fd00:4::/64", BEACONPOST_MONITOR_NETWORK_DENY: "9.9.0.0/16,2a00::/16"}`: {
			Allow: []netip.Prefix{netip.MustParsePrefix("10.4.0.0/16"), netip.MustParsePrefix("fd00:4::/64")},
			Deny:  []netip.Prefix{netip.MustParsePrefix("9.9.0.0/16"), netip.MustParsePrefix("2a00::/16")},
		},
	} {
		r := with(t, "config: "+map[bool]string{true: "{}", false: text}[text == ""])
		for _, name := range []string{"delivery", "monitor-default"} {
			pod := podOf(t, r, name)
			for _, addr := range append(addresses(), netip.MustParseAddr("10.4.1.1"), netip.MustParseAddr("9.9.9.9"), netip.MustParseAddr("fd00:4::1"), netip.MustParseAddr("2a00::1")) {
				refused := policy.CheckAddr(netip.AddrPortFrom(addr, 443)) != nil
				if refused && isatap(addr) {
					continue // what is in the last bits of an address no network policy can say
				}
				reached := reaches(t, r, pod, destination{addr: addr, protocol: core.ProtocolTCP, port: 443})
				require.Equal(t, !refused, reached, "%s to %s", name, addr)
			}
		}
	}
}

func isatap(addr netip.Addr) bool {
	b := addr.As16()
	return addr.Is6() && b[8]&^2 == 0 && [3]byte(b[9:]) == [3]byte{0, 0x5e, 0xfe}
}

// Everybody reaches what it needs, and nobody anything else of the cluster.
func TestNobodyReachesTheCluster(t *testing.T) {
	t.Parallel()
	kubeSystem := map[string]string{"kubernetes.io/metadata.name": "kube-system"}
	dns := destination{namespace: kubeSystem, pod: map[string]string{"k8s-app": "kube-dns"}, protocol: core.ProtocolUDP, port: 53}
	broker := destination{pod: map[string]string{"app": "broker"}, protocol: core.ProtocolTCP, port: 4222}
	neighbour := destination{pod: map[string]string{"app": "shop"}, protocol: core.ProtocolTCP, port: 443}
	r := with(t, `{auth: {jwksURL: "https://id.example/jwks", issuer: i, audience: a}}`)
	for name, may := range map[string]struct{ nats, internet bool }{
		"ingest": {true, false}, "delivery": {true, true}, "monitor-default": {true, true}, "migrate": {false, false},
	} {
		pod := podOf(t, r, name)
		require.True(t, reaches(t, r, pod, dns), name)
		require.True(t, reaches(t, r, pod, to("10.9.0.5:5432")), "%s to Postgres", name)
		require.Equal(t, may.nats, reaches(t, r, pod, broker), "%s to NATS", name)
		require.Equal(t, may.internet, reaches(t, r, pod, to("93.184.216.34:80")), "%s to the internet", name)
		require.Equal(t, may.internet || name == "ingest", reaches(t, r, pod, to("93.184.216.34:443")), "%s to the identity provider", name)
		for _, closed := range []string{"10.9.0.5:22", "10.9.0.6:5432", "10.96.0.1:443", "169.254.169.254:80", "192.168.1.1:80", "127.0.0.1:8080", "[fd00::1]:443", "[fe80::1]:80"} {
			require.False(t, reaches(t, r, pod, to(closed)), "%s to %s", name, closed)
		}
		require.False(t, reaches(t, r, pod, neighbour), name)
		for _, other := range []string{"ingest", "delivery", "monitor-default"} {
			require.False(t, reaches(t, r, pod, destination{pod: podOf(t, r, other), protocol: core.ProtocolTCP, port: 9090}), "%s to %s", name, other)
		}
	}
	probe := to("93.184.216.34:53")
	probe.protocol = core.ProtocolUDP
	require.True(t, reaches(t, r, podOf(t, r, "monitor-default"), probe), "dns and udp checks")
	require.False(t, reaches(t, r, podOf(t, r, "delivery"), probe))
}

// Ports that are permitted are the only ones that can be reached, except for those of the mail relay, the resolver and canaries.
func TestPermittedPorts(t *testing.T) {
	t.Parallel()
	r := render(t, switched(t, "network policies"))
	for _, name := range []string{"delivery", "monitor-default"} {
		require.True(t, reaches(t, r, podOf(t, r, name), to("93.184.216.34:443")), name)
		require.False(t, reaches(t, r, podOf(t, r, name), to("93.184.216.34:80")), name)
		require.Equal(t, name != "delivery", reaches(t, r, podOf(t, r, name), to("93.184.216.34:587")), "the mail relay, from %s", name)
		require.Equal(t, name != "delivery", reaches(t, r, podOf(t, r, name), to("93.184.216.34:853")), "a canary, from %s", name)
		require.True(t, reaches(t, r, podOf(t, r, name), to("10.1.1.1:25")), "what values add")
		require.True(t, reaches(t, r, podOf(t, r, name), destination{pod: map[string]string{"app": "collector"}, protocol: core.ProtocolTCP, port: 4318}), name)
	}
	require.True(t, reaches(t, r, podOf(t, r, "delivery"), to("93.184.216.34:8443")))
	resolver := to("93.184.216.34:53")
	resolver.protocol = core.ProtocolUDP
	require.True(t, reaches(t, r, podOf(t, r, "monitor-default"), resolver), "BEACONPOST_MONITOR_NAMESERVER")
	require.True(t, reaches(t, r, podOf(t, r, "monitor-default"), to("192.168.1.1:443")), "BEACONPOST_MONITOR_NETWORK_ALLOW_PRIVATE")
	require.False(t, reaches(t, r, podOf(t, r, "delivery"), to("192.168.1.1:443")), "which is not delivery's")
}

// The chart's own servers are found by their labels.
func TestOwnServersAreReached(t *testing.T) {
	t.Parallel()
	r := render(t, switched(t, "own servers"))
	for _, name := range []string{"ingest", "delivery", "monitor-default"} {
		require.True(t, reaches(t, r, podOf(t, r, name), destination{pod: map[string]string{"app.kubernetes.io/name": "nats", "app.kubernetes.io/instance": "shop"}, protocol: core.ProtocolTCP, port: 4222}))
		require.True(t, reaches(t, r, podOf(t, r, name), destination{pod: map[string]string{"cnpg.io/cluster": prefix + "-postgres"}, protocol: core.ProtocolTCP, port: 5432}))
	}
}

// The APIs are for everybody unless values say for whom; admin ports only for whoever scrapes.
func TestWhoGetsIn(t *testing.T) {
	t.Parallel()
	namespace := func(name string) map[string]string { return map[string]string{"kubernetes.io/metadata.name": name} }
	open := with(t, "")
	closed := with(t, `networkPolicy: {apiFrom: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: gateways}}}], metricsFrom: []}`)
	for _, name := range []string{"ingest", "delivery", "monitor-default"} {
		require.True(t, admits(t, open, podOf(t, open, name), namespace("shop"), "http"))
		require.True(t, admits(t, open, podOf(t, open, name), namespace("monitoring"), "admin"))
		require.False(t, admits(t, open, podOf(t, open, name), namespace("shop"), "admin"))
		require.True(t, admits(t, closed, podOf(t, closed, name), namespace("gateways"), "http"))
		require.False(t, admits(t, closed, podOf(t, closed, name), namespace("shop"), "http"))
		require.False(t, admits(t, closed, podOf(t, closed, name), namespace("monitoring"), "admin"))
	}
	require.False(t, admits(t, open, podOf(t, open, "migrate"), namespace("shop"), "http"))
}

// The API server refuses exceptions that are not within their network, and CIDRs with bits of a host.
func TestNetworksAreValid(t *testing.T) {
	each(t, func(t *testing.T, r *chart.Rendered) {
		t.Helper()
		for _, p := range chart.All[networking.NetworkPolicy](r) {
			for _, rule := range p.Spec.Egress {
				for _, peer := range rule.To {
					if peer.IPBlock == nil {
						continue
					}
					outer, err := netip.ParsePrefix(peer.IPBlock.CIDR)
					require.NoError(t, err)
					require.Equal(t, outer.Masked(), outer)
					seen := map[string]bool{}
					for _, text := range peer.IPBlock.Except {
						except, err := netip.ParsePrefix(text)
						require.NoError(t, err)
						require.True(t, outer.Contains(except.Addr()) && except.Bits() > outer.Bits(), "%s in %s", text, outer)
						require.False(t, seen[text], "%s twice", text)
						seen[text] = true
					}
				}
			}
		}
	})
}

// Ports of the policies are those of containers.
func TestNamedPortsExist(t *testing.T) {
	t.Parallel()
	r := with(t, "")
	for _, p := range chart.All[networking.NetworkPolicy](r) {
		for name, pod := range pods(r) {
			if !selects(t, &metav1.LabelSelector{MatchLabels: p.Spec.PodSelector.MatchLabels}, pod.Labels) {
				continue
			}
			for _, rule := range p.Spec.Ingress {
				for _, port := range rule.Ports {
					require.True(t, slices.ContainsFunc(pod.Spec.Containers[0].Ports, func(c core.ContainerPort) bool { return c.Name == port.Port.StrVal }), "%s of %s", port.Port.StrVal, name)
				}
			}
		}
	}
}
