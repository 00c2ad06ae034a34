package probe

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/netguard"
	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
)

func parse(t testing.TB, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	require.NoError(t, err)
	return u
}

// requireBlocked holds that a check tells nothing of an address that it did not reach.
func requireBlocked(t *testing.T, r check.Result, addresses ...string) {
	t.Helper()
	require.Equal(t, check.Down, r.Outcome, "%+v", r)
	require.Equal(t, check.CauseBlockedAddress, r.Cause, "%+v", r)
	evidence, err := json.Marshal(r.Evidence)
	require.NoError(t, err)
	for _, address := range addresses {
		require.NotContains(t, r.Detail+string(evidence), address)
	}
}

func TestBlockedAddressesOfAllKinds(t *testing.T) {
	t.Parallel()
	reached := func(http.ResponseWriter, *http.Request) { t.Error("it was reached") }
	target := parse(t, serve(t, reached))
	p := newProber(t, func(c *Config) { c.Network = netguard.Policy{} })
	spec := func(kind check.Kind) check.Spec { return at(t, kind, target.Host) }
	ask := check.Spec{Kind: check.DNS, Host: "a.test", Resolver: "127.0.0.1", Port: spec(check.TCP).Port}
	overTCP, overTLS := ask, ask
	overTCP.Transport, overTLS.Transport = "tcp", "tls"
	for _, s := range []check.Spec{
		get(target.String()), {Kind: check.WebSocket, URL: "ws://" + target.Host}, spec(check.TCP), spec(check.TLS), spec(check.GRPC),
		{Kind: check.ICMP, Host: "127.0.0.1"}, {Kind: check.ICMP, Host: "::ffff:127.0.0.1"}, ask, overTCP, overTLS,
		get("http://[::1]:1/"), get("http://169.254.169.254/latest/meta-data/"), get("http://10.0.0.1/"), get("http://[::ffff:10.0.0.1]/"),
	} {
		r := p.Check(t.Context(), job(s))
		require.Equal(t, check.CauseBlockedAddress, r.Cause, "%+v %+v", s, r)
		require.Empty(t, r.IP)
		require.Empty(t, r.Evidence.IPs)
	}
}

func TestBlockedRedirect(t *testing.T) {
	t.Parallel()
	p := newProber(t) // loopback only
	for _, location := range []string{"http://10.1.2.3/", "http://169.254.169.254/latest/", "http://[fd00::1]/", "http://internal.test/"} {
		n := newNames(t)
		n.add(t, "internal.test. A 192.168.7.7")
		p := newProber(t, n.used)
		r := checkIt(t, p, job(get(serve(t, elsewhere(302, location)))))
		requireBlocked(t, r, "192.168.7.7")
		require.Equal(t, 302, r.Evidence.Hops[0].Status)
		require.Empty(t, r.Evidence.Hops[1].IP)
	}
	port := newProber(t, func(c *Config) { c.Network.Ports = []uint16{1} })
	requireBlocked(t, checkIt(t, port, job(get(serve(t, nil)))))
	p.Close()
}

func TestNamesThatLeadToPrivateAddresses(t *testing.T) {
	t.Parallel()
	n := newNames(t)
	n.add(t, "internal.test. A 10.9.8.7", "internal.test. AAAA fd00::77", "both.test. A 10.9.8.7", "both.test. A 127.0.0.1")
	p := newProber(t, n.used)
	for _, spec := range []check.Spec{
		get("http://internal.test/"), {Kind: check.WebSocket, URL: "ws://internal.test/"}, {Kind: check.TCP, Host: "internal.test", Port: 80},
		{Kind: check.TLS, Host: "internal.test", Port: 443}, {Kind: check.GRPC, Host: "internal.test", Port: 443}, {Kind: check.ICMP, Host: "internal.test"},
		{Kind: check.DNS, Host: "a.test", Resolver: "internal.test"},
	} {
		requireBlocked(t, checkIt(t, p, job(spec)), "10.9.8.7", "fd00")
	}
	target := parse(t, serve(t, func(http.ResponseWriter, *http.Request) {}))
	r := checkIt(t, p, job(get("http://both.test:"+target.Port())))
	require.Equal(t, check.Up, r.Outcome, "one of the addresses may be connected to")
	require.Equal(t, "127.0.0.1", r.IP)
}

func TestOurOwnNameServerIsNotTheTenantsChoice(t *testing.T) {
	t.Parallel()
	n := newNames(t)
	n.add(t, "internal.test. A 10.9.8.7", "internal.test. A 127.0.0.1")
	p := newProber(t, func(c *Config) {
		c.Nameserver = n.udp
		c.Network = netguard.Policy{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}
	})
	spec := check.Spec{Kind: check.DNS, Host: "internal.test", Answers: []string{"192.0.2.1"}}
	r := checkIt(t, p, job(spec))
	require.Equal(t, check.CauseBody, r.Cause)
	require.NotContains(t, r.Evidence.Got+r.Evidence.Body, "10.9.8.7")
	require.Contains(t, r.Evidence.Got, "127.0.0.1")
}
