package wire

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newClient(t *testing.T, l Limits) *Client {
	t.Helper()
	c := NewClient(Config{Limits: l})
	t.Cleanup(c.Close)
	return c
}

func post(ctx context.Context, c *Client, url string, body []byte) (Answer, error) {
	return c.Post(ctx, &Request{URL: url, Header: []Field{{"X-Test", "yes"}}, Body: body}, time.Now().Add(10*time.Second))
}

// talk serves connections one after the other, each by its own function, and closes them; it gives the URL.
func talk(t *testing.T, each ...func(conn net.Conn, in *bufio.Reader)) string {
	t.Helper()
	var closing []func(net.Conn, *bufio.Reader)
	for _, serve := range each {
		closing = append(closing, func(conn net.Conn, in *bufio.Reader) {
			serve(conn, in)
			_ = conn.Close()
		})
	}
	return talkOpen(t, closing...)
}

// talkOpen is talk with connections that the functions close.
func talkOpen(t *testing.T, each ...func(conn net.Conn, in *bufio.Reader)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, serve := range each {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			serve(conn, bufio.NewReader(conn))
		}
	}()
	t.Cleanup(func() {
		_ = ln.Close()
		<-done
	})
	return "http://" + ln.Addr().String() + "/"
}

func readRequest(in *bufio.Reader) {
	if r, err := http.ReadRequest(in); err == nil {
		_, _ = io.Copy(io.Discard, r.Body)
	}
}

const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// An endpoint that left between two exchanges, or said something that nobody asked for, does not cost the next one.
func TestAConnectionOnWhichSomethingHappenedIsNotUsedAgain(t *testing.T) {
	t.Parallel()
	for name, meanwhile := range map[string]func(net.Conn){
		"closed": func(net.Conn) {},
		"reset":  func(conn net.Conn) { _ = conn.(*net.TCPConn).SetLinger(0) },
		"talking": func(conn net.Conn) {
			_, _ = io.WriteString(conn, "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
		},
	} {
		answered := make(chan struct{})
		over := make(chan struct{})
		url := talk(t, func(conn net.Conn, in *bufio.Reader) {
			readRequest(in)
			_, _ = io.WriteString(conn, ok)
			<-answered
			meanwhile(conn)
			if name != "talking" {
				_ = conn.Close()
			}
			close(over)
		}, func(conn net.Conn, in *bufio.Reader) {
			readRequest(in)
			_, _ = io.WriteString(conn, "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
		})
		c := newClient(t, Limits{})
		a, err := post(t.Context(), c, url, []byte("1"))
		require.NoError(t, err, name)
		require.Equal(t, Answer{Status: 200, Excerpt: []byte("ok")}, a, name)
		close(answered)
		<-over
		require.Eventually(t, func() bool {
			idle := c.pool.newest
			return idle == nil || !idle.ready(time.Now().Add(time.Second))
		}, 5*time.Second, time.Millisecond)
		a, err = post(t.Context(), c, url, []byte("2"))
		require.NoError(t, err, name)
		require.Equal(t, 201, a.Status, name)
	}
}

// What an endpoint sends after its answer must not be taken for the next one.
func TestWhatFollowsAnAnswerIsNotTheNext(t *testing.T) {
	t.Parallel()
	url := talk(t, func(conn net.Conn, in *bufio.Reader) {
		readRequest(in)
		_, _ = io.WriteString(conn, ok+"HTTP/1.1 500 Not Yours\r\nContent-Length: 0\r\n\r\n")
	}, func(conn net.Conn, in *bufio.Reader) {
		readRequest(in)
		_, _ = io.WriteString(conn, ok)
	})
	c := newClient(t, Limits{})
	for range 2 {
		a, err := post(t.Context(), c, url, nil)
		require.NoError(t, err)
		require.Equal(t, 200, a.Status)
	}
}

func TestWhichAnswersEndTheirConnection(t *testing.T) {
	t.Parallel()
	for answer, again := range map[string]bool{
		ok:                                true,
		"HTTP/1.1 204 No Content\r\n\r\n": true,
		"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n":                                          true,
		"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n":                                          false,
		"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n":                               false,
		"HTTP/1.1 200 OK\r\nX-Long: " + strings.Repeat("y", 4095-8) + "\r\nContent-Length: 0\r\n\r\n":   true,
		"HTTP/1.1 200 OK\r\nX-Long: " + strings.Repeat("y", 8191-8) + "\r\nContent-Length: 0\r\n\r\n":   true,
		"HTTP/1.1 200 OK\r\ncontent-LENGTH:0\r\n\r\n":                                                   true,
		"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx":                            true,
		"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n":                                                     true,
		"HTTP/1.1 200 OK\nContent-Length: 0\n\n":                                                        true,
		"HTTP/1.1 100 Continue\r\n\r\n" + ok:                                                            true,
		"HTTP/1.1 103 Early Hints\r\nContent-Length: 7\r\nConnection: close\r\n\r\n" + ok:               true,
		"HTTP/1.1 200 OK\r\nX-Long: " + strings.Repeat("y", 20000) + "\r\nContent-Length: 0\r\n\r\n":    true,
		"HTTP/1.1 200 OK\r\nX-A: b\r\n c\r\nContent-Length: 0\r\n\r\n":                                  true,
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n":         true,
		"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 0\r\n\r\n":                        true,
		"HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 0\r\n\r\n":                          false,
		"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n":                                                  false,
		"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\nwhatever":       false,
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n":           false,
		"HTTP/1.1 200 OK\r\n\r\nuntil the end":                                                          false,
		"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n":                 false,
		"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("z", 100000):               false,
		"HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n" + strings.Repeat("z", 20000):                 true,
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;ext=1\r\nok\r\n0\r\n\r\nmore than said": false,
	} {
		ours, theirs := net.Pipe()
		go func() {
			_, _ = io.Copy(theirs, strings.NewReader(answer))
			_ = theirs.Close()
		}()
		x := exchanges.Get().(*exchange)
		x.conn, x.limits, x.budget, x.reusable = ours, Limits{Drain: 32 << 10}.withDefaults(), 64<<10, true
		x.in.Reset(ours)
		err := x.receive()
		name := answer[:min(len(answer), 120)]
		require.NoError(t, err, name)
		require.Equal(t, again, x.reusable && x.in.Buffered() == 0, name)
		x.release()
		_ = ours.Close()
	}
}

func TestAnswersInDoubtAreRefused(t *testing.T) {
	t.Parallel()
	for _, header := range []string{
		"Transfer-Encoding: chun\r\nTransfer-Encoding: ked\r\n", "Transfer-Encoding:\r\nTransfer-Encoding: chunked\r\n", "Transfer-Encoding: gzip, chunked\r\n", "Transfer-Encoding: chunked\r\n ,x\r\n",
		"Content-Length: 2, 2\r\n", "Content-Length: +2\r\n", "Content-Length: -2\r\n", "Content-Length:\r\n", "Content-Length: 0x2\r\n", "Content-Length: 99999999999999999999\r\n", "Content-Length : 2\r\n",
		"Content-Length: " + strings.Repeat("0", 5000) + "2\r\n", " Content-Length: 2\r\n", "X: a\x00b\r\n", "X: a\rb\r\n", ": x\r\n", "X\r\n",
	} {
		url := talk(t, func(conn net.Conn, in *bufio.Reader) {
			readRequest(in)
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n"+header+"\r\n2\r\nok\r\n0\r\n\r\n")
		})
		a, err := post(t.Context(), newClient(t, Limits{}), url, nil)
		var protocol ProtocolError
		require.ErrorAs(t, err, &protocol, header[:min(len(header), 60)])
		require.Zero(t, a.Status)
	}
}

func TestATimeoutInTheMiddleOfALineIsOne(t *testing.T) {
	t.Parallel()
	leave := make(chan struct{})
	url := talk(t, func(conn net.Conn, in *bufio.Reader) {
		readRequest(in)
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r")
		<-leave
	})
	defer close(leave)
	_, err := newClient(t, Limits{}).Post(t.Context(), &Request{URL: url}, time.Now().Add(100*time.Millisecond))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
}

func TestNothingIsSentAfterTheCut(t *testing.T) {
	t.Parallel()
	var requests atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { requests.Add(1) }))
	defer server.Close()
	c := newClient(t, Limits{})
	for n := range int32(50) {
		_, err := post(t.Context(), c, server.URL, nil)
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err = post(ctx, c, server.URL, nil)
		require.ErrorIs(t, err, context.Canceled)
		require.Equal(t, n+1, requests.Load())
	}
}

func TestExcerptsAreOfTheirClient(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 1000)) }))
	defer server.Close()
	small, large := newClient(t, Limits{Excerpt: 10}), newClient(t, Limits{})
	for range 20 {
		a, err := post(t.Context(), small, server.URL, nil)
		require.NoError(t, err)
		require.Len(t, a.Excerpt, 10)
		require.True(t, a.Truncated)
		a, err = post(t.Context(), large, server.URL, nil)
		require.NoError(t, err)
		require.Len(t, a.Excerpt, 1000)
		require.False(t, a.Truncated)
	}
}

func TestALargeBodyMayBeRefusedBeforeItIsSent(t *testing.T) {
	t.Parallel()
	url := talk(t, func(conn net.Conn, in *bufio.Reader) {
		_, _ = in.ReadString('\n')
		_, _ = io.WriteString(conn, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig")
		_, _ = io.Copy(io.Discard, io.LimitReader(in, 1<<20)) // it lingers, as servers do
	})
	a, err := post(t.Context(), newClient(t, Limits{}), url, make([]byte, 64<<20))
	require.NoError(t, err)
	require.Equal(t, Answer{Status: 413, Excerpt: []byte("big")}, a)
}

func TestBodiesArriveWhole(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.ContentLength != int64(len(body)) || r.Header.Get("X-Test") != "yes" || len(r.TransferEncoding) > 0 {
			w.WriteHeader(400)
		}
		_, _ = fmt.Fprintf(w, "%d %x", len(body), body[max(0, len(body)-2):])
	}))
	defer server.Close()
	c := newClient(t, Limits{})
	for _, size := range []int{0, 1, 4000, oneWrite, oneWrite + 1, 100 << 10, 5 << 20} {
		body := bytes.Repeat([]byte{0xab}, size)
		a, err := post(t.Context(), c, server.URL, body)
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintf("%d %x", size, body[max(0, size-2):]), string(a.Excerpt))
		require.Equal(t, 200, a.Status)
	}
	require.Equal(t, 1, c.pool.count, "all over one connection")
}

func TestACutEndsTheExchangeAtOnce(t *testing.T) {
	t.Parallel()
	begun, leave := make(chan struct{}), make(chan struct{})
	url := talk(t, func(_ net.Conn, in *bufio.Reader) {
		_, _ = in.ReadByte()
		close(begun)
		<-leave
	})
	defer close(leave)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-begun
		cancel()
	}()
	start := time.Now()
	_, err := post(ctx, newClient(t, Limits{}), url, make([]byte, 32<<20)) // while it is sent, too
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.Less(t, time.Since(start), 5*time.Second)
}

func TestPhases(t *testing.T) {
	t.Parallel()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, closed.Close())
	c := newClient(t, Limits{})
	for _, tt := range []struct {
		url   string
		phase Phase
	}{
		{"http://" + closed.Addr().String(), Connect},
		{strings.Replace(talk(t, func(net.Conn, *bufio.Reader) {}), "http", "https", 1), Handshake},
		{talk(t, func(_ net.Conn, in *bufio.Reader) { readRequest(in) }), Wait},
		{talk(t, func(conn net.Conn, in *bufio.Reader) {
			readRequest(in)
			_, _ = io.WriteString(conn, ok[:len(ok)-1])
		}), Receive},
	} {
		_, err := post(t.Context(), c, tt.url, []byte("x"))
		var in *Error
		require.ErrorAs(t, err, &in)
		require.Equal(t, tt.phase, in.Phase, "%v", err)
	}
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	x := &exchange{}
	for url, want := range map[string]struct{ dial, head string }{
		"http://example.com":                   {"example.com:80", "POST / HTTP/1.1\r\nHost: example.com\r\n"},
		"https://example.com/a":                {"example.com:443", "POST /a HTTP/1.1\r\nHost: example.com\r\n"},
		"https://example.com:8443/a?b=%2F&c#d": {"example.com:8443", "POST /a?b=%2F&c HTTP/1.1\r\nHost: example.com:8443\r\n"},
		"http://example.com:/":                 {"example.com:80", "POST / HTTP/1.1\r\nHost: example.com\r\n"},
		"http://[::1]:/":                       {"[::1]:80", "POST / HTTP/1.1\r\nHost: [::1]\r\n"},
		"http://example.com?q":                 {"example.com:80", "POST /?q HTTP/1.1\r\nHost: example.com\r\n"},
		"http://example.com/a b?c d":           {"example.com:80", "POST /a%20b?c%20d HTTP/1.1\r\nHost: example.com\r\n"},
		"http://user:word@example.com/":        {"example.com:80", "POST / HTTP/1.1\r\nHost: example.com\r\n"},
		"http://[::1]/":                        {"[::1]:80", "POST / HTTP/1.1\r\nHost: [::1]\r\n"},
		"http://[fe80::1%25eth0]:81/":          {"[fe80::1%eth0]:81", "POST / HTTP/1.1\r\nHost: [fe80::1]:81\r\n"},
		"https://bücher.example/":              {"xn--bcher-kva.example:443", "POST / HTTP/1.1\r\nHost: xn--bcher-kva.example\r\n"},
		"https://bücher.example:444/ü":         {"xn--bcher-kva.example:444", "POST /%C3%BC HTTP/1.1\r\nHost: xn--bcher-kva.example:444\r\n"},
	} {
		at, err := x.prepare(&Request{URL: url})
		require.NoError(t, err, url)
		require.Equal(t, want.dial, at.host, url)
		require.Equal(t, want.head+"Content-Length: 0\r\n\r\n", string(x.head), url)
	}
	for _, url := range []string{"", "example.com", "ftp://example.com/", "http:///a", "http:example.com", "http://exa mple.com/", "http://a/\x00", "http://%zz/", "//example.com/", "http://a:b/"} {
		_, err := newClient(t, Limits{}).Post(t.Context(), &Request{URL: url}, time.Now().Add(time.Second))
		var invalid *InvalidURLError
		require.ErrorAs(t, err, &invalid, url)
	}
}

func TestAFieldCannotEndItsLine(t *testing.T) {
	t.Parallel()
	x := &exchange{}
	_, err := x.prepare(&Request{URL: "http://a/", Header: []Field{{"A", "1\r\nB: 2\x00\x7f\tü"}}})
	require.NoError(t, err)
	require.Contains(t, string(x.head), "\r\nA: 1  B: 2  \tü\r\n\r\n")
}

// counting is a server that counts its connections.
func counting(t *testing.T) (url string, opened, open *atomic.Int32) {
	t.Helper()
	opened, open = &atomic.Int32{}, &atomic.Int32{}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			opened.Add(1)
			open.Add(1)
		case http.StateClosed:
			open.Add(-1)
		default:
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	return server.URL, opened, open
}

func TestIdleConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	c := newClient(t, Limits{Idle: 3})
	var counts []*atomic.Int32
	for range 5 {
		url, _, open := counting(t)
		counts = append(counts, open)
		_, err := post(t.Context(), c, url, nil)
		require.NoError(t, err)
	}
	require.Equal(t, 3, c.pool.count)
	require.Len(t, c.pool.hosts, 3)
	for i, open := range counts {
		want := int32(0)
		if i >= 2 {
			want = 1
		}
		require.Eventually(t, func() bool { return open.Load() == want }, 5*time.Second, time.Millisecond, "the oldest go first")
	}
	c.Close()
	require.Zero(t, c.pool.count)
	for _, open := range counts {
		require.Eventually(t, func() bool { return open.Load() == 0 }, 5*time.Second, time.Millisecond)
	}
}

func TestIdleConnectionsOfOneHostAreBounded(t *testing.T) {
	t.Parallel()
	c := newClient(t, Limits{IdlePerHost: 2})
	var all []*conn
	to := address{host: "a:80"}
	for range 3 {
		ours, theirs := net.Pipe()
		t.Cleanup(func() { _ = theirs.Close() })
		all = append(all, newConn(ours, to))
		c.pool.put(all[len(all)-1])
	}
	require.Equal(t, 2, c.pool.count)
	require.Same(t, all[1], c.pool.get(to), "the newest first")
	require.Same(t, all[0], c.pool.get(to))
	require.Nil(t, c.pool.get(to))
	require.Empty(t, c.pool.hosts)
}

func TestIdleConnectionsGrowOld(t *testing.T) {
	t.Parallel()
	c := newClient(t, Limits{IdleFor: 50 * time.Millisecond})
	url, opened, open := counting(t)
	for range 2 {
		_, err := post(t.Context(), c, url, nil)
		require.NoError(t, err)
		require.Eventually(t, func() bool { return open.Load() == 0 }, 5*time.Second, time.Millisecond)
	}
	require.EqualValues(t, 2, opened.Load())
	c.pool.mu.Lock()
	defer c.pool.mu.Unlock()
	require.Nil(t, c.pool.timer, "nothing waits, nothing ticks")
}

// Whatever net/http cannot read we do not take; what both take, both understand alike.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{
		ok, "HTTP/1.1 204 \r\n\r\n", "HTTP/1.0 200 OK\r\n\r\nx", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", "HTTP/1.1 100 C\r\n\r\n" + ok,
		"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc", "HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: +3\r\n\r\nabc", "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x\r\nok\r\n0\r\nT: 1\r\n\r\nHTTP/1.1", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chun\r\nTransfer-Encoding: ked\r\n\r\n0\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding:\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	limits := Limits{}.withDefaults()
	f.Fuzz(func(t *testing.T, text []byte) {
		in := bytes.NewReader(text)
		x := exchanges.Get().(*exchange)
		defer x.release()
		x.limits, x.budget, x.reusable = limits, limits.HeaderBytes, true
		x.in.Reset(in)
		err := x.receive()
		rest := len(text) - in.Len() - x.in.Buffered()
		if err != nil || len(text) > limits.Excerpt {
			return
		}

		theirs := bufio.NewReader(bytes.NewReader(text))
		request := &http.Request{Method: http.MethodPost}
		resp, err := http.ReadResponse(theirs, request)
		for err == nil && resp.StatusCode < 200 && resp.StatusCode != 101 {
			resp, err = http.ReadResponse(theirs, request)
		}
		if err != nil {
			t.Fatalf("we took %q, net/http did not: %v", text, err)
		}
		if resp.StatusCode != x.answer.Status {
			t.Fatalf("%q: status %d, net/http says %d", text, x.answer.Status, resp.StatusCode)
		}
		if resp.StatusCode == 101 {
			return
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil && strings.Contains(err.Error(), "trailer") {
			return // it wants the trailer to end with CRLF CRLF, though it takes LF for the end of a line elsewhere
		}
		if err != nil || !bytes.Equal(body, x.answer.Excerpt) {
			t.Fatalf("%q: body %q, net/http says %q, %v", text, x.answer.Excerpt, body, err)
		}
		if x.reusable && !resp.Close {
			if read := len(text) - theirs.Buffered(); read != rest {
				t.Fatalf("%q: the answer ends after %d bytes, net/http says %d", text, rest, read)
			}
		}
		if x.reusable && resp.Close {
			t.Fatalf("%q: net/http would not use the connection again", text)
		}
	})
}

func benchmark(b *testing.B, send func(url string, body []byte) error) {
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	defer server.Close()
	body := make([]byte, 1024)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := send(server.URL, body); err != nil {
				b.Error(err)
			}
		}
	})
}

func BenchmarkPost(b *testing.B) {
	c := NewClient(Config{})
	defer c.Close()
	benchmark(b, func(url string, body []byte) error {
		_, err := c.Post(b.Context(), &Request{URL: url, Body: body}, time.Now().Add(time.Minute))
		return err
	})
}

// BenchmarkNetHTTP is what Post is compared with.
func BenchmarkNetHTTP(b *testing.B) {
	transport := &http.Transport{MaxIdleConnsPerHost: 512}
	defer transport.CloseIdleConnections()
	benchmark(b, func(url string, body []byte) error {
		ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
		if err != nil {
			return err
		}
		resp, err := transport.RoundTrip(req)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, resp.Body)
		return errors.Join(err, resp.Body.Close())
	})
}
