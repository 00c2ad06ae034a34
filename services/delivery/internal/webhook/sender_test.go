package webhook

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/telemetry"
	"github.com/beaconpost/beaconpost/services/delivery/internal/delivery"
)

func quiet() *log.Logger { return log.New(io.Discard, "", 0) }

func TestStatusesAreNotJudged(t *testing.T) {
	t.Parallel()
	s := newSender(t, Config{})
	for _, status := range []int{200, 201, 202, 204, 205, 299, 300, 301, 302, 303, 304, 307, 308, 400, 401, 404, 410, 418, 429, 500, 502, 503, 504, 599} {
		a := send(t, s, job(serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(status)
		})))
		require.Equal(t, status, a.StatusCode)
		require.Empty(t, a.Class)
		require.Empty(t, a.Detail)
		require.Equal(t, status < 300, a.Succeeded())
	}
	a := send(t, s, job("http://"+raw(t, answer("HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n"))))
	require.Equal(t, 999, a.StatusCode)
	require.False(t, a.Succeeded())
}

// What follows this answer is no HTTP, and may go on for ever.
func TestAnEndpointCannotSwitchProtocols(t *testing.T) {
	t.Parallel()
	a := send(t, newSender(t, Config{}), job("http://"+raw(t, answerAndStay("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"))))
	require.Equal(t, 101, a.StatusCode)
	require.False(t, a.Succeeded())
	require.Less(t, a.Duration, 5*time.Second)
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	var paths []string
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		paths = append(paths, r.Method+" "+r.URL.Path)
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	})
	require.Equal(t, 307, send(t, newSender(t, Config{}), job(url+"/hook")).StatusCode)
	require.Equal(t, []string{"POST /hook"}, paths)
}

func TestTheRequest(t *testing.T) {
	t.Parallel()
	var got *http.Request
	var body []byte
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
		http.SetCookie(w, &http.Cookie{Name: "session", Value: "1"})
	})
	s := newSender(t, Config{})
	j := job(url + "/hook?x=1&y=%2F")
	send(t, s, j)
	require.Equal(t, "POST", got.Method)
	require.Equal(t, "/hook?x=1&y=%2F", got.RequestURI)
	require.Equal(t, string(j.Payload), string(body))
	require.EqualValues(t, len(j.Payload), got.ContentLength)
	require.Equal(t, j.EventID.String(), got.Header.Get("webhook-id"))
	require.Equal(t, j.ID.String(), got.Header.Get("Beaconpost-Delivery-Id"))
	require.Equal(t, "3", got.Header.Get("Beaconpost-Attempt"))
	require.Equal(t, "order.paid", got.Header.Get("Beaconpost-Event-Type"))
	require.Equal(t, "application/json", got.Header.Get("Content-Type"))
	require.Equal(t, "Beaconpost/test", got.Header.Get("User-Agent"))
	require.True(t, strings.HasPrefix(got.Header.Get("webhook-signature"), "v1,"))
	require.Empty(t, got.Header.Get("Accept-Encoding"), "nothing is decompressed")
	trace := telemetry.TraceIDOf(j.EventID).String()
	require.Equal(t, "00-"+trace+"-"+telemetry.SpanIDOf(j.ID, 3).String()+"-00", got.Header.Get("Traceparent"), "one of its own, which nobody records")
	j.Traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	send(t, s, j)
	require.Equal(t, "00-4bf92f3577b34da6a3ce929d0e0e4736-"+telemetry.SpanIDOf(j.ID, 3).String()+"-01", got.Header.Get("Traceparent"))
	require.Empty(t, got.Header.Get("Cookie"), "answers leave nothing behind")
}

func TestExcerpts(t *testing.T) {
	t.Parallel()
	s := newSender(t, Config{})
	for name, tt := range map[string]struct {
		size, want int
		truncated  bool
	}{
		"empty": {0, 0, false}, "small": {10, 10, false}, "exactly": {4096, 4096, false}, "one more": {4097, 4096, true}, "large": {1 << 20, 4096, true},
	} {
		a := send(t, s, job(serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(bytes.Repeat([]byte("x"), tt.size)) })))
		require.True(t, a.Succeeded(), name)
		require.Len(t, a.Excerpt, tt.want, name)
		require.Equal(t, tt.truncated, a.Truncated, name)
		require.Equal(t, tt.size == 0, a.Excerpt == nil, name)
	}
}

func TestWhatWasReadBeforeAFailureIsKept(t *testing.T) {
	t.Parallel()
	a := send(t, newSender(t, Config{}), job("http://"+raw(t, answer("HTTP/1.1 500 No\r\nContent-Length: 100\r\n\r\nthe reason"))))
	require.Equal(t, delivery.ClassReset, a.Class)
	require.Equal(t, 500, a.StatusCode)
	require.Equal(t, "the reason", string(a.Excerpt))
}

// A small compressed answer must not become a large one.
func TestAnswersAreNotDecompressed(t *testing.T) {
	t.Parallel()
	var bomb bytes.Buffer
	zip := gzip.NewWriter(&bomb)
	_, err := zip.Write(make([]byte, 10<<20))
	require.NoError(t, err)
	require.NoError(t, zip.Close())
	a := send(t, newSender(t, Config{}), job(serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(bomb.Bytes())
	})))
	require.True(t, a.Succeeded())
	require.Equal(t, bomb.Bytes()[:4096], a.Excerpt)
}

func TestAnEndlessAnswerIsCutAndCounts(t *testing.T) {
	t.Parallel()
	var written atomic.Int64
	a := send(t, newSender(t, Config{}), job(serve(t, func(w http.ResponseWriter, _ *http.Request) {
		for {
			n, err := w.Write(make([]byte, 32<<10))
			written.Add(int64(n))
			if err != nil {
				return
			}
		}
	})))
	require.True(t, a.Succeeded(), "the endpoint took it")
	require.True(t, a.Truncated)
	require.Less(t, written.Load(), int64(64<<20), "buffers of the system included")
}

// Connections are used again when an answer is short enough to be read, and closed when it is not.
func TestConnectionsAreUsedAgain(t *testing.T) {
	t.Parallel()
	for size, want := range map[int]int32{10: 1, 60 << 10: 1, 4 << 20: 5} {
		var opened atomic.Int32
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, size)) }))
		server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				opened.Add(1)
			}
		}
		server.Start()
		s := newSender(t, Config{})
		for range 5 {
			require.True(t, send(t, s, job(server.URL)).Succeeded())
		}
		require.Equal(t, want, opened.Load(), "answers of %d bytes", size)
		s.Close()
		server.CloseClientConnections()
		server.Close()
	}
}

func TestATimeLimitCoversEverything(t *testing.T) {
	t.Parallel()
	// Something arrives every 20 ms; only the whole takes too long.
	drip := func(first, each string) func(net.Conn, <-chan struct{}) {
		return func(conn net.Conn, leave <-chan struct{}) {
			answer(first)(conn, leave)
			tick := time.NewTicker(20 * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-leave:
					return
				case <-tick.C:
				}
				if _, err := conn.Write([]byte(each)); err != nil {
					return
				}
			}
		}
	}
	s := newSender(t, Config{})
	for name, talk := range map[string]func(net.Conn, <-chan struct{}){
		"header": drip(okHeader, "X-A: b\r\n"), "body": drip(okHeader+"\r\n", "."), "chunks": drip(okHeader+"Transfer-Encoding: chunked\r\n\r\n", "1\r\n.\r\n"),
		"interim answers": drip("", "HTTP/1.1 103 Early Hints\r\n\r\n"),
	} {
		a := send(t, s, within(300*time.Millisecond, job("http://"+raw(t, talk))))
		want := delivery.ClassHeaderTimeout
		if a.StatusCode != 0 {
			want = delivery.ClassBodyTimeout
		}
		require.Equal(t, want, a.Class, name)
		require.Equal(t, name == "body" || name == "chunks", a.StatusCode == 200, name)
		require.GreaterOrEqual(t, a.Duration, 300*time.Millisecond, name)
	}
}

// The limit on the handshake alone is 5 s, though the attempt may take longer.
func TestASlowHandshakeIsCut(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes 5 s")
	}
	a := send(t, newSender(t, Config{}), job("https://"+raw(t, func(_ net.Conn, leave <-chan struct{}) { <-leave })))
	require.Equal(t, delivery.ClassTLSTimeout, a.Class)
	require.Less(t, a.Duration, 10*time.Second)
}

func TestWhatWeCutIsNoAttempt(t *testing.T) {
	t.Parallel()
	for name, talk := range map[string]func(net.Conn, <-chan struct{}){
		"before the answer": answerAndStay(""), "in the header": answerAndStay(okHeader), "in the body": answerAndStay(okHeader + "\r\nhalf"),
	} {
		begun := make(chan struct{}, 1)
		url := "http://" + raw(t, func(conn net.Conn, leave <-chan struct{}) {
			begun <- struct{}{}
			talk(conn, leave)
		})
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			<-begun
			cancel()
		}()
		require.Nil(t, newSender(t, Config{}).Send(ctx, job(url)), name)
	}
}

// The endpoint had its time, and then we were told to stop: that is its failure, or its success, not ours.
func TestAnAnswerThatCameBeforeTheCutCounts(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	url := "http://" + raw(t, func(conn net.Conn, leave <-chan struct{}) {
		answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")(conn, leave)
	})
	s := newSender(t, Config{})
	a := s.Send(ctx, job(url))
	cancel()
	require.True(t, a.Succeeded())
	require.Nil(t, s.Send(ctx, job(url)), "nothing is sent after the cut")
}

func TestTLS(t *testing.T) {
	t.Parallel()
	s := newSender(t, trusting())
	a := send(t, s, job(tlsServer(t, nil).URL))
	require.True(t, a.Succeeded(), a.Detail)
	require.Equal(t, "HTTP/1.1", string(a.Excerpt), "though HTTP/2 is offered")

	for name, tt := range map[string]struct {
		handle http.HandlerFunc
		class  delivery.ErrorClass
		status int
	}{
		"cut": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, delivery.ClassReset, 0},
		"cut in the body": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte("half"))
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}, delivery.ClassReset, 200},
		"large header": {func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X-A", strings.Repeat("x", 1<<20)) }, delivery.ClassOversize, 0},
		"hangs":        {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, delivery.ClassHeaderTimeout, 0},
		"hangs in the body": {func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write([]byte("half"))
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}, delivery.ClassBodyTimeout, 200},
		"endless": {func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 32<<10)); err != nil {
					return
				}
			}
		}, "", 200},
	} {
		server := tlsServer(t, nil)
		server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // only then does a server see that its client leaves
			tt.handle(w, r)
		})
		a := send(t, s, within(2*time.Second, job(server.URL)))
		require.Equal(t, tt.class, a.Class, "%s: %s", name, a.Detail)
		require.Equal(t, tt.status, a.StatusCode, name)
	}
}

// The names that receivers from elsewhere look for, and fields of the endpoint's own.
func TestHeadersThatTheEndpointAskedFor(t *testing.T) {
	t.Parallel()
	got := make(chan http.Header, 1)
	url := serve(t, func(_ http.ResponseWriter, r *http.Request) { got <- r.Header.Clone() })
	s := newSender(t, Config{})
	for _, names := range []struct{ svix, only bool }{{false, false}, {true, false}, {true, true}} {
		j := job(url)
		j.Target.Svix, j.Target.SvixOnly = names.svix, names.only
		j.Target.Header = []delivery.Field{{Name: "X-Shop", Value: "acme"}, {Name: "Authorization", Value: "Bearer x"}}
		a := s.Send(t.Context(), j)
		require.True(t, a.Succeeded())
		h := <-got
		require.Equal(t, "acme", h.Get("X-Shop"))
		require.Equal(t, "Bearer x", h.Get("Authorization"))
		require.Equal(t, !names.only, h.Get("Webhook-Signature") != "")
		require.Equal(t, names.svix, h.Get("Svix-Signature") != "")
		header := http.Header{}
		for _, name := range []string{"Id", "Timestamp", "Signature"} {
			header.Set("Webhook-"+name, h.Get("Webhook-"+name)+h.Get("Svix-"+name))
			if names.svix && !names.only {
				require.Equal(t, h.Get("Webhook-"+name), h.Get("Svix-"+name))
				header.Set("Webhook-"+name, h.Get("Svix-"+name))
			}
		}
		receiver, err := standardwebhooks.NewWebhook(j.Target.Secrets[0].Value.Reveal())
		require.NoError(t, err)
		require.NoError(t, receiver.Verify(j.Payload, header))
	}
}
