package probe

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
)

// Limits of evidence: a failing target must not fill the database.
const (
	keptFields = 64
	keptValue  = 1 << 10
	keptCerts  = 10
	keptNames  = 50
	keptIPs    = 20
)

const hidden = "***"

// evidence collects what helps to see why a target is not up.
func (l *look) evidence(err error) *check.Evidence {
	expected, got := expectation(err)
	kept := &check.Evidence{
		Hops: l.saw.hops, IPs: l.visible(l.saw.ips), Certificates: l.certificates(), Header: keptHeader(l.saw.header),
		Body:     clean(l.saw.body[:min(len(l.saw.body), check.EvidenceBody)]),
		Expected: cut(expected), Got: cut(got),
	}
	l.silence(kept)
	return kept
}

// visible leaves out the addresses that the installation does not permit: they would tell how its own network is built.
func (l *look) visible(ips []netip.Addr) []string {
	var visible []string
	for _, ip := range ips {
		if l.p.permits(ip) && len(visible) < keptIPs {
			visible = append(visible, ip.String())
		}
	}
	return visible
}

func (l *look) certificates() []check.Certificate {
	var chain []check.Certificate
	for _, cert := range l.saw.chain[:min(len(l.saw.chain), keptCerts)] {
		sum := sha256.Sum256(cert.Raw)
		names := make([]string, 0, len(cert.DNSNames))
		for _, name := range cert.DNSNames[:min(len(cert.DNSNames), keptNames)] {
			names = append(names, cut(name))
		}
		chain = append(chain, check.Certificate{
			Subject: cut(cert.Subject.String()), Issuer: cut(cert.Issuer.String()), NotBefore: inRange(cert.NotBefore), NotAfter: inRange(cert.NotAfter),
			DNSNames: names, SHA256: hex.EncodeToString(sum[:]),
		})
	}
	return chain
}

// keptHeader hides what lets its holder in.
func keptHeader(header http.Header) map[string][]string {
	if len(header) == 0 {
		return nil
	}
	kept := make(map[string][]string, min(len(header), keptFields))
	for name, values := range header {
		if len(kept) == keptFields {
			break
		}
		for _, value := range values[:min(len(values), keptFields)] {
			if isSecret(name) {
				value = hidden
			}
			kept[cut(name)] = append(kept[cut(name)], cut(value))
		}
	}
	return kept
}

func isSecret(header string) bool {
	secrets := []string{"Set-Cookie", "Cookie", "Authorization", "Proxy-Authorization", "Authentication-Info", "X-Api-Key", "X-Auth-Token"}
	return slices.Contains(secrets, http.CanonicalHeaderKey(header))
}

func cut(text string) string { return clean([]byte(text[:min(len(text), keptValue)])) }

// clean makes text of bytes. NUL is valid UTF-8, but Postgres does not store it.
func clean(text []byte) string {
	return strings.ReplaceAll(strings.ToValidUTF8(string(text), "\uFFFD"), "\x00", "\uFFFD")
}
