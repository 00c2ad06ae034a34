package wire

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// certificate gives one for 127.0.0.1 and a configuration that trusts it.
func certificate() (tls.Certificate, *tls.Config) {
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	return server.TLS.Certificates[0], server.Client().Transport.(*http.Transport).TLSClientConfig
}

// holding collects what is written while it holds, so that several records are one segment.
type holding struct {
	net.Conn
	hold bool
	held bytes.Buffer
}

func (h *holding) Write(p []byte) (int, error) {
	if h.hold {
		return h.held.Write(p)
	}
	return h.Conn.Write(p)
}

func (h *holding) flush() {
	h.hold = false
	_ = h.SetWriteDeadline(time.Time{}) // a farewell has set one
	_, _ = h.Conn.Write(h.held.Bytes())
	h.held.Reset()
}

// talkTLS is talk with TLS. What the functions write is sent when they return, and the connections stay open until the test ends.
func talkTLS(t *testing.T, version uint16, each ...func(conn *tls.Conn, in *bufio.Reader)) (*Client, string) {
	t.Helper()
	cert, trusting := certificate()
	leave := make(chan struct{})
	var all []func(net.Conn, *bufio.Reader)
	for _, serve := range each {
		all = append(all, func(socket net.Conn, _ *bufio.Reader) {
			h := &holding{Conn: socket}
			conn := tls.Server(h, &tls.Config{Certificates: []tls.Certificate{cert}, MaxVersion: version})
			if conn.Handshake() != nil {
				return
			}
			in := bufio.NewReader(conn)
			readRequest(in)
			h.hold = true
			serve(conn, in)
			h.flush()
			go func() {
				<-leave
				_ = socket.Close()
			}()
		})
	}
	url := talkOpen(t, all...)
	t.Cleanup(func() { close(leave) })
	c := NewClient(Config{TLS: trusting})
	t.Cleanup(c.Close)
	return c, strings.Replace(url, "http", "https", 1)
}

func TestTLSConnectionsAreUsedAgain(t *testing.T) {
	t.Parallel()
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		var opened atomic.Int32
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }))
		server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				opened.Add(1)
			}
		}
		server.TLS = &tls.Config{MaxVersion: version}
		server.StartTLS()
		c := NewClient(Config{TLS: server.Client().Transport.(*http.Transport).TLSClientConfig})
		for i := range 20 {
			_, err := post(t.Context(), c, server.URL, make([]byte, i*5000))
			require.NoError(t, err)
		}
		c.Close()
		server.Close()
		require.EqualValues(t, 1, opened.Load(), "%x", version)
	}
}

// What TLS has read ahead is seen too, be it another answer, the body of one that has none, or a farewell.
func TestATLSConnectionOnWhichSomethingHappenedIsNotUsedAgain(t *testing.T) {
	t.Parallel()
	forged := "HTTP/1.1 500 Not Yours\r\nContent-Length: 0\r\n\r\n"
	full := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", 4096-40)
	full += strings.Repeat("a", 4096-len(full)) // as long as the buffer, so that the rest stays in the record
	full = strings.Replace(full, "4056", fmt.Sprint(strings.Count(full, "a")), 1)
	for name, say := range map[string]func(conn *tls.Conn){
		"another answer": func(conn *tls.Conn) {
			_, _ = io.WriteString(conn, ok)
			_, _ = io.WriteString(conn, forged)
		},
		"another answer, in one record": func(conn *tls.Conn) { _, _ = io.WriteString(conn, full+forged) },
		"a body where none may be": func(conn *tls.Conn) {
			_, _ = io.WriteString(conn, "HTTP/1.1 204 No Content\r\n\r\n")
			_, _ = io.WriteString(conn, "hello")
		},
		"a farewell without an end": func(conn *tls.Conn) {
			_, _ = io.WriteString(conn, ok)
			_ = conn.CloseWrite()
		},
	} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			c, url := talkTLS(t, version, func(conn *tls.Conn, _ *bufio.Reader) { say(conn) },
				func(conn *tls.Conn, _ *bufio.Reader) {
					_, _ = io.WriteString(conn, "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
				})
			_, err := post(t.Context(), c, url, []byte("1"))
			require.NoError(t, err, name)
			a, err := post(t.Context(), c, url, []byte("2"))
			require.NoError(t, err, "%s, %x", name, version)
			require.Equal(t, 201, a.Status, "%s, %x", name, version)
		}
	}
}

// An endpoint that reads nothing has its time and no more, whatever is said in farewell, and may have answered before.
func TestAnEndpointThatReadsNothingHoldsNobody(t *testing.T) {
	t.Parallel()
	tight := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) {
			_ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 2304)
			_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_MAXSEG, 536)
		})
	}}
	cert, trusting := certificate()
	for _, tt := range []struct {
		secure, early bool
		size          int
	}{{false, true, 30000}, {false, true, 60000}, {false, true, 1 << 20}, {true, false, 250000}, {true, false, 1 << 20}, {true, true, 1 << 20}} {
		ln, err := tight.Listen(t.Context(), "tcp", "127.0.0.1:0")
		require.NoError(t, err)
		leave, left := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(left)
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
			if tt.secure {
				conn = tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{cert}})
			}
			if tt.early {
				_, _ = io.WriteString(conn, "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
			} else {
				_ = conn.(*tls.Conn).Handshake()
			}
			<-leave
		}()
		c := NewClient(Config{TLS: trusting})
		scheme := "http://"
		if tt.secure {
			scheme = "https://"
		}
		start := time.Now()
		a, err := c.Post(t.Context(), &Request{URL: scheme + ln.Addr().String(), Body: make([]byte, tt.size)}, start.Add(500*time.Millisecond))
		require.Less(t, time.Since(start), 2*time.Second, "%+v", tt)
		if tt.early {
			require.NoError(t, err, "%+v", tt)
			require.Equal(t, 413, a.Status, "%+v", tt)
		} else {
			require.Error(t, err, "%+v", tt)
		}
		c.Close()
		close(leave)
		<-left
		_ = ln.Close()
	}
}

func TestLargeBodiesKeepTheirConnection(t *testing.T) {
	t.Parallel()
	url, opened, _ := counting(t)
	c := newClient(t, Limits{})
	const posts = 100
	for range posts {
		_, err := post(t.Context(), c, url, make([]byte, 100000))
		require.NoError(t, err)
	}
	require.Less(t, opened.Load(), int32(posts/10))
}
