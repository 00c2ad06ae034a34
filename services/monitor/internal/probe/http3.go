package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
)

// packets hides that a connection is UDP's, so that quic-go gives the few packets of a check no buffers of megabytes.
type packets struct{ net.PacketConn }

// SetReadBuffer is asked for by quic-go.
func (packets) SetReadBuffer(int) error { return nil }

// SetWriteBuffer is asked for by quic-go.
func (packets) SetWriteBuffer(int) error { return nil }

// clientHTTP3 connects to a URL's host by QUIC.
func (l *look) clientHTTP3(ctx context.Context, r *request) (*webClient, error) {
	if r.url.Scheme != "https" {
		return nil, &unmet{check.CauseRedirects, "A redirect led to a URL that HTTP/3 is not for.", "an https URL", r.url.Redacted()}
	}
	addrs, err := l.resolve(ctx, r.url.Hostname())
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(portOf(r.url), 10, 16)
	if err != nil {
		return nil, ownFault{"The port is not valid.", err}
	}
	var first error
	for i, addr := range addrs {
		to := netip.AddrPortFrom(addr, uint16(port))
		client, err := l.dialHTTP3(ctx, to, peer{name: r.url.Hostname(), alpn: []string{http3.NextProtoH3}, own: r.own}, len(addrs)-i)
		if err == nil {
			l.saw.ip = addr.String()
			return client, nil
		}
		first = worse(first, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, first
}

// dialHTTP3 makes the handshake with one of left addresses, in its share of the time that is left. It is one of QUIC and TLS together: there is no
// connecting before.
func (l *look) dialHTTP3(ctx context.Context, to netip.AddrPort, who peer, left int) (*webClient, error) {
	if err := l.p.cfg.Network.CheckAddr(to); err != nil {
		return nil, err
	}
	conn, err := net.ListenUDP("udp", nil)
	if err != nil {
		return nil, ownFault{"The prober could not open a connection, for a reason of its own.", err}
	}
	if !l.p.hasRoute(to) {
		_ = conn.Close()
		return nil, ownFault{"The prober has no way to addresses of this kind.", fmt.Errorf("no route to %s", to)}
	}
	unbid := context.AfterFunc(ctx, func() { _ = conn.Close() })
	transport := &quic.Transport{Conn: packets{conn}}
	end := func() { // the socket first: what is above it would say farewell
		unbid()
		_ = conn.Close()
		_ = transport.Close()
	}
	dialing := ctx
	if deadline, ok := ctx.Deadline(); ok && left > 1 {
		limited, cancel := context.WithTimeout(ctx, time.Until(deadline)/time.Duration(left))
		defer cancel()
		dialing = limited
	}
	l.clock.enter(handshaking)
	session, err := transport.Dial(dialing, net.UDPAddrFromAddrPort(to), l.tlsConfig(who), &quic.Config{HandshakeIdleTimeout: l.job.Timeout, MaxIdleTimeout: l.job.Timeout})
	if err != nil {
		end()
		return nil, err
	}
	l.clock.enter(idle)
	return &webClient{l.p.web3.NewClientConn(session), end}, nil
}

// newTransportHTTP3 is newTransport for HTTP/3.
func newTransportHTTP3() *http3.Transport {
	return &http3.Transport{DisableCompression: true, MaxResponseHeaderBytes: maxHeaderBytes}
}

// quicCause sorts what QUIC and HTTP/3 say.
func quicCause(at stage, err error) (check.Cause, string, bool) {
	if late, ok := errors.AsType[net.Error](err); ok && late.Timeout() {
		return check.CauseTimeout, at.doing() + " did not end within the timeout.", true
	}
	if refused, ok := errors.AsType[*quic.TransportError](err); ok {
		switch {
		case refused.ErrorCode.IsCryptoError():
			alert := tls.AlertError(refused.ErrorCode - 0x100) //nolint:gosec // RFC 9001, 4.8: an alert's number is the low byte
			return check.CauseTLS, "The TLS connection failed: " + alert.Error()[len("tls: "):] + ".", true
		case refused.ErrorCode == quic.ConnectionRefused:
			return check.CauseConnect, "The connection was refused.", true
		}
		return check.CauseProtocol, "What came is not a valid answer of the protocol.", true
	}
	if wrong, ok := errors.AsType[*http3.Error](err); ok {
		switch wrong.ErrorCode {
		case http3.ErrCodeNoError, http3.ErrCodeInternalError, http3.ErrCodeRequestRejected, http3.ErrCodeRequestCanceled, http3.ErrCodeRequestIncomplete, http3.ErrCodeExcessiveLoad:
			return check.CauseReset, "The connection was closed before the answer was complete.", wrong.Remote
		}
		return check.CauseProtocol, "What came is not a valid answer of the protocol.", true
	}
	if _, ok := errors.AsType[*quic.StatelessResetError](err); ok {
		return check.CauseReset, "The connection was closed before the answer was complete.", true
	}
	return "", "", false
}

var _ http.RoundTripper = (*http3.ClientConn)(nil)
