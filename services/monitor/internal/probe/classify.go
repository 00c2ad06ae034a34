package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/quic-go/quic-go"

	"github.com/beaconpost/beaconpost/pkg/netguard"
	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
)

// unmet says that what came is not as expected.
type unmet struct {
	cause         check.Cause
	detail        string
	expected, got string
}

func (u *unmet) Error() string { return u.detail }

// hindrance says that a check did not come as far as its target: what is before it, a proxy or a token endpoint, failed. Of the target it
// says nothing, so that it is not inverted, but it is down: the way there is part of the monitor.
type hindrance struct{ *unmet }

func (h hindrance) Unwrap() error { return h.unmet }

func isHindrance(err error) bool {
	_, ok := errors.AsType[hindrance](err)
	return ok
}

// hindered sorts an error on the way to the target, where it happened, so that its result says so. Faults of ours stay ours.
func (l *look) hindered(ctx context.Context, where string, err error) error {
	if _, said := errors.AsType[*unmet](err); !said && ctx.Err() != nil {
		err = overdue{err}
	}
	outcome, cause, detail := classify(l.clock.where(), err)
	if outcome == check.NotChecked {
		return ownFault{where + ": " + detail, err}
	}
	expected, got := expectation(err)
	return hindrance{&unmet{cause, where + ": " + detail, expected, got}}
}

// ownFault says that no check was made, for a reason that is ours.
type ownFault struct {
	detail string // safe for the tenant
	err    error
}

func (f ownFault) Error() string { return f.err.Error() }
func (f ownFault) Unwrap() error { return f.err }

// overdue says that an error came after the check's timeout, which explains it.
type overdue struct{ err error }

func (o overdue) Error() string { return "timeout: " + o.err.Error() }

// classify sorts what ended a check in a stage, and says it in a line that reveals nothing of our network.
func classify(at stage, err error) (check.Outcome, check.Cause, string) {
	if wrong, ok := errors.AsType[*unmet](err); ok {
		return check.Down, wrong.cause, wrong.detail
	}
	if detail, ok := ours(err); ok {
		return check.NotChecked, check.CauseInternal, detail
	}
	cause, detail := theirs(at, err)
	return check.Down, cause, detail
}

// ours tells the faults of the prober and its machine from those of targets. What could be either, such as a network without a route, is
// looked into where it happens and comes here as an ownFault.
func ours(err error) (string, bool) {
	if fault, ok := errors.AsType[ownFault](err); ok {
		return fault.detail, true
	}
	lacking := []syscall.Errno{
		syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, // files and memory
		syscall.EADDRNOTAVAIL, // no port left, or no address of the family
		syscall.EPERM,         // a firewall of ours, or no right to a socket
		syscall.EAFNOSUPPORT, syscall.ENETDOWN,
	}
	if slices.ContainsFunc(lacking, func(errno syscall.Errno) bool { return errors.Is(err, errno) }) {
		return "The prober could not open a connection, for a reason of its own.", true
	}
	if call, ok := errors.AsType[*os.SyscallError](err); ok && call.Syscall == "socket" { // of a connection, EACCES may be what a router says
		return "The prober could not open a connection, for a reason of its own.", true
	}
	if errors.Is(err, context.Canceled) {
		return "The check was cancelled.", true
	}
	if name, ok := errors.AsType[*net.DNSError](err); ok && strings.Contains(name.Err, ownDialFault) {
		return noNameserver, true
	}
	return "", false
}

func theirs(at stage, err error) (check.Cause, string) {
	if _, ok := errors.AsType[*netguard.BlockedError](err); ok {
		return check.CauseBlockedAddress, "The address is not one that this installation may connect to."
	}
	if _, ok := errors.AsType[overdue](err); ok || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
		return check.CauseTimeout, at.doing() + " did not end within the timeout."
	}
	if name, ok := errors.AsType[*net.DNSError](err); ok {
		if name.IsNotFound {
			return check.CauseDNS, "The name does not exist, or has no address."
		}
		return check.CauseDNS, "The name could not be resolved."
	}
	unreachable := []syscall.Errno{syscall.ECONNREFUSED, syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.EACCES} // of UDP, what is sent finds out
	if at == connecting || slices.ContainsFunc(unreachable, func(errno syscall.Errno) bool { return errors.Is(err, errno) }) {
		return connectCause(err)
	}
	if reason, ok := tlsReason(at, err); ok {
		return check.CauseTLS, "The TLS connection failed: " + reason + "."
	}
	if cause, detail, ok := quicCause(at, err); ok {
		return cause, detail
	}
	if isReset(err) {
		return check.CauseReset, "The connection was closed before the answer was complete."
	}
	return check.CauseProtocol, "What came is not a valid answer of the protocol."
}

func connectCause(err error) (check.Cause, string) {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return check.CauseConnect, "The connection was refused."
	case errors.Is(err, syscall.ETIMEDOUT):
		return check.CauseTimeout, "The connecting was not answered."
	default:
		return check.CauseConnect, "The address could not be reached."
	}
}

func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		strings.Contains(err.Error(), "server closed idle connection") || // net/http's and its HTTP/2's have no type
		strings.Contains(err.Error(), "http2: client conn could not be established") ||
		strings.Contains(err.Error(), "server sent GOAWAY and closed the connection")
}

// tlsReason gives the texts of crypto/tls and x509 as they are: they tell of the target's certificate and of nothing else.
func tlsReason(at stage, err error) (string, bool) {
	if name, ok := errors.AsType[x509.HostnameError](err); ok {
		return strings.TrimPrefix(name.Error(), "x509: "), true
	}
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		return strings.TrimPrefix(invalid.Error(), "x509: "), true
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "the certificate is signed by an unknown authority", true
	}
	if alert, ok := errors.AsType[tls.AlertError](err); ok {
		return "the target says " + strings.TrimPrefix(alert.Error(), "tls: "), true
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return "what came is not TLS", true
	}
	if remote, ok := errors.AsType[*net.OpError](err); ok && remote.Op == "remote error" { // crypto/tls's form of an alert
		return "the target says " + strings.TrimPrefix(remote.Err.Error(), "tls: "), true
	}
	if _, ok := errors.AsType[*quic.TransportError](err); ok || at != handshaking { // what else came may quote the target
		return "", false
	}
	text := err.Error() // crypto/tls has errors without a type
	if at := strings.LastIndex(text, "tls: "); at >= 0 {
		return text[at+len("tls: "):], true
	}
	if at := strings.LastIndex(text, "x509: "); at >= 0 {
		return text[at+len("x509: "):], true
	}
	return "", false
}
