package delivery_test

import (
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

const (
	attemptLimit = 2 * time.Second
	attemptSlack = 3 * time.Second // of a loaded machine

	okAnswer  = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	okHead    = "HTTP/1.1 200 OK\r\n"
	chunked   = okHead + "Transfer-Encoding: chunked\r\n\r\n"
	notYours  = "HTTP/1.1 500 Not Yours\r\nContent-Length: 0\r\n\r\n"
	longerOne = 8 << 20 // a payload that no buffers between us and a sink hold
)

// misbehaviour is a way in which a sink goes wrong, and what must be on record of it.
type misbehaviour struct {
	name        string
	sink        place
	want        string // what each delivery becomes, and of its only attempt: number, status, class, truncated
	payload     int    // bytes; 0: next to none
	times       int    // deliveries, each begun when the one before has ended; 0: one
	connections int    // that they take; 0: at most one each
	excerpt     string // of the answer, as it is kept; "": not looked at

	rogue    *rogue // nil: this machine cannot have it
	endpoint uuid.UUID
	sent     []queued
}

// Whatever a sink does costs us one attempt, which takes no longer than its limit and says what happened, and no other delivery.
func TestMisbehavingSinks(t *testing.T) {
	t.Parallel()
	b := setup(t, "BEACONPOST_DELIVERY_TIMEOUT="+attemptLimit.String(), "BEACONPOST_DELIVERY_MAX_ATTEMPTS=1", "BEACONPOST_DELIVERY_BREAKER_FAILURES=1000")
	elsewhere := plain(keeps(okAnswer))(t)
	all := slices.Concat(connecting(), handshaking(), answering(), pointing(elsewhere.url), framing(), bodies(t), leaving(), again())
	for i := range all {
		if all[i].rogue = all[i].sink(t); all[i].rogue != nil {
			all[i].endpoint, _ = b.endpoint(all[i].rogue.url)
		}
	}
	for round := range 5 {
		b.sendRound(all, round)
	}
	for _, m := range all {
		t.Run(m.name, func(t *testing.T) {
			if m.rogue == nil {
				t.Skip("not on this machine")
			}
			b.requireMisbehaved(t, m)
		})
	}
	require.Zero(t, elsewhere.connections.Load(), "nobody goes where an answer points to")
}

// sendRound makes one delivery to each sink that is to have that many, all at the same time.
func (b *bundle) sendRound(all []misbehaviour, round int) {
	b.t.Helper()
	for i := range all {
		if m := &all[i]; m.rogue != nil && round < max(m.times, 1) {
			m.sent = append(m.sent, b.send(m.endpoint, `"`+strings.Repeat("x", m.payload)+`"`))
		}
	}
	ended := func() bool { return b.Query(`SELECT count(*)::text FROM deliveries WHERE status = 'pending'`) == "0" }
	require.Eventually(b.t, ended, 20*time.Second, 20*time.Millisecond)
}

const recordOf = `
SELECT d.status || ': ' || concat_ws(' ', a.number, a.status_code, a.error_class, CASE WHEN a.response_truncated THEN 'truncated' END)
FROM deliveries d JOIN delivery_attempts a ON a.delivery_id = d.id WHERE d.id = $1 ORDER BY a.id`

func (b *bundle) requireMisbehaved(t *testing.T, m misbehaviour) {
	t.Helper()
	for _, q := range m.sent {
		got := b.Query(recordOf, q.delivery)
		require.Equal(t, m.want, got)
		if m.excerpt != "" {
			require.Equal(t, hex.EncodeToString([]byte(m.excerpt)), b.Query(`SELECT encode(response_excerpt, 'hex') FROM delivery_attempts WHERE delivery_id = $1`, q.delivery))
		}
		b.requireInTime(t, q, m.want)
		client := b.client
		client.T = t
		client.Do("GET", "/v1/deliveries/"+q.delivery.String(), nil).Want(200, nil) // whatever is on record can be read
	}
	opened := int(m.rogue.connections.Load())
	require.LessOrEqual(t, opened, len(m.sent), "nothing is sent again")
	if m.connections > 0 {
		require.Equal(t, m.connections, opened)
	}
	for _, header := range m.rogue.requests() {
		require.NotContains(t, header, "Cookie")
	}
}

// requireInTime also wants that what is not a matter of time is seen before the time is over. How long a resolver takes is not ours to say.
func (b *bundle) requireInTime(t *testing.T, q queued, want string) {
	t.Helper()
	took, err := strconv.Atoi(b.Query(`SELECT (duration_us / 1000)::text FROM delivery_attempts WHERE delivery_id = $1`, q.delivery))
	require.NoError(t, err)
	limit := int(attemptLimit.Milliseconds())
	require.Less(t, took, limit+int(attemptSlack.Milliseconds()))
	switch {
	case strings.Contains(want, "timeout"):
		require.GreaterOrEqual(t, took, limit)
	case !strings.HasSuffix(want, "dns"):
		require.Less(t, took, limit)
	}
}

func connecting() []misbehaviour {
	return []misbehaviour{
		{name: "connection refused", sink: unlistened, want: "exhausted: 1 connect"},
		{name: "unknown host name", sink: nowhere("http://something.invalid/"), want: "exhausted: 1 dns"},
		{name: "its queue of connections is full", sink: full, want: "exhausted: 1 timeout_connect"},
		{name: "never accepts the connection", sink: unaccepted, want: "exhausted: 1 timeout_header"},
		{name: "only on IPv6", sink: onIPv6(keeps(okAnswer)), want: "delivered: 1 200"},
	}
}

func handshaking() []misbehaviour {
	good := authority.issue(nil)
	with := func(change func(*x509.Certificate)) place { return overTLS(authority.issue(change), keeps(okAnswer)) }
	speaking := func(change func(*tls.Config)) place {
		cfg := good.Clone()
		change(cfg)
		return overTLS(cfg, keeps(okAnswer))
	}
	const hello = "\x16\x03\x03\x40\x00" // of 16 KiB
	return []misbehaviour{
		{name: "good certificate", sink: overTLS(good, keeps(okAnswer)), want: "delivered: 1 200", times: 3, connections: 1},
		{name: "handshake never begins", sink: onTLSPort((*peer).stay), want: "exhausted: 1 timeout_tls"},
		{name: "drips the handshake", sink: onTLSPort(func(p *peer) { p.say(hello); p.drip("\x02") }), want: "exhausted: 1 timeout_tls"},
		{name: "leaves in the handshake", sink: onTLSPort(func(p *peer) { _, _ = p.in.Peek(1); _, _ = p.in.Discard(p.in.Buffered()) }), want: "exhausted: 1 reset"},
		{name: "resets in the handshake", sink: onTLSPort((*peer).reset), want: "exhausted: 1 reset"},
		{name: "HTTP on a TLS port", sink: onTLSPort(func(p *peer) { p.say("HTTP/1.1 400 Bad Request\r\n\r\n"); p.stay() }), want: "exhausted: 1 tls"},
		{name: "garbage on a TLS port", sink: onTLSPort(func(p *peer) { p.say(garbage); p.stay() }), want: "exhausted: 1 tls"},
		{name: "certificate of itself", sink: with(func(c *x509.Certificate) { c.IsCA = true }), want: "exhausted: 1 tls"},
		{name: "certificate of an unknown authority", sink: overTLS(newAuthority().issue(nil), keeps(okAnswer)), want: "exhausted: 1 tls"},
		{name: "certificate of another address", sink: with(func(c *x509.Certificate) { c.IPAddresses[0] = net.IPv4(127, 0, 0, 2) }), want: "exhausted: 1 tls"},
		{name: "certificate of a name", sink: with(func(c *x509.Certificate) { c.IPAddresses, c.DNSNames = nil, []string{"localhost"} }), want: "exhausted: 1 tls"},
		{name: "expired certificate", sink: with(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), want: "exhausted: 1 tls"},
		{name: "certificate of tomorrow", sink: with(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }), want: "exhausted: 1 tls"},
		{name: "certificate for clients", sink: with(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }), want: "exhausted: 1 tls"},
		{name: "wants a certificate of us", sink: speaking(func(c *tls.Config) { c.ClientAuth = tls.RequireAnyClientCert }), want: "exhausted: 1 tls"},
		{name: "TLS 1.1", sink: speaking(func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }), want: "exhausted: 1 tls"},
		{name: "another protocol within TLS", sink: speaking(func(c *tls.Config) { c.NextProtos = []string{"imap"} }), want: "exhausted: 1 tls"},
		{name: "TLS on an HTTP URL, says so", sink: secureServer, want: "exhausted: 1 400"},
		{name: "TLS on an HTTP URL, sends an alert", sink: plain(func(p *peer) { p.request(); p.say("\x15\x03\x01\x00\x02\x02\x46") }), want: "exhausted: 1 protocol"},
		{name: "TLS cut in a body that only its end ends", sink: overTLS(good, func(p *peer) {
			answers(okHead + "Connection: close\r\n\r\nhalf")(p)
			_ = p.socket.CloseWrite() // without the farewell of TLS, which the library does not tell from one; the status has come
		}), want: "delivered: 1 200"},
		{name: "TLS answer and farewell in a body of its length", sink: overTLS(good, answers(okAnswer)), want: "delivered: 1 200"},
	}
}

const garbage = "\x00\xff\xfe\x80garbage\x01\x02\x7f"

func answering() []misbehaviour {
	status := func(line string) place { return plain(hangs("HTTP/1.1 " + line + "\r\nContent-Length: 0\r\n\r\n")) }
	const small = "X-A: b\r\n"
	return []misbehaviour{
		{name: "says nothing", sink: plain(hangs("")), want: "exhausted: 1 timeout_header"},
		{name: "drips the status line", sink: plain(drips("HTTP/1.1 200 ", "O")), want: "exhausted: 1 timeout_header"},
		{name: "drips a field", sink: plain(drips(okHead+"X-A: ", "a")), want: "exhausted: 1 timeout_header"},
		{name: "drips fields", sink: plain(drips(okHead, small)), want: "exhausted: 1 timeout_header"},
		{name: "header without an end", sink: plain(hangs(okHead + small)), want: "exhausted: 1 timeout_header"},
		{name: "endless field", sink: plain(floods(okHead+"X-A: ", "a")), want: "exhausted: 1 oversize"},
		{name: "endless fields", sink: plain(floods(okHead, small)), want: "exhausted: 1 oversize"},
		{name: "endless status line", sink: plain(floods("HTTP/1.1 200 ", "O")), want: "exhausted: 1 oversize"},
		{name: "header of more than 64 KiB", sink: plain(hangs(okHead + "X-A: " + strings.Repeat("a", 65<<10) + "\r\n\r\n")), want: "exhausted: 1 oversize"},
		{name: "header of just less", sink: plain(hangs(okHead + "X-A: " + strings.Repeat("a", 63<<10) + "\r\nContent-Length: 0\r\n\r\n")), want: "delivered: 1 200"},
		{name: "too many small fields", sink: plain(hangs(okHead + strings.Repeat(small, 10000) + "\r\n")), want: "exhausted: 1 oversize"},
		{name: "very many small fields", sink: plain(hangs(okHead + strings.Repeat(small, 7000) + "Content-Length: 0\r\n\r\n")), want: "delivered: 1 200"},
		{name: "interim answers in a flood", sink: plain(floods("", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")), want: "exhausted: 1 oversize"},
		{name: "interim answers in drips", sink: plain(drips("", "HTTP/1.1 102 Processing\r\n\r\n")), want: "exhausted: 1 timeout_header"},
		{name: "an interim answer and no other", sink: plain(hangs("HTTP/1.1 100 Continue\r\n\r\n")), want: "exhausted: 1 timeout_header"},
		{name: "an interim answer before the answer", sink: plain(keeps("HTTP/1.1 100 Continue\r\n\r\n" + okAnswer)), want: "delivered: 1 200", times: 3, connections: 1},
		{name: "HTTP/0.9", sink: plain(answers("<html>\nthanks\n</html>\n")), want: "exhausted: 1 protocol"},
		{name: "HTTP/0.9 in half a line", sink: plain(answers("thanks")), want: "exhausted: 1 protocol"},
		{name: "HTTP/1.0", sink: plain(answers("HTTP/1.0 200 OK\r\n\r\nok")), want: "delivered: 1 200", excerpt: "ok"},
		{name: "HTTP/1.2", sink: plain(hangs("HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n")), want: "exhausted: 1 protocol"},
		{name: "HTTP/2.0", sink: plain(hangs("HTTP/2.0 200 OK\r\n\r\n")), want: "exhausted: 1 protocol"},
		{name: "preface of HTTP/2", sink: plain(hangs("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")), want: "exhausted: 1 protocol"},
		{name: "frames of HTTP/2", sink: plain(answers("\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x08\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01")), want: "exhausted: 1 protocol"},
		{name: "another protocol", sink: plain(hangs("220 mail.example ESMTP\r\n")), want: "exhausted: 1 protocol"},
		{name: "garbage in a line", sink: plain(hangs(garbage + "\r\n")), want: "exhausted: 1 protocol"},
		{name: "garbage without a line", sink: plain(answers(garbage)), want: "exhausted: 1 protocol"},
		{name: "garbage without a line, stays", sink: plain(hangs(garbage)), want: "exhausted: 1 protocol"},
		{name: "endless garbage", sink: plain(floods("", garbage)), want: "exhausted: 1 protocol"},
		{name: "endless line of zeros", sink: plain(floods("", "\x00")), want: "exhausted: 1 protocol"},
		{name: "NUL in the header", sink: plain(hangs(okHead + "X-A: a\x00b\r\n\r\n")), want: "exhausted: 1 protocol"},
		{name: "a field without a colon", sink: plain(hangs(okHead + "X-A\r\n\r\n")), want: "exhausted: 1 protocol"},
		{name: "a field that is not ASCII", sink: plain(hangs(okHead + "X-A: \xfc\xff\r\nContent-Length: 0\r\n\r\n")), want: "delivered: 1 200"},
		{name: "lines that end with LF alone", sink: plain(hangs("HTTP/1.1 200 OK\nContent-Length: 2\n\nok")), want: "delivered: 1 200", excerpt: "ok"},
		{name: "status 99", sink: status("99 Low"), want: "exhausted: 1 protocol"},
		{name: "status 099", sink: status("099 Low"), want: "exhausted: 1 protocol"},
		{name: "status 1000", sink: status("1000 High"), want: "exhausted: 1 protocol"},
		{name: "status -200", sink: status("-200 Low"), want: "exhausted: 1 protocol"},
		{name: "status 999", sink: status("999 High"), want: "exhausted: 1 999"},
		{name: "status 299", sink: status("299 Odd"), want: "delivered: 1 299"},
		{name: "status without a reason", sink: status("200"), want: "delivered: 1 200"},
		{name: "reason without an end of a word", sink: status("200OK"), want: "exhausted: 1 protocol"},
		{name: "switches protocols", sink: plain(hangs("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n" + garbage)), want: "exhausted: 1 101"},
	}
}

// pointing are answers that say where else to go.
func pointing(elsewhere string) []misbehaviour {
	to := func(status int, fields string) place {
		return plain(keeps(fmt.Sprintf("HTTP/1.1 %d Elsewhere\r\n%sContent-Length: 0\r\n\r\n", status, fields)))
	}
	return []misbehaviour{
		{name: "redirect loop", sink: to(302, "Location: /hook\r\n"), want: "exhausted: 1 302", connections: 1},
		{name: "301 to another URL", sink: to(301, "Location: "+elsewhere+"\r\n"), want: "exhausted: 1 301", connections: 1},
		{name: "303 to another URL", sink: to(303, "Location: "+elsewhere+"\r\n"), want: "exhausted: 1 303", connections: 1},
		{name: "307 to another URL", sink: to(307, "Location: "+elsewhere+"\r\n"), want: "exhausted: 1 307", connections: 1},
		{name: "308 to another URL", sink: to(308, "Location: "+elsewhere+"\r\n"), want: "exhausted: 1 308", connections: 1},
		{name: "redirect into the network", sink: to(307, "Location: http://169.254.169.254/latest\r\n"), want: "exhausted: 1 307", connections: 1},
		{name: "305 to a proxy", sink: to(305, "Location: "+elsewhere+"\r\n"), want: "exhausted: 1 305", connections: 1},
		{name: "201 with a Location", sink: to(201, "Location: "+elsewhere+"\r\nRefresh: 0; url="+elsewhere+"\r\n"), want: "delivered: 1 201", times: 2, connections: 1},
		{name: "sets cookies", sink: to(200, "Set-Cookie: session=1; Path=/\r\nSet-Cookie: b=2\r\n"), want: "delivered: 1 200", times: 3, connections: 1},
	}
}

func framing() []misbehaviour {
	length := func(fields string) place { return plain(hangs(okHead + fields + "\r\nok")) }
	return []misbehaviour{
		{name: "negative Content-Length", sink: length("Content-Length: -2\r\n"), want: "exhausted: 1 protocol"},
		{name: "garbage Content-Length", sink: length("Content-Length: two\r\n"), want: "exhausted: 1 protocol"},
		{name: "Content-Length beyond all numbers", sink: length("Content-Length: 99999999999999999999\r\n"), want: "exhausted: 1 protocol"},
		{name: "two different Content-Lengths", sink: length("Content-Length: 2\r\nContent-Length: 1\r\n"), want: "exhausted: 1 protocol"},
		{name: "the same Content-Length twice", sink: length("Content-Length: 2\r\nContent-Length: 2\r\n"), want: "delivered: 1 200", excerpt: "ok"},
		{name: "Content-Length longer than the body, leaves", sink: plain(answers(okHead + "Content-Length: 9\r\n\r\nhalf")), want: "exhausted: 1 200 reset", excerpt: "half"},
		{name: "Content-Length longer than the body, stays", sink: plain(hangs(okHead + "Content-Length: 9\r\n\r\nhalf")), want: "exhausted: 1 200 timeout_body", excerpt: "half"},
		{name: "enormous Content-Length, leaves", sink: plain(answers(okHead + "Content-Length: 9223372036854775807\r\n\r\nhalf")), want: "exhausted: 1 200 reset", excerpt: "half"},
		{name: "Content-Length shorter than the body", sink: plain(keeps(okAnswer + notYours)), want: "delivered: 1 200", times: 3, connections: 3, excerpt: "ok"},
		{name: "204 with a body", sink: plain(keeps("HTTP/1.1 204 No Content\r\nContent-Length: 44\r\n\r\n" + notYours)), want: "delivered: 1 204", times: 3, connections: 3},
		{name: "204 with a body and no word of it", sink: plain(keeps("HTTP/1.1 204 No Content\r\n\r\n" + notYours)), want: "delivered: 1 204", times: 3, connections: 3},
		{name: "204 with chunks", sink: plain(hangs("HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n")), want: "delivered: 1 204", times: 2, connections: 2},
		{name: "304 with a length", sink: plain(hangs("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n")), want: "exhausted: 1 304"},
		{name: "chunks and a Content-Length", sink: plain(keeps(okHead + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nthank\r\n0\r\n\r\n")), want: "delivered: 1 200", times: 2, connections: 2, excerpt: "thank"},
		{name: "unknown transfer coding", sink: plain(hangs(okHead + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n")), want: "exhausted: 1 protocol"},
		{name: "chunk of no size", sink: plain(hangs(chunked + "zz\r\nok\r\n0\r\n\r\n")), want: "exhausted: 1 200 protocol"},
		{name: "chunk of a negative size", sink: plain(hangs(chunked + "-2\r\nok\r\n0\r\n\r\n")), want: "exhausted: 1 200 protocol"},
		{name: "chunk beyond all numbers", sink: plain(hangs(chunked + "fffffffffffffffff\r\nok")), want: "exhausted: 1 200 protocol"},
		{name: "chunk longer than it says", sink: plain(hangs(chunked + "2\r\nokay\r\n0\r\n\r\n")), want: "exhausted: 1 200 protocol", excerpt: "ok"},
		{name: "chunks without an end, leaves", sink: plain(answers(chunked + "2\r\nok\r\n")), want: "exhausted: 1 200 reset", excerpt: "ok"},
		{name: "chunks without an end, stays", sink: plain(hangs(chunked + "2\r\nok\r\n")), want: "exhausted: 1 200 timeout_body", excerpt: "ok"},
		{name: "drips chunks", sink: plain(drips(chunked, "1\r\n.\r\n")), want: "exhausted: 1 200 timeout_body"},
		{name: "endless chunks", sink: plain(floods(chunked, "1\r\n.\r\n")), want: "delivered: 1 200 truncated"},
		{name: "endless extension of a chunk", sink: plain(floods(chunked+"2;", "x")), want: "exhausted: 1 200 protocol"},
		{name: "endless trailer", sink: plain(floods(chunked+"2\r\nok\r\n0\r\n", "X-A: b\r\n")), want: "exhausted: 1 200 oversize", excerpt: "ok"},
	}
}

func bodies(t *testing.T) []misbehaviour {
	t.Helper()
	var bomb bytes.Buffer
	zip := gzip.NewWriter(&bomb)
	_, err := zip.Write(make([]byte, 32<<20))
	require.NoError(t, err)
	require.NoError(t, zip.Close())
	body := func(fields, text string) place {
		return plain(keeps(fmt.Sprintf("%s%sContent-Length: %d\r\n\r\n%s", okHead, fields, len(text), text)))
	}
	const nul, notText = "a\x00b\x00", "caf\xe9 \xff\xfe"
	return []misbehaviour{
		{name: "drips the body", sink: plain(drips(okHead+"\r\n", ".")), want: "exhausted: 1 200 timeout_body"},
		{name: "endless body", sink: plain(floods(okHead+"\r\n", "more ")), want: "delivered: 1 200 truncated"},
		{name: "endless body of an error", sink: plain(floods("HTTP/1.1 500 Oh\r\n\r\n", "more ")), want: "exhausted: 1 500 truncated"},
		{name: "body longer than is kept", sink: body("", strings.Repeat("x", 4097)), want: "delivered: 1 200 truncated", times: 2, connections: 1, excerpt: strings.Repeat("x", 4096)},
		{name: "body as long as is kept", sink: body("", strings.Repeat("x", 4096)), want: "delivered: 1 200", times: 2, connections: 1, excerpt: strings.Repeat("x", 4096)},
		{name: "gzip bomb", sink: body("Content-Encoding: gzip\r\n", bomb.String()), want: "delivered: 1 200 truncated", excerpt: bomb.String()[:4096]},
		{name: "no gzip, though it says so", sink: body("Content-Encoding: gzip\r\n", "ok"), want: "delivered: 1 200", excerpt: "ok"},
		{name: "NUL in the body", sink: body("", nul), want: "delivered: 1 200", excerpt: nul},
		{name: "body that is not UTF-8", sink: body("Content-Type: text/plain; charset=utf-8\r\n", notText), want: "delivered: 1 200", excerpt: notText},
		{name: "body that only its end ends", sink: plain(answers(okHead + "\r\nok")), want: "delivered: 1 200", times: 2, connections: 2, excerpt: "ok"},
	}
}

func leaving() []misbehaviour {
	const refusal = "HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig"
	begun := func(then func(*peer)) place {
		return plain(func(p *peer) {
			_, _ = p.in.ReadString('\n')
			then(p)
		})
	}
	return []misbehaviour{
		{name: "closes without an answer", sink: plain(answers("")), want: "exhausted: 1 reset"},
		{name: "closes in the header", sink: plain(answers(okHead + "X-A: ")), want: "exhausted: 1 reset"},
		{name: "resets before the request", sink: plain((*peer).reset), want: "exhausted: 1 reset"},
		{name: "resets before the answer", sink: plain(resets("")), want: "exhausted: 1 reset"},
		{name: "resets in the header", sink: plain(resets(okHead + "X-A: ")), want: "exhausted: 1 reset"},
		{name: "resets in the body", sink: plain(resets(okHead + "Content-Length: 9\r\n\r\nhalf")), want: "exhausted: 1 200 reset", excerpt: "half"},
		{name: "resets in a body that only its end ends", sink: plain(resets(okHead + "\r\nhalf")), want: "exhausted: 1 200 reset", excerpt: "half"},
		{name: "answers before the request", sink: plain(func(p *peer) { p.say(okAnswer); p.stay() }), want: "delivered: 1 200", excerpt: "ok"},
		{name: "answers without reading, and closes", sink: begun(func(p *peer) { p.say(okAnswer) }), want: "delivered: 1 200", excerpt: "ok"},
		{name: "refuses a large request early, and closes", sink: begun(func(p *peer) { p.say(refusal) }), want: "exhausted: 1 413", payload: longerOne, excerpt: "big"},
		{name: "refuses a large request early, and lingers", sink: begun(func(p *peer) { p.say(refusal); _, _ = io.CopyN(io.Discard, p, 1<<20) }), want: "exhausted: 1 413", payload: longerOne, excerpt: "big"},
		{name: "takes half a large request for the whole", sink: begun(func(p *peer) { p.say(okAnswer); <-p.over }), want: "delivered: 1 200", payload: longerOne, excerpt: "ok"},
		{name: "never reads a large request", sink: plain(func(p *peer) { <-p.over }), want: "exhausted: 1 timeout_send", payload: longerOne},
		{name: "never accepts a large request", sink: unaccepted, want: "exhausted: 1 timeout_send", payload: longerOne},
		{name: "reads a large request slowly", sink: plain(func(p *peer) {
			for p.pause() {
				_, _ = io.CopyN(io.Discard, p, 1024)
			}
		}), want: "exhausted: 1 timeout_send", payload: longerOne},
		{name: "takes a large request and says nothing", sink: plain(hangs("")), want: "exhausted: 1 timeout_header", payload: longerOne},
		{name: "resets in a large request", sink: begun((*peer).reset), want: "exhausted: 1 reset", payload: longerOne},
		{name: "hangs up in a large request, and stays", sink: begun(func(p *peer) { _ = p.socket.CloseWrite(); <-p.over }), want: "exhausted: 1 reset", payload: longerOne},
		{name: "garbage in a large request", sink: begun(func(p *peer) { p.say(garbage + "\n"); <-p.over }), want: "exhausted: 1 protocol", payload: longerOne},
	}
}

// again are sinks that are sent to again and again: what they do to their connection must not cost the next delivery.
func again() []misbehaviour {
	late := func(after func(*peer)) func(*peer) {
		return func(p *peer) {
			answers(okAnswer)(p)
			after(p)
		}
	}
	return []misbehaviour{
		{name: "keeps its connection for good", sink: plain(keeps(okAnswer)), want: "delivered: 1 200", times: 5, connections: 1},
		{name: "takes a large request whole", sink: plain(keeps(okAnswer)), want: "delivered: 1 200", payload: longerOne, times: 2, connections: 1},
		{name: "closes each connection after the answer", sink: plain(answers(okAnswer)), want: "delivered: 1 200", times: 5, connections: 5},
		{name: "resets each connection after the answer", sink: plain(late(func(p *peer) { _ = p.socket.SetLinger(0) })), want: "delivered: 1 200", times: 5, connections: 5},
		{name: "closes each TLS connection after the answer", sink: overTLS(authority.issue(nil), answers(okAnswer)), want: "delivered: 1 200", times: 5, connections: 5},
		{name: "hangs up after the answer, and stays", sink: plain(late(func(p *peer) { _ = p.socket.CloseWrite(); p.stay() })), want: "delivered: 1 200", times: 5, connections: 5},
		{name: "says goodbye, and stays", sink: plain(keeps("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")), want: "delivered: 1 200", times: 5, connections: 5},
	}
}

// secureServer is net/http's, which answers without TLS whoever comes without it.
func secureServer(t *testing.T) *rogue {
	t.Helper()
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	return &rogue{url: strings.Replace(server.URL, "https", "http", 1)}
}
