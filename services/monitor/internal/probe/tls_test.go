package probe

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
)

func tlsOf(certs ...tls.Certificate) *tls.Config { return &tls.Config{Certificates: certs} }

// secured is a TLS server and the spec that looks at it.
func secured(t testing.TB, cfg *tls.Config) check.Spec {
	t.Helper()
	return at(t, check.TLS, parse(t, serveTLS(t, cfg, nil)).Host)
}

func TestCertificates(t *testing.T) {
	t.Parallel()
	ca, other := newAuthority(t), newAuthority(t)
	trusting, strange := newProber(t, ca.trusted), newProber(t, other.trusted)
	valid, ending, expired := ca.valid(t), ca.issue(t, 5*day, "127.0.0.1"), ca.issue(t, -day, "127.0.0.1")
	for name, tt := range map[string]struct {
		p       *Prober
		cert    tls.Certificate
		change  func(*check.Spec)
		outcome check.Outcome
		cause   check.Cause
	}{
		"valid":             {trusting, valid, nil, check.Up, ""},
		"valid long enough": {trusting, valid, func(s *check.Spec) { s.CertificateDays = 30 }, check.Up, ""},
		"ending, not asked": {trusting, ending, nil, check.Up, ""},
		"ending":            {trusting, ending, func(s *check.Spec) { s.CertificateDays = 14 }, check.Degraded, check.CauseCertificateEnding},
		"expired":           {trusting, expired, func(s *check.Spec) { s.CertificateDays = 14 }, check.Down, check.CauseTLS},
		"expired, not verified": {trusting, expired, func(s *check.Spec) {
			s.CertificateDays, s.TLS = 14, &check.TLSOptions{InsecureSkipVerify: true}
		}, check.Degraded, check.CauseCertificateEnding},
		"expired, nobody cares": {trusting, expired, func(s *check.Spec) { s.TLS = &check.TLSOptions{InsecureSkipVerify: true} }, check.Up, ""},
		"wrong name":            {trusting, ca.issue(t, day, "other.test"), nil, check.Down, check.CauseTLS},
		"wrong name, given":     {trusting, ca.issue(t, day, "other.test"), func(s *check.Spec) { s.TLS = &check.TLSOptions{ServerName: "other.test"} }, check.Up, ""},
		"unknown authority":     {strange, valid, nil, check.Down, check.CauseTLS},
		"CA given":              {strange, valid, func(s *check.Spec) { s.TLS = &check.TLSOptions{CA: ca.pem} }, check.Up, ""},
		"another CA given":      {trusting, valid, func(s *check.Spec) { s.TLS = &check.TLSOptions{CA: other.pem} }, check.Down, check.CauseTLS},
		"assertion":             {trusting, ending, func(s *check.Spec) { s.Assert = "certificate_days == 4" }, check.Up, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			spec := secured(t, tlsOf(tt.cert))
			if tt.change != nil {
				tt.change(&spec)
			}
			require.NoError(t, spec.Check())
			r := checkIt(t, tt.p, job(spec))
			require.Equal(t, tt.outcome, r.Outcome, "%+v", r)
			require.Equal(t, tt.cause, r.Cause, "%+v", r)
			leaf, err := x509.ParseCertificate(tt.cert.Certificate[0])
			require.NoError(t, err)
			require.Equal(t, leaf.NotAfter, r.CertEnds)
			if r.Evidence != nil {
				require.Len(t, r.Evidence.Certificates, 1, "a chain that is not accepted is kept too")
				require.Len(t, r.Evidence.Certificates[0].SHA256, 64)
			}
		})
	}
}

func TestClientCertificate(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	p := newProber(t, ca.trusted)
	cfg := tlsOf(ca.valid(t))
	cfg.ClientCAs, cfg.ClientAuth = ca.pool, tls.RequireAndVerifyClientCert
	var shown []string
	url := serveTLS(t, cfg, func(_ http.ResponseWriter, r *http.Request) {
		shown = append(shown, r.TLS.PeerCertificates[0].Subject.CommonName)
	})
	require.Equal(t, check.CauseTLS, checkIt(t, p, job(get(url))).Cause)
	spec := get(url)
	spec.TLS = new(check.TLSOptions)
	spec.TLS.ClientCertificate, spec.TLS.ClientKey = pair(t, ca.issue(t, day, "prober.test"))
	require.NoError(t, spec.Check())
	require.Equal(t, check.Up, checkIt(t, p, job(spec)).Outcome)
	require.Equal(t, []string{"prober.test"}, shown)

	spec.URL = serveTLS(t, tlsOf(ca.valid(t)), elsewhere(302, url))
	require.Equal(t, check.CauseTLS, checkIt(t, p, job(spec)).Cause, "it is not shown to where a redirect leads")
}

func TestOldTLSIsNotAccepted(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	cfg := tlsOf(ca.valid(t))
	cfg.MinVersion, cfg.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	require.Equal(t, check.CauseTLS, checkIt(t, newProber(t, ca.trusted), job(secured(t, cfg))).Cause)
	spec := at(t, check.TLS, raw(t, func(conn net.Conn, _ <-chan struct{}) { _, _ = conn.Write([]byte("220 hello\r\n")) }))
	require.Equal(t, check.CauseTLS, checkIt(t, newProber(t), job(spec)).Cause)
}

func TestEndOfAChainIsThatOfItsBestPath(t *testing.T) {
	t.Parallel()
	now := time.Now()
	ends := func(days ...int) []*x509.Certificate {
		chain := make([]*x509.Certificate, len(days))
		for i, d := range days {
			chain[i] = &x509.Certificate{NotAfter: now.Add(time.Duration(d) * day)}
		}
		return chain
	}
	require.Equal(t, now.Add(20*day), endOf(ends(30, -5), [][]*x509.Certificate{ends(30, 10), ends(30, 20, 400)}))
	require.Equal(t, now.Add(-5*day), endOf(ends(30, -5), nil))
}

// A certificate's time may have an offset that puts it, or only its JSON form, out of range.
func TestTimesOfCertificatesCanBeWritten(t *testing.T) {
	t.Parallel()
	for want, at := range map[string]time.Time{
		"9999-12-31T23:59:59Z": time.Date(9999, 12, 31, 23, 59, 59, 0, time.FixedZone("", -3600)),
		"0001-01-01T00:00:00Z": time.Date(0, 1, 1, 0, 0, 0, 0, time.FixedZone("", 3600)),
		"2029-12-31T00:00:00Z": time.Date(2030, 1, 1, 0, 0, 0, 0, time.FixedZone("", 24*3600)),
	} {
		text, err := json.Marshal(inRange(at))
		require.NoError(t, err)
		require.JSONEq(t, strconv.Quote(want), string(text))
	}
}
