package netguard_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/config"
	"github.com/beaconpost/beaconpost/pkg/netguard"
)

func prefixes(texts ...string) []netip.Prefix {
	list := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		list[i] = netip.MustParsePrefix(text)
	}
	return list
}

func TestControl(t *testing.T) {
	t.Parallel()
	strict := netguard.Policy{}
	private := netguard.Policy{AllowPrivate: true}
	loopback := netguard.Policy{AllowLoopback: true}
	allow := netguard.Policy{Allow: prefixes("100.64.0.0/10", "fd00::/8", "64:ff9b::/96"), Deny: prefixes("100.64.7.0/24", "8.8.8.0/24", "2606:4700::/32")}
	imds := netguard.Policy{Allow: prefixes("169.254.169.254/32")}
	web := netguard.Policy{Ports: []uint16{80, 443}}
	tests := []struct {
		name    string
		policy  netguard.Policy
		network string
		address string
		ok      bool
	}{
		{"public v4", strict, "tcp4", "93.184.215.14:443", true},
		{"public v6", strict, "tcp6", "[2606:2800:21f:cb07:6820:80da:af6b:8b2c]:443", true},
		{"public, any port", strict, "tcp4", "93.184.215.14:8443", true},
		{"public, UDP", strict, "udp4", "9.9.9.9:53", true},
		{"port 0", strict, "tcp4", "93.184.215.14:0", false},
		{"loopback", strict, "tcp4", "127.0.0.1:80", false},
		{"loopback, another", strict, "tcp4", "127.8.9.1:80", false},
		{"loopback v6", strict, "tcp6", "[::1]:80", false},
		{"unspecified", strict, "tcp4", "0.0.0.0:80", false},
		{"this network", strict, "tcp4", "0.1.2.3:80", false},
		{"unspecified v6", strict, "tcp6", "[::]:80", false},
		{"10/8", strict, "tcp4", "10.1.2.3:80", false},
		{"172.16/12 start", strict, "tcp4", "172.16.0.1:80", false},
		{"172.16/12 end", strict, "tcp4", "172.31.255.254:80", false},
		{"beyond 172.16/12", strict, "tcp4", "172.32.0.1:80", true},
		{"192.168/16", strict, "tcp4", "192.168.1.1:80", false},
		{"carrier-grade NAT", strict, "tcp4", "100.64.0.1:80", false},
		{"metadata", strict, "tcp4", "169.254.169.254:80", false},
		{"link-local", strict, "tcp4", "169.254.1.1:80", false},
		{"Azure's metadata at a public address", strict, "tcp4", "168.63.129.16:80", false},
		{"broadcast", strict, "tcp4", "255.255.255.255:80", false},
		{"reserved", strict, "tcp4", "240.0.0.1:80", false},
		{"multicast", strict, "udp4", "224.0.0.1:80", false},
		{"documentation", strict, "tcp4", "192.0.2.1:80", false},
		{"benchmarking", strict, "tcp4", "198.18.0.1:80", false},
		{"v4 in v6, private", strict, "tcp6", "[::ffff:10.0.0.1]:80", false},
		{"v4 in v6, loopback", strict, "tcp6", "[::ffff:127.0.0.1]:80", false},
		{"v4 in v6, metadata", strict, "tcp6", "[::ffff:a9fe:a9fe]:80", false},
		{"v4 in v6, public", strict, "tcp6", "[::ffff:93.184.215.14]:80", true},
		{"v4-compatible v6", strict, "tcp6", "[::7f00:1]:80", false},
		{"NAT64, loopback", strict, "tcp6", "[64:ff9b::7f00:1]:80", false},
		{"NAT64, public", strict, "tcp6", "[64:ff9b::808:808]:80", false},
		{"local NAT64", strict, "tcp6", "[64:ff9b:1::1]:80", false},
		{"6to4 of a private address", strict, "tcp6", "[2002:a00:1::1]:80", false},
		{"Teredo", strict, "tcp6", "[2001::1]:80", false},
		{"unique local", strict, "tcp6", "[fd12:3456::1]:80", false},
		{"link-local v6", strict, "tcp6", "[fe80::1]:80", false},
		{"link-local v6 with a zone", strict, "tcp6", "[fe80::1%eth0]:80", false},
		{"loopback v6 with a zone", strict, "tcp6", "[::1%lo]:80", false},
		{"multicast v6", strict, "tcp6", "[ff02::1]:80", false},
		{"documentation v6", strict, "tcp6", "[2001:db8::1]:80", false},
		{"site-local", strict, "tcp6", "[fec0::1]:80", false},

		{"private permitted", private, "tcp4", "10.1.2.3:80", true},
		{"unique local permitted", private, "tcp6", "[fd12:3456::1]:80", true},
		{"v4 in v6 permitted", private, "tcp6", "[::ffff:192.168.0.1]:80", true},
		{"private is not loopback", private, "tcp4", "127.0.0.1:80", false},
		{"private is not metadata", private, "tcp4", "169.254.169.254:80", false},
		{"private is not AWS's v6 metadata", private, "tcp6", "[fd00:ec2::254]:80", false},
		{"private is not GCP's v6 metadata, with a zone", private, "tcp6", "[fd20:ce::254%eth0]:80", false},
		{"private is not unspecified", private, "tcp4", "0.0.0.0:80", false},

		{"loopback permitted", loopback, "tcp4", "127.0.0.1:80", true},
		{"loopback v6 permitted", loopback, "tcp6", "[::1]:80", true},
		{"loopback is not private", loopback, "tcp4", "10.0.0.1:80", false},
		{"loopback is not unspecified", loopback, "tcp4", "0.0.0.0:80", false},

		{"allowed network", allow, "tcp4", "100.64.0.1:80", true},
		{"deny beats allow", allow, "tcp4", "100.64.7.1:80", false},
		{"denied public network", allow, "tcp4", "8.8.8.8:80", false},
		{"denied public network as v6", allow, "tcp6", "[::ffff:8.8.8.8]:80", false},
		{"denied v6 with a zone", allow, "tcp6", "[2606:4700::1%eth0]:80", false},
		{"metadata in an allowed network", allow, "tcp6", "[fd00:ec2::254]:80", false},
		{"allowed NAT64, public", allow, "tcp6", "[64:ff9b::909:909]:80", true},
		{"allowed NAT64, denied", allow, "tcp6", "[64:ff9b::808:808]:80", false},
		{"allowed NAT64, loopback", allow, "tcp6", "[64:ff9b::7f00:1]:80", false},
		{"allowed NAT64, metadata", allow, "tcp6", "[64:ff9b::a9fe:a9fe]:80", false},
		{"metadata named itself", imds, "tcp4", "169.254.169.254:80", true},

		{"permitted port", web, "tcp4", "93.184.215.14:443", true},
		{"other port", web, "tcp4", "93.184.215.14:22", false},

		{"unix socket", strict, "unix", "/run/docker.sock", false},
		{"raw IP", strict, "ip4:icmp", "93.184.215.14", false},
		{"name", strict, "tcp4", "example.com:80", false},
		{"no port", strict, "tcp4", "93.184.215.14", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := tt.policy.Control(tt.network, tt.address, nil)
			if tt.ok {
				require.NoError(t, err)
				return
			}
			require.Error(t, err)
		})
	}
}

// The whole way: names are resolved, Control is asked, and the error can be found in what the client returns.
func TestDialling(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	t.Cleanup(server.Close)
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	require.NoError(t, err)

	get := func(policy netguard.Policy, host string) error {
		dialer := &net.Dialer{Control: policy.Control}
		client := &http.Client{Transport: &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true}}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+net.JoinHostPort(host, port), http.NoBody)
		require.NoError(t, err)
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		return resp.Body.Close()
	}
	for _, host := range []string{"127.0.0.1", "localhost", "::ffff:127.0.0.1", "0.0.0.0", "１２７.０.０.１"} {
		t.Run(host, func(t *testing.T) {
			t.Parallel()
			var blocked *netguard.BlockedError
			require.ErrorAs(t, get(netguard.Policy{}, host), &blocked)
			require.True(t, blocked.Addr.Addr().Unmap().IsLoopback() || blocked.Addr.Addr().IsUnspecified())
			var operation *net.OpError
			require.ErrorAs(t, get(netguard.Policy{}, host), &operation)
		})
	}
	require.NoError(t, get(netguard.Policy{AllowLoopback: true}, "127.0.0.1"))
	require.NoError(t, get(netguard.Policy{Allow: prefixes("127.0.0.1/32")}, "127.0.0.1"))
	require.Error(t, get(netguard.Policy{AllowLoopback: true, Ports: []uint16{443}}, "127.0.0.1"))
}

func TestCheckURL(t *testing.T) {
	t.Parallel()
	strict := netguard.Policy{}
	local := netguard.Policy{AllowLoopback: true}
	web := netguard.Policy{Ports: []uint16{443}}
	secure := netguard.Policy{HTTPSOnly: true}
	tests := []struct {
		policy netguard.Policy
		url    string
		want   string // "" is permitted
	}{
		{strict, "https://example.com/hooks?x=1", ""},
		{strict, "http://example.com:8080", ""},
		{strict, "https://example.com:/", ""},
		{strict, "https://example.com.", ""},
		{strict, "https://bücher.example/", ""},
		{strict, "https://hook_receiver.example.com", ""},
		{strict, "https://93.184.215.14", ""},
		{strict, "https://[2606:2800:21f:cb07:6820:80da:af6b:8b2c]/", ""},
		{strict, "https://0x7f.example.com", ""},
		{strict, "https://localhost.example.com", ""},
		{strict, "ftp://example.com", "http://"},
		{strict, "//example.com", "http://"},
		{strict, "file:///etc/passwd", "http://"},
		{strict, "https://", "host"},
		{strict, "https://:443/", "host"},
		{strict, "https://./", "host"},
		{strict, "https://user@example.com", "user name"},
		{strict, "https://user:secret@example.com", "user name"},
		{strict, "https://@example.com", "user name"},
		{strict, "https://example.com:0", "port"},
		{strict, "https://example.com:65536", "port"},
		{strict, "https://127.0.0.1", "not permitted"},
		{strict, "https://169.254.169.254/latest/meta-data", "not permitted"},
		{strict, "https://[::1]", "not permitted"},
		{strict, "https://[::ffff:10.0.0.1]", "not permitted"},
		{strict, "https://[::ffff:7f00:1]", "not permitted"},
		{strict, "https://[0:0:0:0:0:ffff:127.0.0.1]", "not permitted"},
		{strict, "https://[::127.0.0.1]", "not permitted"},
		{strict, "https://[64:ff9b::127.0.0.1]", "not permitted"},
		{strict, "https://[64:ff9b:1::1]", "not permitted"},
		{strict, "https://[2002:7f00:1::]", "not permitted"},
		{strict, "https://[FD00:EC2::254]", "not permitted"},
		{strict, "https://[fe80::1%25eth0]", "zone"},
		{strict, "https://[2606:4700::1111%25eth0]", "zone"},
		{strict, "https://[::ffff:127.0.0.1%25lo]", "zone"},
		{strict, "https://１２７.０.０.１", "not permitted"},
		{strict, "https://127.0.0.1.", "usual form"},
		{strict, "https://127.1", "usual form"},
		{strict, "https://2130706433", "usual form"},
		{strict, "https://0177.0.0.1", "usual form"},
		{strict, "https://127.0.0.01", "usual form"},
		{strict, "https://0", "usual form"},
		{strict, "https://127.0.1", "usual form"},
		{strict, "https://127.0.0.1..", "valid name"},
		{strict, "https://017700000001", "usual form"},
		{strict, "https://0177.1", "usual form"},
		{strict, "https://0x7f.1", "usual form"},
		{strict, "https://4294967296", "usual form"},
		{strict, "https://127.0.0.1.:8443", "usual form"},
		{strict, "https://2130706433.", "usual form"},
		{strict, "https://①②⑦.⓪.⓪.①", "not permitted"},
		{strict, "https://127。0。0。1", "not permitted"},
		{strict, "https://１２７.1", "usual form"},
		{strict, "https://ⓛocalhost", "this machine"},
		{strict, "https://0x7f000001", "usual form"},
		{strict, "https://0X7F.0.0.0X1", "usual form"},
		{strict, "https://0x", "usual form"},
		{strict, "https://1.2.3.4.5", "usual form"},
		{strict, "https://localhost", "this machine"},
		{strict, "https://localhost.", "this machine"},
		{strict, "https://LOCALHOST.:8443", "this machine"},
		{strict, "https://shop.localhost", "this machine"},
		{strict, "https://\u00ad/", "valid name"},
		{strict, "https://a..example.com", "valid name"},
		{strict, "https://.example.com", "valid name"},
		{strict, "https://(example).com", "valid name"},
		{strict, "https://example.com;example.org", "valid name"},
		{strict, "https://" + strings.Repeat("a", 64) + ".example.com", "valid name"},
		{strict, "https://" + strings.Repeat("a.", 126) + "com", "valid name"},
		{local, "http://localhost:9000", ""},
		{local, "http://127.0.0.1:9000", ""},
		{local, "http://10.0.0.1", "not permitted"},
		{secure, "https://example.com", ""},
		{secure, "HTTPS://example.com:8443", ""},
		{secure, "http://example.com", "must start with https://"},
		{secure, "HTTP://example.com:443", "must start with https://"},
		{secure, "ftp://example.com", "must start with https://"},
		{secure, "//example.com", "must start with https://"},
		{secure, "https://127.0.0.1", "not permitted"},
		{web, "https://example.com", ""},
		{web, "http://example.com", "port"},
		{web, "https://example.com:8443", "port"},
	}
	for _, tt := range tests {
		t.Run(tt.url, func(t *testing.T) {
			t.Parallel()
			u, err := url.Parse(tt.url)
			require.NoError(t, err)
			err = tt.policy.CheckURL(u)
			if tt.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tt.want)
			require.NotContains(t, err.Error(), "secret")
		})
	}
}

// What net/url cannot read need not be judged. If a later version reads it, it must be.
func TestURLsThatAreNoURLs(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"https://[127.0.0.1]", "https://[::1.2.3]", "https://[fe80::1%eth0]", "https://[::1", "https://::1/", "https://[v1.x]",
		"https://127%2e0.0.1", "https://%31%32%37.0.0.1", "https://127.0.0.1 ", "https://127.0.0.1\t", "https://example.com\\@127.0.0.1/",
		"https://example.com:80:443", "https://example.com\n.example.org",
	} {
		u, err := url.Parse(text)
		if err == nil {
			err = netguard.Policy{}.CheckURL(u)
		}
		require.Error(t, err, "%q", text)
	}
}

// What CheckURL permits as an address, Control permits as well; and neither panics.
func FuzzCheckURL(f *testing.F) {
	for _, seed := range []string{"https://127.0.0.1", "http://[::1%25a]:1", "https://１.1", "https://0x7f.1:65535/"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		u, err := url.Parse(text)
		if err != nil || (netguard.Policy{}).CheckURL(u) != nil {
			return
		}
		if addr, err := netip.ParseAddr(u.Hostname()); err == nil {
			require.NoError(t, netguard.Policy{}.CheckAddr(netip.AddrPortFrom(addr, 443)))
		}
	})
}

func TestPolicyFromTheEnvironment(t *testing.T) {
	t.Parallel()
	var cfg struct {
		Egress netguard.Policy `envPrefix:"EGRESS_"`
	}
	require.NoError(t, config.Load([]string{
		"BEACONPOST_EGRESS_ALLOW_PRIVATE=true", "BEACONPOST_EGRESS_ALLOW=100.64.0.0/10,fd00::/8", "BEACONPOST_EGRESS_PORTS=80,443",
		"BEACONPOST_EGRESS_HTTPS_ONLY=true",
	}, &cfg, nil))
	require.Equal(t, netguard.Policy{
		AllowPrivate: true, Allow: prefixes("100.64.0.0/10", "fd00::/8"), Ports: []uint16{80, 443}, HTTPSOnly: true,
	}, cfg.Egress)

	// What would silently do nothing is refused.
	err := config.Load([]string{
		"BEACONPOST_EGRESS_ALLOW=::ffff:10.0.0.0/104", "BEACONPOST_EGRESS_DENY=8.8.8.0/24,::ffff:9.9.9.9/128", "BEACONPOST_EGRESS_PORTS=443,0",
	}, &cfg, nil)
	require.ErrorContains(t, err, "BEACONPOST_EGRESS_ALLOW: expected IPv4 networks in the form 192.0.2.0/24, got ::ffff:10.0.0.0/104")
	require.ErrorContains(t, err, "BEACONPOST_EGRESS_DENY: expected IPv4 networks in the form 192.0.2.0/24, got ::ffff:9.9.9.9/128")
	require.ErrorContains(t, err, "BEACONPOST_EGRESS_PORTS: expected ports from 1 to 65535, got 0")
}

func BenchmarkControl(b *testing.B) {
	for b.Loop() {
		_ = netguard.Policy{}.Control("tcp4", "93.184.215.14:443", nil)
	}
}

func ExamplePolicy_Control() {
	dialer := &net.Dialer{Control: netguard.Policy{}.Control}
	_, err := dialer.DialContext(context.Background(), "tcp", "169.254.169.254:80")

	var blocked *netguard.BlockedError
	if errors.As(err, &blocked) {
		fmt.Println(blocked)
	}
	// Output: address 169.254.169.254:80 is not permitted: it is a cloud metadata service
}
