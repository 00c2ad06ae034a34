package probe

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"golang.org/x/net/http/httpguts"
	"golang.org/x/net/proxy"

	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
)

const atProxy = "Proxy"

// reach connects to a URL's host, through the monitor's proxy if it has one. The proxy's address is judged as every address that is dialled;
// the target's is the proxy's business, and not known here.
func (l *look) reach(ctx context.Context, u *url.URL) (*socket, error) {
	through := l.plan.proxy
	if through == nil {
		return l.dial(ctx, "tcp", u.Hostname(), portOf(u))
	}
	socket, err := l.dial(ctx, "tcp", through.Hostname(), through.Port())
	l.saw.ip, l.saw.ips = "", nil
	if err != nil {
		return nil, l.hindered(ctx, atProxy, err)
	}
	if l.forwards(u) {
		return socket, nil
	}
	l.clock.enter(tunnelling)
	if err := l.tunnel(ctx, socket, net.JoinHostPort(asciiName(u.Hostname()), portOf(u))); err != nil {
		socket.end()
		if _, said := errors.AsType[*unmet](err); said {
			return nil, err
		}
		return nil, l.hindered(ctx, atProxy, err)
	}
	l.clock.enter(idle)
	return socket, nil
}

// forwards says whether a request is given to the proxy itself, which makes it in our place: those of http URLs to an HTTP proxy. All others
// go through a tunnel.
func (l *look) forwards(u *url.URL) bool {
	return l.plan.proxy != nil && l.plan.proxy.Scheme == "http" && u.Scheme == "http" && l.job.Spec.Kind == check.HTTP
}

// absolute gives a URL that net/http puts into the request's first line as a whole.
func absolute(u *url.URL) *url.URL {
	to := *u
	host, err := httpguts.PunycodeHostPort(u.Host)
	if err != nil {
		host = u.Host
	}
	path := u.EscapedPath()
	if path == "" {
		path = "/"
	}
	to.Opaque = "//" + host + path
	return &to
}

// forProxy adds what only the proxy may see, and takes away when it passes the request on.
func (l *look) forProxy(header http.Header) http.Header {
	header = header.Clone()
	if l.plan.proxy.User != nil {
		header.Set("Proxy-Authorization", basic(login(l.plan.proxy)))
	}
	return header
}

// login gives the credentials in a URL.
func login(of *url.URL) (name, password string) {
	password, _ = of.User.Password()
	return of.User.Username(), password
}

// tunnel has the proxy connect to an address. Afterwards what is said on the socket is heard there.
func (l *look) tunnel(ctx context.Context, socket *socket, address string) error {
	if l.plan.proxy.Scheme == "socks5" {
		return l.tunnelSOCKS(ctx, socket, address)
	}
	header := http.Header{"User-Agent": {l.p.cfg.UserAgent}}
	ask := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: address}, Host: address, Header: l.forProxy(header)}
	if err := ask.Write(socket); err != nil {
		return err
	}
	in := bufio.NewReader(io.LimitReader(socket, maxHeaderBytes))
	answer, err := http.ReadResponse(in, ask) //nolint:bodyclose // a tunnel has none, and what is none is not read to its end
	switch {
	case err != nil:
		return err
	case answer.StatusCode/100 != 2:
		return refusedByProxy(answer.StatusCode)
	case in.Buffered() > 0: // the target says nothing before it is spoken to
		return errors.New("something came between the proxy's answer and the target's")
	}
	return nil
}

// refusedByProxy tells a proxy that did not reach the target, which is the target's fault as far as can be seen, from one that does not want to.
func refusedByProxy(status int) error {
	got := fmt.Sprint(status)
	switch status {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return &unmet{check.CauseConnect, "Proxy: It could not connect to the target: the status is " + got + ".", "status 200", got}
	case http.StatusProxyAuthRequired:
		return hindrance{&unmet{check.CauseStatus, "Proxy: It does not accept the credentials: the status is 407.", "status 200", got}}
	default:
		return hindrance{&unmet{check.CauseStatus, "Proxy: The status is " + got + ".", "status 200", got}}
	}
}

// dialsWith is the part of x/net's SOCKS client that needs no dialling of its own.
type dialsWith interface {
	DialWithConn(ctx context.Context, conn net.Conn, network, address string) (net.Addr, error)
}

func (l *look) tunnelSOCKS(ctx context.Context, socket *socket, address string) error {
	var auth *proxy.Auth
	if l.plan.proxy.User != nil {
		name, password := login(l.plan.proxy)
		auth = &proxy.Auth{User: name, Password: password}
	}
	dialer, err := proxy.SOCKS5("tcp", l.plan.proxy.Host, auth, nil)
	if err != nil {
		return err
	}
	client, ok := dialer.(dialsWith)
	if !ok {
		return ownFault{"The prober has no SOCKS client.", fmt.Errorf("%T has no DialWithConn", dialer)}
	}
	_, err = client.DialWithConn(ctx, socket, "tcp", address)
	return socksRefusal(err)
}

// socksRefusal sorts what x/net's SOCKS client says in texts only.
func socksRefusal(err error) error {
	wrapped, ok := errors.AsType[*net.OpError](err)
	if !ok || wrapped.Err == nil {
		return err
	}
	text := wrapped.Err.Error()
	reply, replied := strings.CutPrefix(text, "unknown error ")
	switch {
	case strings.Contains(text, "authentication"):
		return hindrance{&unmet{check.CauseStatus, "Proxy: It does not accept the credentials.", "", text}}
	case !replied:
		return err
	case strings.HasPrefix(reply, "connection not allowed"), strings.Contains(reply, "not supported"):
		return hindrance{&unmet{check.CauseStatus, "Proxy: It does not connect there: " + reply + ".", "succeeded", reply}}
	default:
		return &unmet{check.CauseConnect, "Proxy: It could not connect to the target: " + reply + ".", "succeeded", reply}
	}
}
