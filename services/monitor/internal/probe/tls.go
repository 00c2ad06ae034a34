package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"strconv"
	"strings"
	"time"
)

// peer is whom a TLS connection should lead to.
type peer struct {
	name string // in the certificate
	alpn []string
	own  bool // it is the monitor's target, not whoever the target redirects to
}

// target gives the peer of a kind that knows no redirects.
func (l *look) target(host string, alpn ...string) peer {
	return peer{name: host, alpn: alpn, own: true}
}

// tls looks at a handshake and its certificates.
func (l *look) tls(ctx context.Context) error {
	spec := l.job.Spec
	socket, err := l.dial(ctx, "tcp", spec.Host, strconv.Itoa(spec.Port))
	if err != nil {
		return err
	}
	defer socket.end()
	if err := l.startTLS(socket); err != nil {
		return err
	}
	_, err = l.secure(ctx, socket, l.target(spec.Host))
	return err
}

// secure makes the handshake.
func (l *look) secure(ctx context.Context, socket *socket, to peer) (*tls.Conn, error) {
	conn := tls.Client(socket, l.tlsConfig(to))
	l.clock.enter(handshaking)
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	l.clock.enter(idle)
	return conn, nil
}

// tlsConfig is for a handshake. The certificates are verified in a function of ours, with the means of crypto/tls, so that a chain that is not accepted has
// been seen.
func (l *look) tlsConfig(to peer) *tls.Config {
	name := strings.TrimSuffix(to.name, ".")
	cfg := &tls.Config{NextProtos: to.alpn, RootCAs: l.plan.roots, InsecureSkipVerify: true} //nolint:gosec // verify does
	var identity []tls.Certificate
	if to.own {
		identity = l.plan.certificates
		if l.plan.serverName != "" {
			name = l.plan.serverName
		}
	}
	l.saw.identityAsked = false
	cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		l.saw.identityAsked = true
		if len(identity) > 0 {
			return &identity[0], nil
		}
		return new(tls.Certificate), nil
	}
	cfg.ServerName = name
	cfg.VerifyConnection = func(state tls.ConnectionState) error { return l.verify(state.PeerCertificates, name) }
	return cfg
}

// verify notes the chain and judges it.
func (l *look) verify(chain []*x509.Certificate, name string) error {
	if len(chain) == 0 {
		return nil // crypto/tls takes no server without one
	}
	l.saw.chain = chain
	options := x509.VerifyOptions{Roots: l.plan.roots, DNSName: name, Intermediates: x509.NewCertPool(), CurrentTime: l.started}
	for _, cert := range chain[1:] {
		options.Intermediates.AddCert(cert)
	}
	verified, err := chain[0].Verify(options)
	if err != nil && l.plan.rootsAnyway {
		options.Roots = l.p.cfg.RootCAs
		verified, err = chain[0].Verify(options)
	}
	l.noteEnd(endOf(chain, verified))
	if l.plan.insecure {
		return nil
	}
	return err
}

// noteEnd keeps the earliest end of all connections of the check.
func (l *look) noteEnd(end time.Time) {
	end = inRange(end)
	if l.saw.certEnds.IsZero() || end.Before(l.saw.certEnds) {
		l.saw.certEnds = end
	}
}

// endOf says when a chain ends to be accepted. Servers send expired certificates that no path needs, so those of the best verified path count;
// without one, all that were sent.
func endOf(sent []*x509.Certificate, verified [][]*x509.Certificate) time.Time {
	if len(verified) == 0 {
		return earliest(sent)
	}
	var best time.Time
	for _, path := range verified {
		if end := earliest(path); end.After(best) {
			best = end
		}
	}
	return best
}

// inRange gives a certificate's time in UTC, within the years that RFC 3339 can write: with an offset, which certificates are not to have but crypto/x509
// takes, it can be beyond.
func inRange(t time.Time) time.Time {
	switch t = t.UTC(); {
	case t.Year() < 1:
		return time.Time{}
	case t.Year() > 9999:
		return time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
	}
	return t
}

func earliest(chain []*x509.Certificate) time.Time {
	end := chain[0].NotAfter
	for _, cert := range chain[1:] {
		if cert.NotAfter.Before(end) {
			end = cert.NotAfter
		}
	}
	return end
}
