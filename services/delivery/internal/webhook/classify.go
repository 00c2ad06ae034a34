package webhook

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/beaconpost/beaconpost/pkg/netguard"
	"github.com/beaconpost/beaconpost/services/delivery/internal/delivery"
	"github.com/beaconpost/beaconpost/services/delivery/internal/wire"
)

// classify sorts a transport error and says in words that reveal nothing of our network what happened. The order matters: a
// time-out while connecting is a time-out.
func classify(err error) (delivery.ErrorClass, string) {
	if _, ok := errors.AsType[*wire.InvalidURLError](err); ok {
		return delivery.ClassInvalidURL, "No request can be made to the endpoint's URL."
	}
	if _, ok := errors.AsType[*netguard.BlockedError](err); ok {
		return delivery.ClassBlocked, "The endpoint's address is not one that this installation may connect to."
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) || isTimeout(err) {
		return delivery.ClassTimeout, "The endpoint did not answer completely within the time limit."
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return delivery.ClassDNS, "The endpoint's host name could not be resolved."
	}
	if isTLS(err) {
		return delivery.ClassTLS, "The TLS handshake with the endpoint failed: its certificate or protocol was not accepted."
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return delivery.ClassConnect, "The endpoint refused the connection or could not be reached."
	}
	if isReset(err) {
		return delivery.ClassReset, "The endpoint closed the connection before its answer was complete."
	}
	return delivery.ClassProtocol, "The endpoint's answer was not valid HTTP."
}

func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

func isTimeout(err error) bool {
	ne, ok := errors.AsType[net.Error](err)
	return ok && ne.Timeout()
}

func isTLS(err error) bool {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return true
	}
	if _, ok := errors.AsType[tls.AlertError](err); ok {
		return true
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return true
	}
	return strings.Contains(err.Error(), "tls: ") // crypto/tls has errors without a type
}
