package probe

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
)

const okHeader = "HTTP/1.1 200 OK\r\n"

// Targets that do everything wrong that one can do, each on a real listener.
func TestWhatATargetDidIsClassified(t *testing.T) {
	t.Parallel()
	reset := func(conn net.Conn, _ <-chan struct{}) {
		_, _ = conn.Read(make([]byte, 10)) // the rest is unread
		_ = conn.(*net.TCPConn).SetLinger(0)
	}
	for name, tt := range map[string]struct {
		talk  func(net.Conn, <-chan struct{})
		https bool
		cause check.Cause
	}{
		"silent":                  {hang, false, check.CauseTimeout},
		"silent TLS":              {hang, true, check.CauseTimeout},
		"drips the handshake":     {drip("\x16\x03\x03\x40\x00", "\x00"), true, check.CauseTimeout},
		"half a header":           {answerAndStay(okHeader + "X-A: b\r\n"), false, check.CauseTimeout},
		"drips a header":          {drip(okHeader+"X-A: ", "abc"), false, check.CauseTimeout},
		"half a body":             {answerAndStay(okHeader + "Content-Length: 10\r\n\r\nhalf"), false, check.CauseTimeout},
		"drips a body":            {drip(okHeader+"\r\n", "x"), false, check.CauseTimeout},
		"drips chunks":            {drip(okHeader+"Transfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n"), false, check.CauseTimeout},
		"one interim answer":      {answerAndStay("HTTP/1.1 103 Early Hints\r\n\r\n"), false, check.CauseTimeout},
		"drips interim answers":   {drip("", "HTTP/1.1 103 Early Hints\r\n\r\n"), false, check.CauseTimeout},
		"takes nothing":           {hang, false, check.CauseTimeout},
		"drips empty gzip blocks": {drip(okHeader+"Content-Encoding: gzip\r\n\r\n\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff", "\x00\x00\x00\xff\xff"), false, check.CauseTimeout},

		"endless interim answers": {endless("", "HTTP/1.1 103 Early Hints\r\nX-A: "+strings.Repeat("x", 1000)+"\r\n\r\n"), false, check.CauseProtocol},
		"endless header":          {endless(okHeader+"X-A: ", "x"), false, check.CauseProtocol},
		"endless fields":          {endless(okHeader, "X-A: b\r\n"), false, check.CauseProtocol},
		"endless gzip blocks":     {endless(okHeader+"Content-Encoding: gzip\r\n\r\n\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff", "\x00\x00\x00\xff\xff"), false, check.CauseReset},
		"endless chunk header":    {endless(okHeader+"Transfer-Encoding: chunked\r\n\r\n1", "0"), false, check.CauseProtocol},
		"HTTP/0.9":                {answer("hello, this is the answer\r\n"), false, check.CauseProtocol},
		"SSH":                     {answer("SSH-2.0-OpenSSH\r\n\r\n"), false, check.CauseProtocol},
		"bad status":              {answer("HTTP/1.1 OK\r\n\r\n"), false, check.CauseProtocol},
		"bad chunk":               {answer(okHeader + "Transfer-Encoding: chunked\r\n\r\nzz\r\n"), false, check.CauseProtocol},
		"two lengths":             {answer(okHeader + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx"), false, check.CauseProtocol},
		"quotes our libraries":    {answer(okHeader + "Content-Length: x509: foo\r\n\r\n"), false, check.CauseProtocol},
		"no gzip":                 {answer(okHeader + "Content-Encoding: gzip\r\n\r\nplain text, not gzip"), false, check.CauseProtocol},

		"closes at once":       {func(net.Conn, <-chan struct{}) {}, false, check.CauseReset},
		"closes in the header": {answer(okHeader + "X-A: b\r\n"), false, check.CauseReset},
		"wrong length":         {answer(okHeader + "Content-Length: 10\r\n\r\nhalf"), false, check.CauseReset},
		"closes in a chunk":    {answer(okHeader + "Transfer-Encoding: chunked\r\n\r\na\r\nhalf"), false, check.CauseReset},
		"resets":               {reset, false, check.CauseReset},
		"closes the handshake": {answer(""), true, check.CauseReset},
		"no TLS":               {answer("HTTP/1.1 400 Bad Request\r\n\r\n"), true, check.CauseTLS},

		"endless body":       {endless(okHeader+"\r\n", "x"), false, ""},
		"endless chunks":     {endless(okHeader+"Transfer-Encoding: chunked\r\n\r\n", "5\r\nhello\r\n"), false, ""},
		"too long a body":    {answer(okHeader + "Content-Length: 3\r\n\r\nlonger than it says"), false, ""},
		"some interim":       {answer("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + okHeader + "\r\n"), false, ""},
		"answers, then hang": {answerAndStay(okHeader + "Content-Length: 2\r\n\r\nok"), false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			scheme := map[bool]string{false: "http://", true: "https://"}[tt.https]
			spec := get(scheme + raw(t, tt.talk))
			if name == "takes nothing" {
				spec.Method, spec.Body = "POST", strings.Repeat("x", 16<<20)
			}
			j := job(spec)
			if tt.cause == check.CauseTimeout {
				j.Timeout = short
			}
			r := checkIt(t, newProber(t), j)
			require.Equal(t, tt.cause, r.Cause, "%+v", r)
			require.NotEqual(t, check.NotChecked, r.Outcome)
		})
	}
}

func TestRefusedAndUnknown(t *testing.T) {
	t.Parallel()
	p := newProber(t, func(c *Config) { c.Resolver = newNames(t).resolver() })
	require.Equal(t, check.CauseConnect, checkIt(t, p, job(get("http://"+closedPort(t)))).Cause)
	r := checkIt(t, p, job(get("http://nothing.test/")))
	require.Equal(t, check.CauseDNS, r.Cause)
	require.Equal(t, check.Down, r.Outcome)
}

func TestBodyCapCountsWhatIsUnpacked(t *testing.T) {
	t.Parallel()
	var bomb bytes.Buffer
	packer := gzip.NewWriter(&bomb)
	zeros := make([]byte, 1<<20)
	for range 256 {
		_, err := packer.Write(zeros)
		require.NoError(t, err)
	}
	require.NoError(t, packer.Close())
	url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(bomb.Bytes())
	})
	spec := get(url)
	spec.Assert = "size(body) == 1048576"
	p := newProber(t)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	require.Equal(t, check.Up, checkIt(t, p, job(spec)).Outcome)
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(200<<20), "other tests allocate too, but not a bomb")
}

func TestUnpacksWhatItDidNotAskFor(t *testing.T) {
	t.Parallel()
	url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		packer := gzip.NewWriter(w)
		_, _ = io.WriteString(packer, "hello")
		_ = packer.Close()
	})
	spec := get(url)
	spec.ExpectBody = []check.Match{{Equals: "hello"}}
	require.Equal(t, check.Up, checkIt(t, newProber(t), job(spec)).Outcome)
	spec = get(url)
	spec.Method = "HEAD"
	require.Equal(t, check.Up, checkIt(t, newProber(t), job(spec)).Outcome)
}

func TestEvidenceIsBoundedAndClean(t *testing.T) {
	t.Parallel()
	url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		for i := range 200 {
			w.Header().Set("X-"+strings.Repeat("a", i+1), "\xff")
		}
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = io.WriteString(w, strings.Repeat("\x00\xffx", 20<<10))
	})
	r := checkIt(t, newProber(t), job(get(url)))
	require.Equal(t, check.CauseStatus, r.Cause)
	require.LessOrEqual(t, len(r.Evidence.Header), keptFields)
	require.NotContains(t, r.Evidence.Body, "\x00")
	require.LessOrEqual(t, len([]rune(r.Evidence.Body)), check.EvidenceBody)
	require.Equal(t, "200-299", strings.TrimPrefix(r.Evidence.Expected, "status "))
	require.Equal(t, "500", r.Evidence.Got)
	require.Equal(t, []check.Hop{{URL: url, IP: "127.0.0.1", Status: 500}}, r.Evidence.Hops)
}

func TestStoppingIsNotTheTargetsFault(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	p := newProber(t, ca.trusted)
	address := raw(t, hang)
	var specs []check.Spec
	for _, kind := range []check.Kind{check.TLS, check.GRPC} {
		specs = append(specs, at(t, kind, address))
	}
	talk := at(t, check.TCP, address)
	talk.Expect = "."
	ask := check.Spec{Kind: check.DNS, Host: "a.test", Resolver: talk.Host, Port: talk.Port, Transport: "tcp"}
	specs = append(specs, talk, ask, get("http://"+address), check.Spec{Kind: check.WebSocket, URL: "ws://" + address})
	for _, spec := range specs {
		t.Run(string(spec.Kind), func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(context.Background(), short)
			defer cancel()
			r := p.Check(ctx, job(spec))
			require.Equal(t, check.NotChecked, r.Outcome)
			require.Equal(t, check.CauseInternal, r.Cause)
			require.Less(t, r.Duration, 10*time.Second)

			j := job(spec)
			j.Timeout = short
			require.Equal(t, check.CauseTimeout, checkIt(t, p, j).Cause)
		})
	}
}

func TestWhatCannotBeCarriedOut(t *testing.T) {
	t.Parallel()
	p := newProber(t)
	for name, spec := range map[string]check.Spec{
		"heartbeat":    {Kind: check.Heartbeat},
		"no kind":      {},
		"expression":   {Kind: check.HTTP, URL: "http://a.test", Assert: "status =="},
		"pattern":      {Kind: check.TCP, Host: "a.test", Port: 1, Expect: "("},
		"URL":          {Kind: check.HTTP, URL: "http://a b"},
		"certificates": {Kind: check.TLS, Host: "a.test", Port: 1, TLS: &check.TLSOptions{CA: "none"}},
		"record type":  {Kind: check.DNS, Host: "a.test", RecordType: "NONE"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := checkIt(t, p, job(spec))
			require.Equal(t, check.NotChecked, r.Outcome)
			require.Equal(t, check.CauseInternal, r.Cause)
		})
	}
}

func TestPanicsAreOurs(t *testing.T) {
	t.Parallel()
	p := newProber(t)
	j := job(get("http://127.0.0.1:1"))
	j.Timeout = time.Second
	p.web = nil // nothing else of ours is known to panic
	j.Spec.URL = serve(t, func(http.ResponseWriter, *http.Request) {})
	r := checkIt(t, p, j)
	require.Equal(t, check.NotChecked, r.Outcome)
	p.web = newTransport()
}

func TestSlowTLSCountsToTheTimeout(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	cfg := &tls.Config{Certificates: []tls.Certificate{ca.valid(t)}}
	address := raw(t, func(conn net.Conn, leave <-chan struct{}) {
		server := tls.Server(conn, cfg)
		if server.Handshake() == nil {
			<-leave // and reads nothing: our farewell must not wait for it
		}
	})
	j := job(get("https://" + address))
	j.Timeout = short
	started := time.Now()
	require.Equal(t, check.CauseTimeout, checkIt(t, newProber(t, ca.trusted), j).Cause)
	require.Less(t, time.Since(started), 3*time.Second)
}
