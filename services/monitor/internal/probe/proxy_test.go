package probe

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
)

// middleman is a proxy that knows names: all of .test are at 127.0.0.1. It notes what it is asked for and which credentials it gets.
type middleman struct {
	mu     sync.Mutex
	asked  []string
	logins []string
}

func (m *middleman) note(asked, login string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked, m.logins = append(m.asked, asked), append(m.logins, login)
}

func dialTarget(address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil || strings.HasSuffix(host, ".test") {
		host = "127.0.0.1"
	}
	return net.Dial("tcp", net.JoinHostPort(host, port))
}

// http is a proxy for one request of each connection.
func (m *middleman) http(t testing.TB) string {
	return raw(t, func(conn net.Conn, _ <-chan struct{}) {
		in := bufio.NewReader(conn)
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		m.note(r.Method+" "+r.RequestURI, r.Header.Get("Proxy-Authorization"))
		address := r.Host
		if r.Method != http.MethodConnect && !strings.Contains(address, ":") {
			address += ":80"
		}
		target, err := dialTarget(address)
		if err != nil {
			_, _ = io.WriteString(conn, "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
			return
		}
		defer target.Close()
		if r.Method == http.MethodConnect {
			_, _ = io.WriteString(conn, "HTTP/1.1 200 Connection established\r\n\r\n")
			pipe(conn, target)
			return
		}
		r.Header.Del("Proxy-Authorization")
		_ = r.Write(target)
		_, _ = io.Copy(conn, target)
	})
}

func pipe(a, b net.Conn) {
	var both sync.WaitGroup
	for from, to := range map[net.Conn]net.Conn{a: b, b: a} {
		both.Go(func() {
			_, _ = io.Copy(to, from)
			_ = to.Close()
		})
	}
	both.Wait()
}

// socks is a SOCKS5 server (RFC 1928, 1929). With a login it wants that.
func (m *middleman) socks(t testing.TB, login string) string {
	return raw(t, func(conn net.Conn, _ <-chan struct{}) {
		read := func(n byte) []byte {
			b := make([]byte, n)
			_, _ = io.ReadFull(conn, b)
			return b
		}
		methods := read(read(2)[1])
		if login == "" {
			_, _ = conn.Write([]byte{5, 0})
		} else {
			if !strings.Contains(string(methods), "\x02") {
				_, _ = conn.Write([]byte{5, 0xff})
				return
			}
			_, _ = conn.Write([]byte{5, 2})
			given := string(read(read(2)[1])) + ":"
			given += string(read(read(1)[0]))
			if given != login {
				_, _ = conn.Write([]byte{1, 1})
				return
			}
			_, _ = conn.Write([]byte{1, 0})
		}
		var host string
		switch head := read(4); head[3] {
		case 1:
			host = net.IP(read(4)).String()
		case 3:
			host = string(read(read(1)[0]))
		case 4:
			host = net.IP(read(16)).String()
		}
		address := net.JoinHostPort(host, strconv.Itoa(int(binary.BigEndian.Uint16(read(2)))))
		m.note(address, login)
		reply := []byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0}
		target, err := dialTarget(address)
		switch {
		case err != nil:
			reply[1] = 5
		case strings.HasPrefix(host, "forbidden"):
			reply[1] = 2
		}
		_, _ = conn.Write(reply)
		if err == nil {
			defer target.Close()
		}
		if reply[1] == 0 {
			pipe(conn, target)
		}
	})
}

func proxied(cfg *Config) { cfg.AllowProxies = true }

// named gives a URL whose host only a proxy knows.
func named(url string) string { return strings.Replace(url, "127.0.0.1", "target.test", 1) }

func TestProxies(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	answers := func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(fmt.Sprint(r.Header), "Proxy-Authorization") {
			t.Error("the target was shown what is for the proxy")
		}
		if r.URL.Path == "/" {
			echo(w, r)
			return
		}
		_, _ = io.WriteString(w, r.Proto+" "+r.Host+" "+r.RequestURI+" "+r.Header.Get("X-A"))
	}
	plain, secure := serve(t, answers), serveTLS(t, tlsOf(ca.valid(t)), answers)
	p := newProber(t, ca.trusted, proxied)
	const login = "me:canary%2Fpassword"
	for name, tt := range map[string]struct {
		kind             check.Kind
		url, asked, body string
	}{
		"http":  {check.HTTP, plain + "/a%2Fb?x=1", "GET {url}", "HTTP/1.1 {host} /a%2Fb?x=1 b"},
		"https": {check.HTTP, secure + "/a?x=1", "CONNECT {host}", "HTTP/2.0 {host} /a?x=1 b"},
		"ws":    {check.WebSocket, strings.Replace(plain, "http", "ws", 1) + "/", "CONNECT {host}", ""},
		"wss":   {check.WebSocket, strings.Replace(secure, "http", "ws", 1) + "/", "CONNECT {host}", ""},
	} {
		for _, scheme := range []string{"http", "socks5"} {
			t.Run(name+" by "+scheme, func(t *testing.T) {
				t.Parallel()
				m := new(middleman)
				url := named(tt.url)
				fill := strings.NewReplacer("{url}", url, "{host}", parse(t, url).Host).Replace
				spec := check.Spec{Kind: tt.kind, URL: url, Headers: map[string]string{"X-A": "b"}}
				asked, seen := fill(tt.asked), "Basic bWU6Y2FuYXJ5L3Bhc3N3b3Jk"
				if scheme == "http" {
					spec.Proxy = "http://" + login + "@" + m.http(t)
				} else {
					spec.Proxy = "socks5://" + login + "@" + m.socks(t, "me:canary/password")
					asked, seen = fill("{host}"), "me:canary/password"
				}
				if tt.kind == check.HTTP {
					spec.ExpectBody = []check.Match{{Equals: fill(tt.body)}}
				} else {
					spec.Send, spec.Expect = "ping", "^ping$"
				}
				require.NoError(t, spec.Check())
				r := checkIt(t, p, job(spec))
				require.Equal(t, check.Up, r.Outcome, "%+v %+v", r, r.Evidence)
				require.Empty(t, r.IP, "the target's is known to the proxy only")
				require.Positive(t, r.Phases.Connect)
				require.Equal(t, []string{asked}, m.asked)
				require.Equal(t, []string{seen}, m.logins)
			})
		}
	}
}

func TestTokensAndRedirectsGoThroughTheProxy(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	i := &issuer{}
	secure := named(serveTLS(t, tlsOf(ca.valid(t)), func(_ http.ResponseWriter, r *http.Request) {
		if strings.Contains(fmt.Sprint(r.Header), "canary") {
			t.Error("credentials were sent to another host")
		}
	}))
	endpoint := named(serve(t, i.ServeHTTP))
	plain := named(serve(t, func(w http.ResponseWriter, r *http.Request) {
		if !i.accepts(r) {
			t.Error("no token")
		}
		http.Redirect(w, r, secure, http.StatusFound)
	}))
	m := new(middleman)
	spec := oauth(endpoint, plain)
	spec.Proxy = "http://me:canary@" + m.http(t)
	r := checkIt(t, newProber(t, ca.trusted, proxied), job(spec))
	require.Equal(t, check.Up, r.Outcome, "%+v %+v", r, r.Evidence)
	require.Equal(t, []string{"POST " + endpoint + "/", "GET " + plain + "/", "CONNECT " + parse(t, secure).Host}, m.asked)
}

func TestProxiesGoneWrong(t *testing.T) {
	t.Parallel()
	plain := named(serve(t, func(http.ResponseWriter, *http.Request) {}))
	secure := strings.Replace(plain, "http:", "https:", 1)
	nobody := named("https://" + closedPort(t))
	forbidden := strings.Replace(secure, "target", "forbidden", 1)
	n := newNames(t)
	n.add(t, "internal.test. A 10.9.8.7")
	m := new(middleman)
	says := func(text string) string { return "http://me:canary-password@" + raw(t, answer(text)) }
	for name, tt := range map[string]struct {
		proxy, url string
		cause      check.Cause
		detail     string
		ofTarget   bool
	}{
		"refused":              {"http://me:canary-password@" + closedPort(t), plain, check.CauseConnect, "The connection was refused.", false},
		"refused, SOCKS":       {"socks5://" + closedPort(t), plain, check.CauseConnect, "The connection was refused.", false},
		"no such name":         {"http://none.test:80", plain, check.CauseDNS, "does not exist", false},
		"private":              {"http://10.1.2.3:80", plain, check.CauseBlockedAddress, "may connect to", false},
		"private, SOCKS":       {"socks5://10.1.2.3:80", plain, check.CauseBlockedAddress, "may connect to", false},
		"private by name":      {"http://internal.test:80", plain, check.CauseBlockedAddress, "may connect to", false},
		"no credentials":       {says("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"), plain, check.CauseStatus, "407", false},
		"no credentials, TLS":  {says("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"), secure, check.CauseStatus, "407", false},
		"forbidden":            {says("HTTP/1.1 403 Forbidden\r\n\r\n"), secure, check.CauseStatus, "403", false},
		"nonsense":             {says("hello\r\n\r\n"), secure, check.CauseProtocol, "valid answer", false},
		"closes":               {says(""), secure, check.CauseReset, "closed", false},
		"speaks too early":     {says("HTTP/1.1 200 OK\r\n\r\nhello"), secure, check.CauseProtocol, "valid answer", false},
		"endless":              {"http://" + raw(t, endless("HTTP/1.1 200 OK\r\n", "X-A: b\r\n")), secure, check.CauseProtocol, "valid answer", false},
		"hangs":                {"http://" + raw(t, hang), secure, check.CauseTimeout, "The connecting through the proxy did not end within", false},
		"hangs, SOCKS":         {"socks5://" + raw(t, hang), secure, check.CauseTimeout, "The connecting through the proxy did not end within", false},
		"drips":                {"http://" + raw(t, drip("HTTP/1.1 200 OK\r\n", "X-A: b\r\n")), secure, check.CauseTimeout, "The connecting through the proxy did not end within", false},
		"nobody there":         {"http://" + m.http(t), nobody, check.CauseConnect, "could not connect to the target: the status is 502", true},
		"nobody there, SOCKS":  {"socks5://" + m.socks(t, ""), nobody, check.CauseConnect, "could not connect to the target: connection refused", true},
		"forbidden, SOCKS":     {"socks5://" + m.socks(t, ""), forbidden, check.CauseStatus, "not allowed", false},
		"wrong login, SOCKS":   {"socks5://me:canary-password@" + m.socks(t, "me:other"), secure, check.CauseStatus, "does not accept", false},
		"no login, SOCKS":      {"socks5://" + m.socks(t, "me:other"), secure, check.CauseStatus, "does not accept", false},
		"HTTP instead, SOCKS":  {"socks5://" + raw(t, answer("HTTP/1.1 400 Bad Request\r\n\r\n")), secure, check.CauseProtocol, "valid answer", false},
		"SOCKS instead":        {says("\x05\xff\r\n"), secure, check.CauseProtocol, "valid answer", false},
		"closes early, SOCKS":  {"socks5://" + raw(t, answer("\x05\x00")), secure, check.CauseReset, "closed", false},
		"a short reply, SOCKS": {"socks5://" + raw(t, answer("\x05\x00\x05\x00\x00\x01")), secure, check.CauseReset, "closed", false},
	} {
		for _, invert := range []bool{false, true} {
			t.Run(fmt.Sprint(name, " ", invert), func(t *testing.T) {
				t.Parallel()
				spec := get(tt.url)
				spec.Proxy, spec.Invert = tt.proxy, invert
				require.NoError(t, spec.Check())
				j := job(spec)
				if tt.cause == check.CauseTimeout {
					j.Timeout = short
				}
				r := checkIt(t, newProber(t, proxied, n.used), j)
				if invert && tt.ofTarget {
					require.Equal(t, check.Up, r.Outcome, "%+v", r)
					return
				}
				require.Equal(t, check.Down, r.Outcome, "%+v", r)
				require.Equal(t, tt.cause, r.Cause, "%+v", r)
				require.Contains(t, r.Detail, "Proxy: ")
				require.Contains(t, r.Detail, tt.detail)
				require.NotContains(t, fmt.Sprintf("%+v", r.Evidence), "10.9.8.7")
				requireSilent(t, r)
			})
		}
	}
}

func TestProxiesAreRefusedUnlessPermitted(t *testing.T) {
	t.Parallel()
	reached := parse(t, serve(t, func(http.ResponseWriter, *http.Request) { t.Error("it was reached") }))
	p := newProber(t)
	for _, scheme := range []string{"http", "socks5"} {
		for _, spec := range []check.Spec{
			get(reached.String()), {Kind: check.WebSocket, URL: "ws://" + reached.Host}, oauth(reached.String(), reached.String()),
			{Kind: check.HTTP, URL: reached.String(), Invert: true},
		} {
			spec.Proxy = scheme + "://me:canary-password@" + reached.Host
			r := checkIt(t, p, job(spec))
			requireBlocked(t, r)
			require.Contains(t, r.Detail, "does not permit proxies")
			requireSilent(t, r)
		}
	}
}

// What a proxy that passes everything on tells the target, the target may answer.
func TestProxyPasswordsAreNotEvidence(t *testing.T) {
	t.Parallel()
	spec := get("http://target.test/")
	spec.Proxy = "http://me:canary%2Fpassword@" + raw(t, func(conn net.Conn, _ <-chan struct{}) {
		r, err := http.ReadRequest(bufio.NewReader(conn))
		if err == nil {
			_, _ = fmt.Fprintf(conn, "HTTP/1.1 500 Oh\r\nX-Echo: %s\r\n\r\ncanary/password %v", r.Header.Get("Proxy-Authorization"), r.Header)
		}
	})
	r := checkIt(t, newProber(t, proxied), job(spec))
	require.Equal(t, 500, r.Status)
	requireSilent(t, r)
	require.NotContains(t, fmt.Sprintf("%+v", r.Evidence), "bWU6Y2FuYXJ5")
}
