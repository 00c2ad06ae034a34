package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"

	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
)

const (
	defaultRedirects = 10
	defaultBody      = 1 << 20
)

// dialedKey is of the connection that newTransport's transport takes from a context instead of dialling.
type dialedKey struct{}

// newTransport makes a transport that adds HTTP to a connection and does nothing beside: no dialling, no proxy, no compression, no pool.
func newTransport() *http.Transport {
	dialed := func(ctx context.Context, _, _ string) (net.Conn, error) {
		conn, ok := ctx.Value(dialedKey{}).(net.Conn)
		if !ok {
			return nil, errors.New("no connection was made")
		}
		return conn, nil
	}
	transport := &http.Transport{
		DialContext: dialed, DialTLSContext: dialed, DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: maxHeaderBytes,
		Protocols: new(http.Protocols),
	}
	transport.Protocols.SetHTTP1(true)
	transport.Protocols.SetHTTP2(true)
	return transport
}

// http asks, follows redirects, and holds the last answer against what is expected.
func (l *look) http(ctx context.Context) error {
	r, err := l.firstRequest(ctx)
	if err != nil {
		return err
	}
	most := defaultRedirects
	if given := l.job.Spec.MaxRedirects; given != nil {
		most = *given
	}
	for followed := 0; ; followed++ {
		next, err := l.askAuthorized(ctx, r, most > 0)
		if err != nil {
			return err
		}
		if next == nil {
			return l.checkAnswer(ctx)
		}
		if followed == most {
			return &unmet{check.CauseRedirects, fmt.Sprintf("There are more than %d redirects.", most), fmt.Sprintf("at most %d redirects", most), next.url.Redacted()}
		}
		r = next
	}
}

func (l *look) checkAnswer(ctx context.Context) error {
	if err := l.plan.checkStatus(l.saw.status); err != nil {
		return err
	}
	if err := l.plan.checkHeaders(ctx, l.saw.header); err != nil {
		return err
	}
	if err := l.plan.checkBody(ctx, l.saw.body); err != nil {
		return err
	}
	return l.checkJSON()
}

// ask makes one request and reads the answer, or gives the request that a redirect asks for.
func (l *look) ask(ctx context.Context, r *request, follow bool) (*request, error) {
	l.saw.hops = append(l.saw.hops, check.Hop{URL: cut(r.url.Redacted())})
	hop := &l.saw.hops[len(l.saw.hops)-1]
	client, err := l.client(ctx, r)
	hop.IP = l.saw.ip
	if err != nil {
		return nil, err
	}
	defer client.end()
	answer, err := client.RoundTrip(l.request(ctx, r))
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode < 100 || answer.StatusCode > 999 {
		return nil, &unmet{check.CauseProtocol, "The status of the answer is none.", "three digits", strconv.Itoa(answer.StatusCode)}
	}
	l.saw.status, l.saw.header, hop.Status = answer.StatusCode, answer.Header, answer.StatusCode
	if answer.StatusCode == http.StatusProxyAuthRequired && l.forwards(r.url) {
		return nil, refusedByProxy(answer.StatusCode)
	}
	if follow {
		if next, err := l.redirect(r, answer); err != nil || next != nil {
			return next, err
		}
	}
	return nil, l.read(answer)
}

// webClient is a connection to a web server.
type webClient struct {
	http.RoundTripper
	end func()
}

// client connects to a URL's host.
func (l *look) client(ctx context.Context, r *request) (*webClient, error) {
	l.saw.ip, l.saw.chain, l.saw.status, l.saw.header, l.saw.body, l.saw.truncated = "", nil, 0, nil, nil, false // they are of the last hop
	if l.job.Spec.HTTPVersion == "3" {
		return l.clientHTTP3(ctx, r)
	}
	host, port := r.url.Hostname(), portOf(r.url)
	socket, err := l.reach(ctx, r.url)
	if err != nil {
		return nil, err
	}
	var conn net.Conn = socket
	if r.url.Scheme == "https" {
		conn, err = l.secureHTTP(ctx, socket, peer{name: host, alpn: l.alpn(), own: r.own})
	}
	var client *http.ClientConn
	if err == nil {
		client, err = l.p.web.NewClientConn(context.WithValue(ctx, dialedKey{}, conn), r.url.Scheme, net.JoinHostPort(host, port))
	}
	if err != nil {
		socket.end()
		return nil, err
	}
	return &webClient{client, func() {
		socket.end() // first: what is above it would say farewell
		_ = client.Close()
	}}, nil
}

func (l *look) alpn() []string {
	switch version := l.job.Spec.HTTPVersion; {
	case version == "1.1" || l.job.Spec.Kind == check.WebSocket:
		return []string{"http/1.1"}
	case version == "2":
		return []string{"h2"}
	default:
		return []string{"h2", "http/1.1"}
	}
}

func (l *look) secureHTTP(ctx context.Context, socket *socket, to peer) (*tls.Conn, error) {
	conn, err := l.secure(ctx, socket, to)
	if err == nil && l.job.Spec.HTTPVersion == "2" && conn.ConnectionState().NegotiatedProtocol != "h2" {
		return nil, &unmet{check.CauseProtocol, "The target does not speak HTTP/2.", "h2", conn.ConnectionState().NegotiatedProtocol}
	}
	return conn, err
}

func portOf(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case u.Scheme == "https" || u.Scheme == "wss":
		return "443"
	default:
		return "80"
	}
}

// request makes net/http's request of ours, with eyes on its phases.
func (l *look) request(ctx context.Context, r *request) *http.Request {
	l.clock.enter(sending)
	trace := &httptrace.ClientTrace{
		WroteRequest:         func(httptrace.WroteRequestInfo) { l.clock.pass(sending, processing) },
		GotFirstResponseByte: func() { l.clock.enter(transferring) },
	}
	made := &http.Request{Method: r.method, URL: r.url, Host: r.host, Header: r.header, Close: true}
	if l.forwards(r.url) {
		made.URL, made.Header = absolute(r.url), l.forProxy(r.header)
	}
	if r.body != "" {
		made.Body, made.ContentLength = io.NopCloser(strings.NewReader(r.body)), int64(len(r.body))
	}
	return made.WithContext(httptrace.WithClientTrace(ctx, trace))
}
