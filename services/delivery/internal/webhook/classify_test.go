package webhook

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/netguard"
	"github.com/beaconpost/beaconpost/services/delivery/internal/delivery"
	"github.com/beaconpost/beaconpost/services/delivery/internal/wire"
)

const okHeader = "HTTP/1.1 200 OK\r\n"

// Endpoints that do everything wrong that one can do, each on a real listener.
func TestWhatAnEndpointDidIsClassified(t *testing.T) {
	t.Parallel()
	short := 300 * time.Millisecond
	hang := func(conn net.Conn, leave <-chan struct{}) { <-leave }
	for name, tt := range map[string]struct {
		job    func(t *testing.T) *delivery.Job
		cfg    Config
		class  delivery.ErrorClass
		status int
	}{
		"no such host": {func(*testing.T) *delivery.Job { return job("http://nothing.invalid/") }, Config{}, delivery.ClassDNS, 0},
		"refused":      {func(t *testing.T) *delivery.Job { return job("http://" + closedPort(t)) }, Config{}, delivery.ClassConnect, 0},
		"blocked": {func(t *testing.T) *delivery.Job {
			return job(serve(t, func(http.ResponseWriter, *http.Request) { t.Error("it was reached") }))
		}, Config{Control: netguard.Policy{}.Control}, delivery.ClassBlocked, 0},
		"not a URL": {func(*testing.T) *delivery.Job { return job("http://exa mple.com/") }, Config{}, delivery.ClassInvalidURL, 0},

		"silent":     {func(t *testing.T) *delivery.Job { return within(short, job("http://"+raw(t, hang))) }, Config{}, delivery.ClassHeaderTimeout, 0},
		"silent TLS": {func(t *testing.T) *delivery.Job { return within(short, job("https://"+raw(t, hang))) }, Config{}, delivery.ClassTLSTimeout, 0},
		"half a header": {func(t *testing.T) *delivery.Job {
			return within(short, job("http://"+raw(t, answerAndStay(okHeader+"X-A: b\r\n"))))
		}, Config{}, delivery.ClassHeaderTimeout, 0},
		"half a body": {func(t *testing.T) *delivery.Job {
			return within(short, job("http://"+raw(t, answerAndStay(okHeader+"Content-Length: 10\r\n\r\nhalf"))))
		}, Config{}, delivery.ClassBodyTimeout, 200},
		"body without an end": {func(t *testing.T) *delivery.Job {
			return within(short, job("http://"+raw(t, answerAndStay(okHeader+"\r\nhalf"))))
		}, Config{}, delivery.ClassBodyTimeout, 200},
		"only interim answers": {func(t *testing.T) *delivery.Job {
			return within(short, job("http://"+raw(t, answerAndStay("HTTP/1.1 103 Early Hints\r\n\r\n"))))
		}, Config{}, delivery.ClassHeaderTimeout, 0},

		"slow header, with a limit of its own": {func(t *testing.T) *delivery.Job {
			return job("http://" + raw(t, answerAndStay(okHeader)))
		}, Config{Limits: wire.Limits{Header: short}}, delivery.ClassHeaderTimeout, 0},
		"takes nothing": {func(t *testing.T) *delivery.Job {
			j := within(10*short, job("http://"+raw(t, answerAndStay("HTTP/1.1 100 Continue\r\n\r\n")))) // signing 64 MiB takes of it, and connecting must not be what is late
			j.Payload = make([]byte, 64<<20)
			return j
		}, Config{}, delivery.ClassSendTimeout, 0},
		"nonsense before it took all": {func(t *testing.T) *delivery.Job {
			j := job("http://" + raw(t, answerAndStay("SSH-2.0-OpenSSH\r\n\r\n")))
			j.Payload = make([]byte, 64<<20)
			return j
		}, Config{}, delivery.ClassProtocol, 0},
		"HTTP/0.9": {func(t *testing.T) *delivery.Job {
			return job("http://" + raw(t, answer("hello, this is the answer\r\n")))
		}, Config{}, delivery.ClassProtocol, 0},
		"status 99":   {func(t *testing.T) *delivery.Job { return job("http://" + raw(t, answer("HTTP/1.1 099 Odd\r\n\r\n"))) }, Config{}, delivery.ClassProtocol, 0},
		"status 1000": {func(t *testing.T) *delivery.Job { return job("http://" + raw(t, answer("HTTP/1.1 1000 Odd\r\n\r\n"))) }, Config{}, delivery.ClassProtocol, 0},

		"closes at once":   {func(t *testing.T) *delivery.Job { return job("http://" + raw(t, answer(""))) }, Config{}, delivery.ClassReset, 0},
		"closes in header": {func(t *testing.T) *delivery.Job { return job("http://" + raw(t, answer(okHeader+"X-A: b\r\n"))) }, Config{}, delivery.ClassReset, 0},
		"closes in body": {func(t *testing.T) *delivery.Job {
			return job("http://" + raw(t, answer(okHeader+"Content-Length: 10\r\n\r\nhalf")))
		}, Config{}, delivery.ClassReset, 200},
		"closes in chunk": {func(t *testing.T) *delivery.Job {
			return job("http://" + raw(t, answer(okHeader+"Transfer-Encoding: chunked\r\n\r\na\r\nhalf")))
		}, Config{}, delivery.ClassReset, 200},
		"no last chunk": {func(t *testing.T) *delivery.Job {
			return job("http://" + raw(t, answer(okHeader+"Transfer-Encoding: chunked\r\n\r\n4\r\nfull\r\n")))
		}, Config{}, delivery.ClassReset, 200},
		"resets": {func(t *testing.T) *delivery.Job {
			return job("http://" + raw(t, func(conn net.Conn, _ <-chan struct{}) {
				_, _ = conn.Read(make([]byte, 10)) // the rest is unread
				_ = conn.(*net.TCPConn).SetLinger(0)
			}))
		}, Config{}, delivery.ClassReset, 0},
		"resets while we send": {func(t *testing.T) *delivery.Job {
			j := job("http://" + raw(t, func(conn net.Conn, _ <-chan struct{}) {
				_, _ = conn.Read(make([]byte, 10))
				_ = conn.(*net.TCPConn).SetLinger(0)
			}))
			j.Payload = make([]byte, 8<<20)
			return j
		}, Config{}, delivery.ClassReset, 0},
		"interim, then closes": {func(t *testing.T) *delivery.Job {
			return job("http://" + raw(t, answer("HTTP/1.1 100 Continue\r\n\r\n")))
		}, Config{}, delivery.ClassReset, 0},

		"not HTTP":   {func(t *testing.T) *delivery.Job { return job("http://" + raw(t, answer("SSH-2.0-OpenSSH\r\n\r\n"))) }, Config{}, delivery.ClassProtocol, 0},
		"bad status": {func(t *testing.T) *delivery.Job { return job("http://" + raw(t, answer("HTTP/1.1 OK\r\n\r\n"))) }, Config{}, delivery.ClassProtocol, 0},
		"bad chunk": {func(t *testing.T) *delivery.Job {
			return job("http://" + raw(t, answer(okHeader+"Transfer-Encoding: chunked\r\n\r\nzz\r\n")))
		}, Config{}, delivery.ClassProtocol, 200},
		"two lengths": {func(t *testing.T) *delivery.Job {
			return job("http://" + raw(t, answer(okHeader+"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx")))
		}, Config{}, delivery.ClassProtocol, 0},
		"bad header": {func(t *testing.T) *delivery.Job { return job("http://" + raw(t, answer(okHeader+"no colon\r\n\r\n"))) }, Config{}, delivery.ClassProtocol, 0},
		"header of 1 MiB": {func(t *testing.T) *delivery.Job {
			return job("http://" + raw(t, answer(okHeader+"X-A: "+strings.Repeat("x", 1<<20))))
		}, Config{}, delivery.ClassOversize, 0},
		"many headers": {func(t *testing.T) *delivery.Job {
			return job("http://" + raw(t, answer(okHeader+strings.Repeat("X-A: b\r\n", 20000))))
		}, Config{}, delivery.ClassOversize, 0},
		"endless interim answers": {func(t *testing.T) *delivery.Job {
			return job("http://" + raw(t, answer(strings.Repeat("HTTP/1.1 103 Early Hints\r\nX-A: "+strings.Repeat("x", 1000)+"\r\n\r\n", 1000))))
		}, Config{}, delivery.ClassOversize, 0},

		"unknown authority": {func(t *testing.T) *delivery.Job { return job(tlsServer(t, nil).URL) }, Config{}, delivery.ClassTLS, 0},
		"another name": {func(t *testing.T) *delivery.Job {
			return job(strings.Replace(tlsServer(t, nil).URL, "127.0.0.1", "localhost", 1))
		}, trusting(), delivery.ClassTLS, 0},
		"old protocol": {func(t *testing.T) *delivery.Job {
			return job(tlsServer(t, func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }).URL)
		}, trusting(), delivery.ClassTLS, 0},
		"wants our certificate": {func(t *testing.T) *delivery.Job {
			return job(tlsServer(t, func(c *tls.Config) { c.ClientAuth, c.MaxVersion = tls.RequireAnyClientCert, tls.VersionTLS12 }).URL)
		}, trusting(), delivery.ClassTLS, 0},
		"plain HTTP on the port of TLS": {func(t *testing.T) *delivery.Job {
			return job(strings.Replace(serve(t, nil), "http:", "https:", 1))
		}, Config{}, delivery.ClassTLS, 0},
		"nonsense on the port of TLS": {func(t *testing.T) *delivery.Job { return job("https://" + raw(t, answer("SSH-2.0-OpenSSH\r\n"))) }, Config{}, delivery.ClassTLS, 0},
		"closes in the handshake":     {func(t *testing.T) *delivery.Job { return job("https://" + raw(t, answer(""))) }, Config{}, delivery.ClassReset, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := send(t, newSender(t, tt.cfg), tt.job(t))
			require.Equal(t, tt.class, a.Class, a.Detail)
			require.Equal(t, tt.status, a.StatusCode)
			require.False(t, a.Succeeded())
			require.NotEmpty(t, a.Detail)
			for _, private := range []string{"127.0.0.1", "localhost", "nothing.invalid", "lookup", "tcp"} {
				require.NotContains(t, a.Detail, private, "the tenant learns nothing of our network")
			}
		})
	}
}

// tlsServer has a certificate for 127.0.0.1 and example.com that only trusting accepts.
func tlsServer(t *testing.T, change func(*tls.Config)) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Proto) }))
	server.Config.ErrorLog = quiet()
	server.EnableHTTP2 = true
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS10}
	if change != nil {
		change(server.TLS)
	}
	server.StartTLS()
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return server
}

func trusting() Config {
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	return Config{TLS: server.Client().Transport.(*http.Transport).TLSClientConfig}
}

// Errors that no listener of a test can cause reliably.
func TestClassifyOtherErrors(t *testing.T) {
	t.Parallel()
	in := func(phase wire.Phase, err error) error { return &wire.Error{Phase: phase, Err: err} }
	dial := func(err error) error { return in(wire.Connect, &net.OpError{Op: "dial", Net: "tcp", Err: err}) }
	for _, tt := range []struct {
		err  error
		want delivery.ErrorClass
	}{
		{in(wire.Connect, context.DeadlineExceeded), delivery.ClassConnectTimeout},
		{in(wire.Handshake, context.DeadlineExceeded), delivery.ClassTLSTimeout},
		{in(wire.Send, os.ErrDeadlineExceeded), delivery.ClassSendTimeout},
		{in(wire.Wait, os.ErrDeadlineExceeded), delivery.ClassHeaderTimeout},
		{in(wire.Receive, os.ErrDeadlineExceeded), delivery.ClassBodyTimeout},
		{dial(os.NewSyscallError("connect", syscall.ETIMEDOUT)), delivery.ClassConnectTimeout},
		{dial(&net.DNSError{Err: "i/o timeout", IsTimeout: true}), delivery.ClassDNS},
		{dial(&net.DNSError{Err: "server misbehaving", IsTemporary: true}), delivery.ClassDNS},
		{dial(&netguard.BlockedError{}), delivery.ClassBlocked},
		{wire.InsecureError{}, delivery.ClassBlocked},
		{dial(os.NewSyscallError("connect", syscall.EHOSTUNREACH)), delivery.ClassConnect},
		{dial(os.NewSyscallError("connect", syscall.ENETUNREACH)), delivery.ClassConnect},
		{dial(os.NewSyscallError("connect", syscall.ECONNRESET)), delivery.ClassConnect},
		{&net.OpError{Op: "write", Err: os.NewSyscallError("write", syscall.EPIPE)}, delivery.ClassReset},
		{io.EOF, delivery.ClassReset},
		{errors.New("anything else"), delivery.ClassProtocol},
	} {
		class, detail := classify(fmt.Errorf("post webhook: %w", tt.err))
		require.Equal(t, tt.want, class, "%v", tt.err)
		require.NotEmpty(t, detail)
		again, same := classify(fmt.Errorf("dial tcp 10.1.2.3:5432 on eth0: lookup db.internal on 10.96.0.10:53: %w", tt.err))
		require.Equal(t, class, again)
		require.Equal(t, detail, same, "what surrounds an error does not show")
	}
	secret := netip.MustParseAddrPort("10.1.2.3:5432")
	tcp := func(err error) error {
		return in(wire.Connect, &net.OpError{Op: "dial", Net: "tcp", Source: net.TCPAddrFromAddrPort(secret), Addr: net.TCPAddrFromAddrPort(secret), Err: err})
	}
	for _, err := range []error{
		tcp(&net.DNSError{Err: "no such host", Name: "db.internal", Server: "10.1.2.3:53", IsNotFound: true}),
		tcp(&net.DNSError{Err: "read udp 10.1.2.3:4242->10.1.2.3:53: connection refused", Name: "db.internal", Server: "10.1.2.3:53"}),
		tcp(&net.AddrError{Err: "no such interface eth0", Addr: "fe80::1%eth0"}),
		tcp(&netguard.BlockedError{Addr: secret, Reason: "it is in db.internal"}),
		tcp(os.NewSyscallError("connect", syscall.ECONNREFUSED)),
		tcp(os.NewSyscallError("connect", syscall.EACCES)),
		tcp(os.NewSyscallError("socket", syscall.EMFILE)),
		in(wire.Handshake, &tls.CertificateVerificationError{Err: x509.HostnameError{Certificate: &x509.Certificate{DNSNames: []string{"db.internal"}}, Host: "eth0"}}),
		in(wire.Handshake, x509.UnknownAuthorityError{Cert: &x509.Certificate{}}),
		in(wire.Wait, wire.ProtocolError("-ERR unknown command from 10.1.2.3")),
		in(wire.Wait, &net.OpError{Op: "read", Net: "tcp", Source: net.TCPAddrFromAddrPort(secret), Err: os.NewSyscallError("read", syscall.ECONNRESET)}),
		&wire.InvalidURLError{Err: errors.New("db.internal")},
		wire.InsecureError{},
	} {
		_, detail := classify(err)
		for _, private := range []string{"10.1.2.3", "5432", "53", "db.internal", "eth0", "fe80", "-ERR", "dial", "lookup", "socket"} {
			require.NotContains(t, detail, private, "%v", err)
		}
	}
	require.Subset(t, delivery.Classes(), []delivery.ErrorClass{
		"dns", "connect", "timeout_connect", "tls", "timeout_tls", "timeout_send", "timeout_header", "timeout_body", "reset", "protocol", "oversize", "blocked_address", "invalid_url",
	},
		"labels and API: they may be added, not changed")
}
