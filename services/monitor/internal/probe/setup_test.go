package probe

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/beaconpost/beaconpost/pkg/netguard"
	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const short = 400 * time.Millisecond // for targets that never end

func newProber(t testing.TB, change ...func(*Config)) *Prober {
	t.Helper()
	cfg := Config{Network: netguard.Policy{AllowLoopback: true}, UserAgent: "Beaconpost/test"}
	for _, c := range change {
		c(&cfg)
	}
	p := New(cfg)
	t.Cleanup(p.Close)
	return p
}

// job is a check whose time is far more than a healthy answer takes.
func job(spec check.Spec) *check.Job {
	return &check.Job{Monitor: uuid.New(), Spec: &spec, Version: 1, Timeout: 20 * time.Second}
}

func get(url string) check.Spec { return check.Spec{Kind: check.HTTP, URL: url} }

// at names host and port of a spec.
func at(t testing.TB, kind check.Kind, address string) check.Spec {
	t.Helper()
	host, port, err := net.SplitHostPort(address)
	require.NoError(t, err)
	number, err := strconv.Atoi(port)
	require.NoError(t, err)
	return check.Spec{Kind: kind, Host: host, Port: number}
}

// checkIt makes the check and holds what is true of every result.
func checkIt(t testing.TB, p *Prober, j *check.Job) check.Result {
	t.Helper()
	r := p.Check(context.Background(), j)
	require.LessOrEqual(t, r.Duration, j.Timeout+time.Second)
	require.Equal(t, r.Outcome == check.Up, r.Evidence == nil, "%+v", r)
	require.Equal(t, r.Outcome == check.Up, r.Cause == "", "%+v", r)
	if r.Outcome != check.Up {
		require.NotEmpty(t, r.Detail)
	}
	total := r.Phases.Resolve + r.Phases.Connect + r.Phases.TLS + r.Phases.Processing + r.Phases.Transfer
	require.LessOrEqual(t, total, r.Duration, "%+v", r)
	if r.Cause != check.CauseTLS { // which is about the names of a certificate
		require.NotContains(t, r.Detail, "127.0.0.1")
	}
	return r
}

func serve(t testing.TB, handle http.HandlerFunc) string {
	t.Helper()
	if handle == nil {
		handle = func(http.ResponseWriter, *http.Request) {}
	}
	server := httptest.NewServer(handle)
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return server.URL
}

// raw is a listener whose connections are given to talk, one goroutine each, and closed afterwards. leave ends with the test.
func raw(t testing.TB, talk func(conn net.Conn, leave <-chan struct{})) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	leave := make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer conn.Close()
				gone := context.AfterFunc(closed(leave), func() { _ = conn.Close() })
				defer gone()
				talk(conn, leave)
			})
		}
	})
	t.Cleanup(func() {
		close(leave)
		_ = ln.Close()
		all.Wait()
	})
	return ln.Addr().String()
}

// closed is a context that ends with a channel.
type closed <-chan struct{}

func (c closed) Deadline() (time.Time, bool) { return time.Time{}, false }
func (c closed) Done() <-chan struct{}       { return c }
func (c closed) Value(any) any               { return nil }
func (c closed) Err() error {
	select {
	case <-c:
		return context.Canceled
	default:
		return nil
	}
}

func hang(_ net.Conn, leave <-chan struct{}) { <-leave }

// answer reads the request's beginning, then writes text.
func answer(text string) func(net.Conn, <-chan struct{}) {
	return func(conn net.Conn, _ <-chan struct{}) {
		_, _ = conn.Read(make([]byte, 4096))
		_, _ = io.WriteString(conn, text)
	}
}

func answerAndStay(text string) func(net.Conn, <-chan struct{}) {
	return func(conn net.Conn, leave <-chan struct{}) {
		answer(text)(conn, leave)
		<-leave
	}
}

// endless writes text, then more again and again until the other side has enough.
func endless(text, more string) func(net.Conn, <-chan struct{}) {
	return func(conn net.Conn, leave <-chan struct{}) {
		answer(text)(conn, leave)
		block := []byte(strings.Repeat(more, 1+4096/len(more)))
		for {
			if _, err := conn.Write(block); err != nil {
				return
			}
		}
	}
}

// drip writes text, then a byte of more every few milliseconds.
func drip(text, more string) func(net.Conn, <-chan struct{}) {
	return func(conn net.Conn, leave <-chan struct{}) {
		answer(text)(conn, leave)
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-leave:
				return
			case <-tick.C:
			}
			if _, err := conn.Write([]byte{more[i%len(more)]}); err != nil {
				return
			}
		}
	}
}

// closedPort is an address at which nobody listens, nor will: it is taken by a socket that does not.
func closedPort(t testing.TB) string {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = unix.Close(fd) })
	require.NoError(t, unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	at, err := unix.Getsockname(fd)
	require.NoError(t, err)
	return fmt.Sprintf("127.0.0.1:%d", at.(*unix.SockaddrInet4).Port)
}

// authority issues certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
	pem  string
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Test CA"}, NotBefore: time.Now().AddDate(-2, 0, 0), NotAfter: time.Now().AddDate(10, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &authority{cert, key, pool, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))}
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return key
}

// issue makes a certificate that ends after a time, for names and addresses.
func (a *authority) issue(t testing.TB, ends time.Duration, names ...string) tls.Certificate {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: names[0]}, NotBefore: time.Now().AddDate(-1, 0, 0), NotAfter: time.Now().Add(ends),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	require.NoError(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// valid is a certificate that everything accepts that trusts a.
func (a *authority) valid(t testing.TB) tls.Certificate {
	t.Helper()
	return a.issue(t, 90*day, "127.0.0.1", "::1", "localhost", "target.test")
}

func (a *authority) trusted(cfg *Config) { cfg.RootCAs = a.pool }

// pair gives certificate and key in PEM form.
func pair(t testing.TB, cert tls.Certificate) (certPEM, keyPEM string) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	require.NoError(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func serveTLS(t testing.TB, cfg *tls.Config, handle http.HandlerFunc) string {
	t.Helper()
	if handle == nil {
		handle = func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Proto) }
	}
	server := httptest.NewUnstartedServer(handle)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.EnableHTTP2 = true
	server.TLS = cfg
	server.StartTLS()
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return server.URL
}
