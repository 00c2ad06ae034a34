package probe

import (
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
)

// serveHTTP3 serves HTTP/3 with a certificate and gives the spec that asks for it.
func serveHTTP3(t testing.TB, cfg *tls.Config, handle http.HandlerFunc) check.Spec {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	server := &http3.Server{TLSConfig: http3.ConfigureTLSConfig(cfg), Handler: handle, Logger: slog.New(slog.DiscardHandler)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(packets{conn}) // ends with Close
	}()
	t.Cleanup(func() {
		_ = server.Close()
		_ = conn.Close()
		<-done
	})
	return http3Spec("https://" + conn.LocalAddr().String() + "/")
}

func http3Spec(url string) check.Spec {
	spec := get(url)
	spec.HTTPVersion = "3"
	return spec
}

func TestHTTP3(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	p := newProber(t, ca.trusted)
	var got http.Header
	spec := serveHTTP3(t, &tls.Config{Certificates: []tls.Certificate{ca.valid(t)}}, func(w http.ResponseWriter, r *http.Request) {
		got = r.Header
		time.Sleep(5 * time.Millisecond)
		body, _ := io.ReadAll(r.Body)
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, r.Proto+" "+r.Method+" "+string(body))
	})
	spec.Method, spec.Body, spec.Headers = http.MethodPost, "hello", map[string]string{"X-Test": "a"}
	spec.StatusCodes, spec.ExpectBody = []string{"201"}, []check.Match{{Equals: "HTTP/3.0 POST hello"}}
	spec.URL = strings.Replace(spec.URL, "127.0.0.1", "localhost", 1)
	spec.IPFamily = "4"
	r := checkIt(t, p, job(spec))
	require.Equal(t, check.Up, r.Outcome, r.Detail)
	require.Equal(t, "a", got.Get("X-Test"))
	require.Empty(t, got.Get("Accept-Encoding"))
	require.Equal(t, 201, r.Status)
	require.Equal(t, "127.0.0.1", r.IP)
	require.WithinDuration(t, time.Now().Add(90*day), r.CertEnds, time.Minute)
	require.Zero(t, r.Phases.Connect, "QUIC has none of its own")
	for _, phase := range []time.Duration{r.Phases.Resolve, r.Phases.TLS, r.Phases.Processing, r.Phases.Transfer} {
		require.Positive(t, phase)
	}
	require.GreaterOrEqual(t, r.Phases.Processing, 5*time.Millisecond)
}

func TestHTTP3Misbehaves(t *testing.T) {
	t.Parallel()
	ca, other := newAuthority(t), newAuthority(t)
	valid := func() *tls.Config { return &tls.Config{Certificates: []tls.Certificate{ca.valid(t)}} }
	serving := func(handle http.HandlerFunc) check.Spec { return serveHTTP3(t, valid(), handle) }
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = silent.Close() })
	for name, tt := range map[string]struct {
		spec   check.Spec
		cause  check.Cause
		detail string
	}{
		"nobody answers":   {http3Spec("https://" + silent.LocalAddr().String()), check.CauseTimeout, "The TLS handshake did not end within the timeout."},
		"another protocol": {closingQUIC(t, &tls.Config{Certificates: valid().Certificates, NextProtos: []string{"doq"}}), check.CauseTLS, "no application protocol"},
		"another authority": {
			serveHTTP3(t, &tls.Config{Certificates: []tls.Certificate{other.valid(t)}}, nil), check.CauseTLS, "signed by an unknown authority",
		},
		"an expired certificate": {
			serveHTTP3(t, &tls.Config{Certificates: []tls.Certificate{ca.issue(t, -day, "127.0.0.1")}}, nil), check.CauseTLS, "expired",
		},
		"no answer":      {serving(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }), check.CauseTimeout, "The wait for an answer did not end within the timeout."},
		"an endless one": {serving(endlessBody), check.CauseTimeout, "The answer did not end within the timeout."},
		"a reset": {
			serving(func(w http.ResponseWriter, _ *http.Request) {
				w.(http.Flusher).Flush()
				panic(http.ErrAbortHandler)
			}), check.CauseReset, "closed before the answer was complete",
		},
		"a header without end": {
			serving(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("X", strings.Repeat("x", 2*maxHeaderBytes))
			}), check.CauseProtocol, "not a valid answer",
		},
		"a redirect to http": {
			serving(func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "http://127.0.0.1/", http.StatusFound)
			}), check.CauseRedirects, "HTTP/3",
		},
		"a connection that is closed": {closingQUIC(t, http3.ConfigureTLSConfig(valid())), check.CauseReset, "closed before the answer was complete"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := job(tt.spec)
			if tt.cause == check.CauseTimeout {
				j.Timeout = short
			}
			r := checkIt(t, newProber(t, ca.trusted), j)
			require.Equal(t, tt.cause, r.Cause, r.Detail)
			require.Contains(t, r.Detail, tt.detail)
			if tt.cause == check.CauseTLS && name != "another protocol" {
				require.Len(t, r.Evidence.Certificates, 1)
			}
		})
	}
	t.Run("blocked", func(t *testing.T) {
		t.Parallel()
		strict := newProber(t, func(cfg *Config) { cfg.Network.AllowLoopback = false })
		require.Equal(t, check.CauseBlockedAddress, checkIt(t, strict, job(serving(nil))).Cause)
	})
}

func endlessBody(w http.ResponseWriter, _ *http.Request) {
	for {
		if _, err := io.WriteString(w, "x"); err != nil {
			return
		}
		w.(http.Flusher).Flush()
		time.Sleep(5 * time.Millisecond)
	}
}

// closingQUIC is a server that ends each connection as soon as something is asked.
func closingQUIC(t testing.TB, cfg *tls.Config) check.Spec {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	ln, err := quic.Listen(packets{conn}, cfg, nil)
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			session, err := ln.Accept(t.Context())
			if err != nil {
				return
			}
			_, _ = session.AcceptStream(t.Context())
			_ = session.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeInternalError), "tls: \x00 10.1.2.3")
		}
	}()
	t.Cleanup(func() {
		_ = ln.Close()
		_ = conn.Close()
		<-done
	})
	return http3Spec("https://" + conn.LocalAddr().String() + "/")
}
