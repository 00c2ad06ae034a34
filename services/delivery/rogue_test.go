package delivery_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// rogue is a sink on a raw socket: it does to a connection what its test says, which net/http would not let it do.
type rogue struct {
	url         string
	connections atomic.Int32
	mu          sync.Mutex
	got         []http.Header
}

// place opens a rogue, which ends with the test. It gives nil if this machine cannot have one.
type place func(t *testing.T) *rogue

// peer is one connection of a rogue. It is closed when the function that has it returns, and when the test ends.
type peer struct {
	net.Conn              // with TLS, if the rogue has it
	socket   *net.TCPConn // without
	in       *bufio.Reader
	rogue    *rogue
	over     <-chan struct{} // the test
}

// plain is a rogue without TLS.
func plain(talk func(*peer)) place {
	return func(t *testing.T) *rogue {
		t.Helper()
		return serve(t, "127.0.0.1:0", "http://", talk)
	}
}

// overTLS is a rogue that talks once the handshake has gone well.
func overTLS(cfg *tls.Config, talk func(*peer)) place {
	return func(t *testing.T) *rogue {
		t.Helper()
		return serve(t, "127.0.0.1:0", "https://", encrypted(cfg, talk))
	}
}

// onTLSPort is a rogue whose URL promises TLS; what it talks instead is its own affair.
func onTLSPort(talk func(*peer)) place {
	return func(t *testing.T) *rogue {
		t.Helper()
		return serve(t, "127.0.0.1:0", "https://", talk)
	}
}

func encrypted(cfg *tls.Config, talk func(*peer)) func(*peer) {
	return func(p *peer) {
		conn := tls.Server(p.socket, cfg)
		if conn.HandshakeContext(context.Background()) != nil {
			_, _ = io.Copy(io.Discard, p.socket) // leaving what has come unread would destroy the alert on its way
			return
		}
		p.Conn, p.in = conn, bufio.NewReader(conn)
		talk(p)
		_ = conn.Close()
	}
}

func serve(t *testing.T, address, scheme string, talk func(*peer)) *rogue {
	t.Helper()
	ln, err := net.Listen("tcp", address)
	if err != nil && strings.HasPrefix(address, "[") {
		return nil
	}
	require.NoError(t, err)
	r := &rogue{url: scheme + ln.Addr().String() + "/hook"}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			r.connections.Add(1)
			all.Go(func() { r.serve(t.Context(), conn.(*net.TCPConn), talk) })
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		all.Wait()
	})
	return r
}

func (r *rogue) serve(ctx context.Context, conn *net.TCPConn, talk func(*peer)) {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	talk(&peer{Conn: conn, socket: conn, in: bufio.NewReader(conn), rogue: r, over: ctx.Done()})
}

func (r *rogue) requests() []http.Header {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]http.Header(nil), r.got...)
}

// request takes a whole request. What is left unread would turn the close into a reset.
func (p *peer) request() bool {
	request, err := http.ReadRequest(p.in)
	if err != nil {
		return false
	}
	if _, err := io.Copy(io.Discard, request.Body); err != nil {
		return false
	}
	p.rogue.mu.Lock()
	defer p.rogue.mu.Unlock()
	p.rogue.got = append(p.rogue.got, request.Header)
	return true
}

func (p *peer) say(text string) bool {
	_, err := io.WriteString(p, text)
	return err == nil
}

// stay says nothing more, and leaves when the other side does.
func (p *peer) stay() { _, _ = io.Copy(io.Discard, p) }

// drip repeats the text, slowly enough to take forever and quickly enough to never be idle.
func (p *peer) drip(text string) {
	for p.pause() && p.say(text) {
	}
}

func (p *peer) flood(text string) {
	text = strings.Repeat(text, 1+1024/len(text))
	for p.say(text) {
	}
}

// pause gives what was said the time to arrive.
func (p *peer) pause() bool {
	select {
	case <-p.over:
		return false
	case <-time.After(20 * time.Millisecond):
		return true
	}
}

func (p *peer) reset() {
	p.pause()
	_ = p.socket.SetLinger(0)
	_ = p.socket.Close()
}

// answers takes a request, says the text and leaves.
func answers(text string) func(*peer) {
	return func(p *peer) {
		p.request()
		p.say(text)
	}
}

// hangs takes a request, says the text and stays.
func hangs(text string) func(*peer) {
	return func(p *peer) {
		answers(text)(p)
		p.stay()
	}
}

// keeps says the text to every request, as a server does.
func keeps(text string) func(*peer) {
	return func(p *peer) {
		for p.request() && p.say(text) {
		}
	}
}

func drips(first, each string) func(*peer) {
	return func(p *peer) {
		answers(first)(p)
		p.drip(each)
	}
}

func floods(first, each string) func(*peer) {
	return func(p *peer) {
		answers(first)(p)
		p.flood(each)
	}
}

func resets(text string) func(*peer) {
	return func(p *peer) {
		answers(text)(p)
		p.reset()
	}
}

// nowhere is a URL that no sink is behind.
func nowhere(url string) place { return func(*testing.T) *rogue { return &rogue{url: url} } }

func onIPv6(talk func(*peer)) place {
	return func(t *testing.T) *rogue {
		t.Helper()
		return serve(t, "[::1]:0", "http://", talk)
	}
}

// unlistened holds a port without listening, so that no other test can be given it meanwhile.
func unlistened(t *testing.T) *rogue {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = syscall.Close(fd) })
	require.NoError(t, syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	bound, err := syscall.Getsockname(fd)
	require.NoError(t, err)
	address := net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: bound.(*syscall.SockaddrInet4).Port}
	return &rogue{url: "http://" + address.String()}
}

// unaccepted is a listener that nobody accepts on: the system does, as far as its queue goes.
func unaccepted(t *testing.T) *rogue {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = ln.Close() })
	return &rogue{url: "http://" + ln.Addr().String()}
}

// full is a listener whose queue is full: what asks for a connection gets no answer.
func full(t *testing.T) *rogue {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = ln.Close() })
	raw, err := ln.(*net.TCPListener).SyscallConn()
	require.NoError(t, err)
	var shrunk error
	require.NoError(t, raw.Control(func(fd uintptr) { shrunk = syscall.Listen(int(fd), 0) }))
	require.NoError(t, shrunk)
	for range 16 {
		conn, err := net.DialTimeout("tcp", ln.Addr().String(), 300*time.Millisecond)
		if err != nil {
			return &rogue{url: "http://" + ln.Addr().String()}
		}
		t.Cleanup(func() { _ = conn.Close() })
	}
	return nil
}

// authority signs the certificates of rogues. The service under test trusts the system's roots and nothing else, so TestMain makes this one of them.
var authority = newAuthority()

type issuer struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "roots")
	if err != nil {
		panic(err)
	}
	file := filepath.Join(dir, "roots.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authority.cert.Raw}), 0o600); err != nil {
		panic(err)
	}
	if err := os.Setenv("SSL_CERT_FILE", file); err != nil { // read once, when the first certificate is verified
		panic(err)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

func newAuthority() *issuer {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "rogues"}, NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(48 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	cert, err := x509.ParseCertificate(raw)
	if err != nil {
		panic(err)
	}
	return &issuer{cert, key}
}

// issue gives a TLS configuration with a certificate for 127.0.0.1, which change may spoil.
func (i *issuer) issue(change func(*x509.Certificate)) *tls.Config {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "rogue"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if change != nil {
		change(template)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	parent, signer := i.cert, i.key
	if template.IsCA { // signed by itself
		parent, signer = template, key
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		panic(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{raw}, PrivateKey: key}}}
}
