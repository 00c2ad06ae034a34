package auth

import (
	"errors"
	"time"

	"github.com/beaconpost/beaconpost/pkg/fault"
)

// The codes of this package's faults.
const (
	CodeMissingCredentials fault.Code = "missing_credentials"
	CodeInvalidCredentials fault.Code = "invalid_credentials"
	CodeExpiredCredentials fault.Code = "expired_credentials"
	CodeInsufficientScope  fault.Code = "insufficient_scope"
	CodeTenantRequired     fault.Code = "tenant_required"
)

// retryAfter is the hint given with every unavailable fault.
const retryAfter = 5 * time.Second

// invalid refuses a credential. message is shown to the caller, err (which may be nil) is not.
func invalid(message string, err error) error {
	return fault.Unauthenticated(CodeInvalidCredentials, message, err)
}

func expired(message string) error {
	return fault.Unauthenticated(CodeExpiredCredentials, message, nil)
}

func missing() error {
	return fault.Unauthenticated(CodeMissingCredentials, "Send an API key or a JWT: 'Authorization: Bearer …'.", nil)
}

// unchecked says that the credential may be good, but cannot be checked.
func unchecked(err error) error {
	if f, ok := errors.AsType[*fault.Error](err); ok && f.Kind == fault.KindUnavailable {
		return err
	}
	return fault.Unavailable(err, retryAfter, "Credentials cannot be checked at the moment. Repeat the request.")
}
