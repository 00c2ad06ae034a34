package probe

import (
	"crypto/tls"
	"fmt"
	"strings"
	"testing"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
)

// asked is a spec for a server at an address.
func asked(t testing.TB, address, name string) check.Spec {
	t.Helper()
	server := at(t, check.DNS, address)
	return check.Spec{Kind: check.DNS, Host: name, Resolver: server.Host, Port: server.Port}
}

func TestDNS(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	n := newNames(t, ca.valid(t))
	n.add(t, "a.test. 300 A 192.0.2.1", "a.test. A 192.0.2.2", "a.test. AAAA 2001:db8::1", `a.test. TXT "v=spf1 -all" "more"`,
		"a.test. MX 10 Mail.a.test.", "a.test. CAA 0 issue \"ca.test\"", "a.test. SRV 1 2 443 b.test.", "a.test. NS ns.a.test.", "b.test. CNAME a.test.",
		"a.test. SOA ns.a.test. root.a.test. 7 3600 600 86400 60", `a.test. HTTPS 1 . alpn="h2"`, "_x.a.test. A 192.0.2.9",
		"a.test. TLSA 3 1 1 d2abde240d7cd3ee6b4b28c54df034b97983a1d16e8a410e4561cb106618e971")
	for i := range 100 {
		n.add(t, fmt.Sprintf(`large.test. TXT "%d %s"`, i, strings.Repeat("x", 200)))
	}
	p := newProber(t, ca.trusted)
	for name, tt := range map[string]struct {
		host, kind string
		rcode      string
		answers    []string
		cause      check.Cause
	}{
		"A":                    {"a.test", "", "", []string{"192.0.2.2"}, ""},
		"A, both":              {"A.test.", "A", "", []string{"192.0.2.2", "192.0.2.1"}, ""},
		"A, another":           {"a.test", "A", "", []string{"192.0.2.2", "192.0.2.3"}, check.CauseBody},
		"AAAA":                 {"a.test", "AAAA", "", []string{"2001:db8::1"}, ""},
		"TXT":                  {"a.test", "TXT", "", []string{`"v=spf1 -all" "more"`}, ""},
		"TXT, without quotes":  {"a.test", "TXT", "", []string{`v=spf1 -all more`}, ""},
		"MX":                   {"a.test", "MX", "", []string{"10 mail.a.test"}, ""},
		"CAA":                  {"a.test", "CAA", "", []string{`0 issue "ca.test"`}, ""},
		"SRV":                  {"a.test", "SRV", "", []string{"1 2 443 b.test."}, ""},
		"NS":                   {"a.test", "NS", "", []string{"ns.a.test."}, ""},
		"SOA":                  {"a.test", "SOA", "", nil, ""},
		"HTTPS":                {"a.test", "HTTPS", "", []string{`1 . alpn="h2"`}, ""},
		"TLSA":                 {"a.test", "TLSA", "", nil, ""},
		"CNAME":                {"b.test", "CNAME", "", []string{"a.test"}, ""},
		"underscore":           {"_x.a.test", "A", "", []string{"192.0.2.9"}, ""},
		"no such record":       {"a.test", "PTR", "", nil, check.CauseBody},
		"no record, as wanted": {"a.test", "PTR", "NOERROR", nil, ""},
		"no such name":         {"none.test", "A", "", nil, check.CauseStatus},
		"no name, as wanted":   {"none.test", "A", "NXDOMAIN", nil, ""},
		"refused":              {"refused.test", "A", "", nil, check.CauseStatus},
		"server failure":       {"broken.test", "A", "", nil, check.CauseStatus},
		"large":                {"large.test", "TXT", "", []string{"99 " + strings.Repeat("x", 200)}, ""},
	} {
		for transport, address := range map[string]string{"": n.udp, "udp": n.udp, "tcp": n.tcp, "tls": n.dot} {
			t.Run(name+" "+transport, func(t *testing.T) {
				t.Parallel()
				spec := asked(t, address, tt.host)
				spec.Transport, spec.RecordType, spec.RCode, spec.Answers = transport, tt.kind, tt.rcode, tt.answers
				require.NoError(t, spec.Check())
				r := checkIt(t, p, job(spec))
				require.Equal(t, tt.cause, r.Cause, "%+v %+v", r, r.Evidence)
				require.Positive(t, r.Phases.Processing)
				require.Equal(t, transport == "tls", r.Phases.TLS > 0)
			})
		}
	}
}

func TestDNSThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	n := newNames(t)
	p := newProber(t, func(c *Config) { c.Nameserver = closedPort(t) })
	j := job(asked(t, n.udp, "silent.test"))
	j.Timeout = short
	require.Equal(t, check.CauseTimeout, checkIt(t, p, j).Cause)
	for transport, cause := range map[string]check.Cause{"udp": check.CauseConnect, "tcp": check.CauseConnect} {
		spec := asked(t, closedPort(t), "a.test")
		spec.Transport = transport
		require.Equal(t, cause, checkIt(t, p, job(spec)).Cause)
	}
	for _, transport := range []string{"udp", "tcp"} {
		r := checkIt(t, p, job(check.Spec{Kind: check.DNS, Host: "a.test", Transport: transport}))
		require.Equal(t, check.NotChecked, r.Outcome, "our own name server is not the target")
	}
	spec := asked(t, raw(t, answer("this is not DNS")), "a.test")
	spec.Transport = "tcp"
	require.Contains(t, []check.Cause{check.CauseReset, check.CauseProtocol}, checkIt(t, p, job(spec)).Cause)
}

func TestDNSAssertions(t *testing.T) {
	t.Parallel()
	n := newNames(t)
	n.add(t, "a.test. A 192.0.2.1")
	spec := asked(t, n.udp, "a.test")
	spec.Assert = `answers.exists(a, a.startsWith("192.")) && status == 0 && body == "192.0.2.1"`
	require.Equal(t, check.Up, checkIt(t, newProber(t), job(spec)).Outcome)
}

// The validation lists the types by itself, because it knows no library.
func TestRecordTypesAreThoseOfTheLibrary(t *testing.T) {
	t.Parallel()
	noData := map[string]bool{
		"None": true, "Reserved": true, "OPT": true, "TSIG": true, "TKEY": true, "AXFR": true, "IXFR": true, "MAILA": true, "MAILB": true, "NXNAME": true, "UNSPEC": true,
	}
	var all []string
	for name := range dns.StringToType {
		if !noData[name] {
			all = append(all, name)
		}
	}
	require.ElementsMatch(t, all, check.RecordTypes())
	for _, name := range check.RCodes() {
		require.Contains(t, dns.StringToRcode, name)
	}
}

// A monitor may say who is asked for its target's name. Nobody else is, and not for another name.
func TestNamesAreAskedOfTheMonitorsResolver(t *testing.T) {
	t.Parallel()
	ours, theirs := newNames(t), newNames(t)
	ours.add(t, "a.test. A 192.0.2.1")
	theirs.add(t, "a.test. A 127.0.0.1")
	p := newProber(t, ours.used)
	web := serve(t, nil)
	port := parse(t, web).Port()
	secure := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{newAuthority(t).issue(t, day, "a.test")}}, nil)
	lax := &check.TLSOptions{InsecureSkipVerify: true}
	tlsTarget := at(t, check.TLS, "a.test:"+parse(t, secure).Port())
	tlsTarget.TLS = lax
	for _, spec := range []check.Spec{get("http://a.test:" + port), at(t, check.TCP, "a.test:"+port), tlsTarget} {
		spec.Resolver = theirs.udp
		require.NoError(t, spec.Check())
		r := checkIt(t, p, job(spec))
		require.Equal(t, check.Up, r.Outcome, "%s: %+v", spec.Kind, r)
		require.Equal(t, "127.0.0.1", r.IP)
		require.Positive(t, r.Phases.Resolve)
	}
	spec := get("http://localhost:" + port)
	spec.Resolver = theirs.udp
	require.Equal(t, check.CauseDNS, checkIt(t, p, job(spec)).Cause, "it is not looked for in this machine's files")
	spec = get("http://none.test:" + port)
	spec.Resolver = theirs.udp
	require.Equal(t, check.CauseDNS, checkIt(t, p, job(spec)).Cause)
	spec.URL = "http://silent.test:" + port
	j := job(spec)
	j.Timeout = short
	require.Equal(t, check.CauseTimeout, checkIt(t, p, j).Cause)
	spec.Resolver = closedPort(t)
	require.Equal(t, check.CauseDNS, checkIt(t, p, job(spec)).Cause)
	spec.Resolver = "10.9.8.7"
	requireBlocked(t, checkIt(t, p, job(spec)), "10.9.8.7")
}
