package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/netguard"
	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
)

func TestClassify(t *testing.T) {
	t.Parallel()
	dial := func(errno syscall.Errno) error {
		return fmt.Errorf("wrapped: %w", &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", errno)})
	}
	read := func(errno syscall.Errno) error {
		return &net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", errno)}
	}
	blocked := &netguard.BlockedError{Addr: netip.MustParseAddrPort("10.0.0.1:80"), Reason: "secret"}
	own, down := check.NotChecked, check.Down
	for name, tt := range map[string]struct {
		at      stage
		err     error
		outcome check.Outcome
		cause   check.Cause
	}{
		"too many files":         {connecting, dial(syscall.EMFILE), own, check.CauseInternal},
		"too many files, system": {connecting, dial(syscall.ENFILE), own, check.CauseInternal},
		"no buffers":             {connecting, dial(syscall.ENOBUFS), own, check.CauseInternal},
		"no memory":              {connecting, dial(syscall.ENOMEM), own, check.CauseInternal},
		"no local address":       {connecting, dial(syscall.EADDRNOTAVAIL), own, check.CauseInternal},
		"own firewall":           {connecting, dial(syscall.EPERM), own, check.CauseInternal},
		"no right":               {connecting, os.NewSyscallError("socket", syscall.EACCES), own, check.CauseInternal},
		"a router forbids it":    {connecting, dial(syscall.EACCES), down, check.CauseConnect},
		"later":                  {processing, read(syscall.EACCES), down, check.CauseConnect},
		"no IPv6":                {connecting, dial(syscall.EAFNOSUPPORT), own, check.CauseInternal},
		"network is down":        {connecting, dial(syscall.ENETDOWN), own, check.CauseInternal},
		"too many files, later":  {processing, read(syscall.EMFILE), own, check.CauseInternal},
		"stopped":                {processing, ownFault{"stopped", context.Canceled}, own, check.CauseInternal},
		"cancelled":              {resolving, &net.OpError{Op: "dial", Err: context.Canceled}, own, check.CauseInternal},
		"no socket for a name": {
			resolving, &net.DNSError{Err: "dial udp: " + ownDialFault + ": socket: too many open files", Name: "a.test"}, own, check.CauseInternal,
		},
		"own fault, overdue": {connecting, ownFault{"no way", overdue{dial(syscall.ENETUNREACH)}}, own, check.CauseInternal},

		"blocked":             {connecting, &net.OpError{Op: "dial", Err: blocked}, down, check.CauseBlockedAddress},
		"refused":             {connecting, dial(syscall.ECONNREFUSED), down, check.CauseConnect},
		"refused, UDP":        {processing, read(syscall.ECONNREFUSED), down, check.CauseConnect},
		"no host":             {connecting, dial(syscall.EHOSTUNREACH), down, check.CauseConnect},
		"no network":          {connecting, dial(syscall.ENETUNREACH), down, check.CauseConnect},
		"reset at connecting": {connecting, dial(syscall.ECONNRESET), down, check.CauseConnect},
		"kernel's timeout":    {connecting, dial(syscall.ETIMEDOUT), down, check.CauseTimeout},

		"deadline":          {processing, &net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}, down, check.CauseTimeout},
		"context's":         {handshaking, context.DeadlineExceeded, down, check.CauseTimeout},
		"overdue":           {transferring, overdue{net.ErrClosed}, down, check.CauseTimeout},
		"overdue name":      {resolving, overdue{&net.DNSError{IsTimeout: true}}, down, check.CauseTimeout},
		"no such name":      {resolving, &net.DNSError{IsNotFound: true}, down, check.CauseDNS},
		"name server fails": {resolving, &net.DNSError{Err: "server misbehaving", IsTemporary: true}, down, check.CauseDNS},
		"name is late":      {resolving, &net.DNSError{IsTimeout: true}, down, check.CauseDNS},

		"unknown authority": {handshaking, &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}, down, check.CauseTLS},
		"expired":           {handshaking, x509.CertificateInvalidError{Cert: new(x509.Certificate), Reason: x509.Expired}, down, check.CauseTLS},
		"alert":             {processing, &net.OpError{Op: "remote error", Err: tls.AlertError(116)}, down, check.CauseTLS},
		"not TLS":           {handshaking, tls.RecordHeaderError{Msg: "tls: first record"}, down, check.CauseTLS},
		"other TLS":         {handshaking, errors.New("tls: server selected unsupported protocol version"), down, check.CauseTLS},

		"reset":               {processing, read(syscall.ECONNRESET), down, check.CauseReset},
		"pipe":                {sending, read(syscall.EPIPE), down, check.CauseReset},
		"end":                 {handshaking, io.EOF, down, check.CauseReset},
		"early end":           {transferring, io.ErrUnexpectedEOF, down, check.CauseReset},
		"HTTP/2 that is gone": {sending, errors.New("http2: client conn could not be established"), down, check.CauseReset},
		"anything":            {processing, errors.New("malformed HTTP response"), down, check.CauseProtocol},
		"not expected":        {idle, &unmet{cause: check.CauseHeader, detail: "header"}, down, check.CauseHeader},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			outcome, cause, detail := classify(tt.at, tt.err)
			require.Equal(t, tt.outcome, outcome)
			require.Equal(t, tt.cause, cause)
			require.NotEmpty(t, detail)
			require.NotContains(t, detail, "10.0.0.1")
			require.NotContains(t, detail, "secret")
		})
	}
}

// A name whose lookup failed because no socket could be opened says so only in the text of net.DNSError.
func TestResolverMarksItsOwnFaults(t *testing.T) {
	t.Parallel()
	text := fmt.Errorf("%s: %w", ownDialFault, syscall.EMFILE)
	resolver := &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) { return nil, text }}
	p := newProber(t, func(c *Config) { c.Resolver = resolver })
	r := checkIt(t, p, job(get("http://a.test/")))
	require.Equal(t, check.NotChecked, r.Outcome, "%+v", r)
}

// Without a route the prober has not looked. In a network that has none to IPv6, that is most of the targets with IPv6 only.
func TestNoRouteIsOurs(t *testing.T) {
	t.Parallel()
	p := newProber(t, func(c *Config) { c.Network.Allow = []netip.Prefix{netip.MustParsePrefix("4000::/16")} })
	if p.hasRoute(netip.MustParseAddrPort("[4000::1]:80")) {
		t.Skip("this machine has a route to all of IPv6")
	}
	r := checkIt(t, p, job(get("http://[4000::1]/")))
	require.Equal(t, check.NotChecked, r.Outcome)
}
