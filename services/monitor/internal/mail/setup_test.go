package mail_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	netmail "net/mail"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/beaconpost/beaconpost/services/monitor/internal/alert"
	"github.com/beaconpost/beaconpost/services/monitor/internal/mail"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// received is a mail that a relay took.
type received struct {
	from string
	to   []string
	data string
}

func (r received) parse(t *testing.T) *netmail.Message {
	t.Helper()
	m, err := netmail.ReadMessage(strings.NewReader(r.data))
	require.NoError(t, err)
	return m
}

// relay is an SMTP server that keeps what it gets. refuse has answers by recipient; the key "sender" is for MAIL FROM, "data" for the mail.
type relay struct {
	mu     sync.Mutex
	mails  []received
	hello  string
	auth   bool // AUTH is offered: user, hunter2
	refuse map[string]*smtp.SMTPError
}

func (r *relay) all() []received {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mails
}

func (r *relay) answer(to string) error {
	if err := r.refuse[to]; err != nil {
		return err
	}
	return nil
}

type session struct {
	relay *relay
	known bool
	mail  received
}

func (s *session) AuthMechanisms() []string {
	if !s.relay.auth {
		return nil
	}
	return []string{sasl.Plain}
}

func (s *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, username, password string) error {
		if username != "user" || password != "hunter2" {
			return errors.New("not " + password)
		}
		s.known = true
		return nil
	}), nil
}

func (s *session) Mail(from string, options *smtp.MailOptions) error {
	if options.UTF8 {
		return errors.New("the mail is ASCII")
	}
	if s.relay.auth && !s.known {
		return smtp.ErrAuthRequired
	}
	s.mail = received{from: from}
	return s.relay.answer("sender")
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	if err := s.relay.answer(to); err != nil {
		return err
	}
	s.mail.to = append(s.mail.to, to)
	return nil
}

func (s *session) Data(r io.Reader) error {
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if err := s.relay.answer("data"); err != nil {
		return err
	}
	s.mail.data = string(data)
	s.relay.mu.Lock()
	defer s.relay.mu.Unlock()
	s.relay.mails = append(s.relay.mails, s.mail)
	return nil
}

func (s *session) Reset()        { s.mail = received{} }
func (s *session) Logout() error { return nil }

// serve runs the relay, with STARTTLS if certificates has some, or TLS from the first byte.
func (r *relay) serve(t *testing.T, certificates *tls.Config, fromTheFirstByte bool) mail.Config {
	t.Helper()
	server := smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.hello = c.Hostname()
		return &session{relay: r}, nil
	}))
	server.Domain, server.TLSConfig, server.EnableSMTPUTF8 = "relay.test", certificates, true
	server.ErrorLog = log.New(io.Discard, "", 0)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	cfg := config(ln.Addr())
	if fromTheFirstByte {
		ln = tls.NewListener(ln, certificates)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(ln)
	}()
	t.Cleanup(func() {
		_ = server.Close()
		_ = ln.Close() // Serve may not have begun
		<-done
	})
	return cfg
}

// config is for a relay without TLS.
func config(addr net.Addr) mail.Config {
	return mail.Config{
		Host: "127.0.0.1", Port: addr.(*net.TCPAddr).Port, From: "Beaconpost <alerts@example.com>", TLS: mail.NoTLS, Timeout: 10 * time.Second, HelloName: "beacon.test",
	}
}

func newSender(t *testing.T, cfg mail.Config) *mail.Sender {
	t.Helper()
	s, err := mail.New(cfg)
	require.NoError(t, err)
	return s
}

// authority makes a CA in a file, and what a relay on 127.0.0.1 needs to serve TLS with a certificate of it.
func authority(t *testing.T) (file string, server *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, &key.PublicKey, key)
	require.NoError(t, err)
	file = filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))

	leafKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: ca.NotBefore, NotAfter: ca.NotAfter, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, ca, &leafKey.PublicKey, key)
	require.NoError(t, err)
	return file, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{leafDER}, PrivateKey: leafKey}}, MinVersion: tls.VersionTLS12}
}

// raw is a listener whose connections are given to talk and closed afterwards. leave ends with the test.
func raw(t *testing.T, talk func(conn net.Conn, leave <-chan struct{})) mail.Config {
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
				talk(conn, leave)
			})
		}
	})
	t.Cleanup(func() {
		close(leave)
		_ = ln.Close()
		all.Wait()
	})
	return config(ln.Addr())
}

var down = alert.Message{Subject: "[DOWN] api", Text: "api is down.\n.\nstill\n", HTML: "<p>api is down.</p>", Threads: []string{"i1"}}
