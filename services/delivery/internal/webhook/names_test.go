package webhook

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/beaconpost/beaconpost/pkg/netguard"
	"github.com/beaconpost/beaconpost/services/delivery/internal/delivery"
)

// names is a DNS server that gives every name the same addresses.
type names struct {
	conn net.PacketConn
	done sync.WaitGroup

	mu      sync.Mutex
	answers []netip.Addr
}

func newNames(t *testing.T) *names {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	n := &names{conn: conn}
	n.done.Go(n.serve)
	t.Cleanup(func() {
		_ = conn.Close()
		n.done.Wait()
	})
	return n
}

// lead makes names lead to addrs, in this order.
func (n *names) lead(addrs ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.answers = nil
	for _, addr := range addrs {
		n.answers = append(n.answers, netip.MustParseAddr(addr))
	}
}

// resolver asks n and nobody else.
func (n *names) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", n.conn.LocalAddr().String())
	}}
}

func (n *names) serve() {
	packet := make([]byte, 1500)
	for {
		size, from, err := n.conn.ReadFrom(packet)
		if err != nil {
			return
		}
		var m dnsmessage.Message
		if m.Unpack(packet[:size]) != nil || len(m.Questions) != 1 {
			continue
		}
		if out, err := n.answer(m).Pack(); err == nil {
			_, _ = n.conn.WriteTo(out, from)
		}
	}
}

func (n *names) answer(m dnsmessage.Message) *dnsmessage.Message {
	n.mu.Lock()
	defer n.mu.Unlock()
	q := m.Questions[0]
	out := &dnsmessage.Message{Header: dnsmessage.Header{ID: m.ID, Response: true, RecursionAvailable: true}, Questions: m.Questions}
	for _, addr := range n.answers {
		head := dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 3600}
		switch {
		case q.Type == dnsmessage.TypeA && addr.Is4():
			out.Answers = append(out.Answers, dnsmessage.Resource{Header: head, Body: &dnsmessage.AResource{A: addr.As4()}})
		case q.Type == dnsmessage.TypeAAAA && addr.Is6():
			out.Answers = append(out.Answers, dnsmessage.Resource{Header: head, Body: &dnsmessage.AAAAResource{AAAA: addr.As16()}})
		}
	}
	return out
}

// everywhere answers on one port of all addresses of this machine, and remembers at which it was connected to.
type everywhere struct {
	port string
	*httptest.Server

	mu      sync.Mutex
	reached []string
}

func newEverywhere(t *testing.T) *everywhere {
	t.Helper()
	ln, err := net.Listen("tcp", ":0")
	require.NoError(t, err)
	e := &everywhere{Server: &httptest.Server{Listener: ln, Config: &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})}}}
	_, e.port, err = net.SplitHostPort(ln.Addr().String())
	require.NoError(t, err)
	e.Config.ConnState = func(conn net.Conn, state http.ConnState) {
		if state != http.StateNew {
			return
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		e.reached = append(e.reached, netip.MustParseAddrPort(conn.LocalAddr().String()).Addr().Unmap().String())
	}
	e.Start()
	t.Cleanup(e.Close)
	return e
}

// connections gives where connections came in since the last call.
func (e *everywhere) connections() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	list := e.reached
	e.reached = nil
	return list
}

func hasIPv6() bool {
	ln, err := net.Listen("tcp6", "[::]:0")
	if err != nil {
		return false
	}
	return ln.Close() == nil
}

// The addresses of this machine stand for those of the world: 127.0.0.1 for a public one, the others for what must not be reached.
func localhostIsPublic() netguard.Policy {
	return netguard.Policy{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}
}

func TestOfManyAddressesThePermittedAreDialled(t *testing.T) {
	t.Parallel()
	const blocked = "The endpoint's address is not one that this installation may connect to."
	for name, tt := range map[string]struct {
		addrs   []string
		class   delivery.ErrorClass
		reached []string
	}{
		"permitted":              {[]string{"127.0.0.1"}, "", []string{"127.0.0.1"}},
		"forbidden first":        {[]string{"127.0.0.2", "127.0.0.1"}, "", []string{"127.0.0.1"}},
		"forbidden last":         {[]string{"127.0.0.1", "127.0.0.2"}, "", []string{"127.0.0.1"}},
		"forbidden on all sides": {[]string{"10.0.0.1", "169.254.169.254", "127.0.0.1", "127.0.0.2", "192.168.0.1"}, "", []string{"127.0.0.1"}},
		"forbidden v6 beside it": {[]string{"::1", "fd00:ec2::254", "127.0.0.1"}, "", []string{"127.0.0.1"}},
		"v4-mapped, permitted":   {[]string{"::ffff:127.0.0.1"}, "", []string{"127.0.0.1"}},
		"forbidden":              {[]string{"127.0.0.2"}, delivery.ClassBlocked, nil},
		"all forbidden":          {[]string{"127.0.0.2", "127.0.0.3", "::1"}, delivery.ClassBlocked, nil},
		"unspecified":            {[]string{"0.0.0.0"}, delivery.ClassBlocked, nil},
		"unspecified v6":         {[]string{"::"}, delivery.ClassBlocked, nil},
		"v4-mapped, forbidden":   {[]string{"::ffff:127.0.0.2"}, delivery.ClassBlocked, nil},
		"NAT64":                  {[]string{"64:ff9b::7f00:1"}, delivery.ClassBlocked, nil},
		"6to4":                   {[]string{"2002:7f00:1::"}, delivery.ClassBlocked, nil},
		"metadata":               {[]string{"169.254.169.254", "fd00:ec2::254"}, delivery.ClassBlocked, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if strings.Contains(strings.Join(tt.addrs, " "), ":") && !hasIPv6() {
				t.Skip("this machine has no IPv6: such an address fails before it is judged")
			}
			dns, endpoint := newNames(t), newEverywhere(t)
			dns.lead(tt.addrs...)
			a := send(t, newSender(t, Config{Control: localhostIsPublic().Control, Resolver: dns.resolver()}), job("http://hook.example:"+endpoint.port))
			require.Equal(t, tt.class, a.Class, a.Detail)
			require.Equal(t, tt.reached, endpoint.connections())
			require.Equal(t, tt.class == "", a.Succeeded())
			if tt.class != "" {
				require.Equal(t, blocked, a.Detail, "no address, and nothing of the resolver")
			}
		})
	}
}

// A name is good when the endpoint is made and when it was looked up last, and leads elsewhere when it is dialled.
func TestANameThatIsReboundLeadsNowhere(t *testing.T) {
	t.Parallel()
	dns, endpoint := newNames(t), newEverywhere(t)
	policy := localhostIsPublic()
	s := newSender(t, Config{Control: policy.Control, Resolver: dns.resolver()})
	at := "http://hook.example:" + endpoint.port
	u, err := url.Parse(at)
	require.NoError(t, err)

	dns.lead("127.0.0.1")
	require.NoError(t, policy.CheckURL(u))
	addrs, err := dns.resolver().LookupNetIP(t.Context(), "ip4", "hook.example")
	require.NoError(t, err)
	require.Equal(t, "127.0.0.1", addrs[0].Unmap().String())

	dns.lead("127.0.0.2")
	require.Equal(t, delivery.ClassBlocked, send(t, s, job(at)).Class)
	require.Empty(t, endpoint.connections())

	dns.lead("127.0.0.1")
	require.True(t, send(t, s, job(at)).Succeeded())
	require.Equal(t, []string{"127.0.0.1"}, endpoint.connections())

	// The connection that waits leads to where it was permitted to, and the next one is looked at again.
	dns.lead("127.0.0.2")
	require.True(t, send(t, s, job(at)).Succeeded())
	require.Empty(t, endpoint.connections(), "it is the same connection")
	endpoint.CloseClientConnections()
	require.Eventually(t, func() bool { return send(t, s, job(at)).Class == delivery.ClassBlocked }, 10*time.Second, 10*time.Millisecond)
	require.Empty(t, endpoint.connections())
}

// Spellings that a resolver may take for an address are looked up as names; what is dialled counts, whatever it was written as.
func TestOddHostsAreJudgedAsDialled(t *testing.T) {
	t.Parallel()
	dns, endpoint := newNames(t), newEverywhere(t)
	dns.lead("127.0.0.2")
	s := newSender(t, Config{Control: netguard.Policy{}.Control, Resolver: dns.resolver()})
	for _, host := range []string{
		"127.0.0.1", "127.0.0.2", "0.0.0.0", "localhost", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::127.0.0.1]", "[fe80::1%25lo]", "[::1%25lo]", "１２７.０.０.１", "①②⑦.⓪.⓪.①",
		"127.0.0.1.", "localhost.", "127.1", "0", "0177.0.0.1", "0x7f000001", "0x7f.1", "2130706433", "017700000001", "hook.example", "hook.example.",
	} {
		if strings.HasPrefix(host, "[") && !hasIPv6() {
			continue
		}
		a := send(t, s, job("http://"+host+":"+endpoint.port))
		require.Contains(t, []delivery.ErrorClass{delivery.ClassBlocked, delivery.ClassDNS}, a.Class, "%s: %s", host, a.Detail)
		require.Empty(t, endpoint.connections(), host)
	}
}

func TestNoProxyIsUsed(t *testing.T) {
	proxy := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("the proxy was used") })
	for _, name := range []string{"http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"} {
		t.Setenv(name, proxy)
	}
	dns, endpoint := newNames(t), newEverywhere(t)
	dns.lead("127.0.0.1") // a name, since Go's proxies are never used for localhost
	require.True(t, send(t, newSender(t, Config{Resolver: dns.resolver()}), job("http://hook.example:"+endpoint.port)).Succeeded())
	require.Len(t, endpoint.connections(), 1)
}

func TestHTTPSOnly(t *testing.T) {
	t.Parallel()
	endpoint := newEverywhere(t)
	cfg := trusting()
	cfg.HTTPSOnly = true
	s := newSender(t, cfg)
	for _, scheme := range []string{"http", "HTTP"} {
		a := send(t, s, job(scheme+"://127.0.0.1:"+endpoint.port))
		require.Equal(t, delivery.ClassBlocked, a.Class)
		require.Equal(t, "The endpoint's URL begins with http://, and this installation sends to https:// only.", a.Detail)
	}
	require.Empty(t, endpoint.connections())
	require.Equal(t, delivery.ClassInvalidURL, send(t, s, job("ftp://127.0.0.1:"+endpoint.port)).Class)
	require.True(t, send(t, s, job(tlsServer(t, nil).URL)).Succeeded())

	// A redirect away from https is no way around it.
	a := send(t, s, job(strings.Replace(redirecting(t, endpoint.URL), "http:", "https:", 1)))
	require.Equal(t, 308, a.StatusCode)
	require.Empty(t, endpoint.connections())
}

// redirecting is a TLS server that sends everybody elsewhere.
func redirecting(t *testing.T, elsewhere string) string {
	t.Helper()
	server := httptest.NewTLSServer(http.RedirectHandler(elsewhere, http.StatusPermanentRedirect))
	t.Cleanup(server.Close)
	return server.URL
}
