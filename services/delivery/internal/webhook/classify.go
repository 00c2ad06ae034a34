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

// classify sorts the error of an exchange and says in words that reveal nothing of our network what happened: they are constants, never
// made of the error.
func classify(err error) (delivery.ErrorClass, string) {
	if _, ok := errors.AsType[*wire.InvalidURLError](err); ok {
		return delivery.ClassInvalidURL, "No request can be made to the endpoint's URL."
	}
	if _, ok := errors.AsType[wire.InsecureError](err); ok {
		return delivery.ClassBlocked, "The endpoint's URL begins with http://, and this installation sends to https:// only."
	}
	if _, ok := errors.AsType[*netguard.BlockedError](err); ok {
		return delivery.ClassBlocked, "The endpoint's address is not one that this installation may connect to."
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return delivery.ClassDNS, "The endpoint's host name could not be resolved."
	}
	var phase wire.Phase
	if in, ok := errors.AsType[*wire.Error](err); ok {
		phase = in.Phase
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) || isTimeout(err) {
		return classifyTimeout(phase)
	}
	if phase == wire.Connect {
		return delivery.ClassConnect, "The endpoint refused the connection or could not be reached."
	}
	if isTLS(err) {
		return delivery.ClassTLS, "The TLS handshake with the endpoint failed: its certificate or protocol was not accepted."
	}
	if isReset(err) {
		return delivery.ClassReset, "The endpoint closed the connection before its answer was complete."
	}
	if _, ok := errors.AsType[wire.OversizeError](err); ok {
		return delivery.ClassOversize, "The header of the endpoint's answer is too large."
	}
	return delivery.ClassProtocol, "The endpoint's answer was not valid HTTP."
}

func classifyTimeout(phase wire.Phase) (delivery.ErrorClass, string) {
	switch phase {
	case wire.Connect:
		return delivery.ClassConnectTimeout, "The endpoint could not be connected to within the time limit."
	case wire.Handshake:
		return delivery.ClassTLSTimeout, "The TLS handshake with the endpoint did not end within the time limit."
	case wire.Send:
		return delivery.ClassSendTimeout, "The endpoint did not take the request within the time limit."
	case wire.Receive:
		return delivery.ClassBodyTimeout, "The body of the endpoint's answer did not end within the time limit."
	default:
		return delivery.ClassHeaderTimeout, "The endpoint did not answer within the time limit."
	}
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
