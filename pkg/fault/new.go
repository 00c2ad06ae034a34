package fault

import "time"

// Internal is a failure of ours with no text for the caller. err must not be nil.
func Internal(err error) *Error {
	return &Error{Kind: KindInternal, Code: CodeInternal, Err: err}
}

// Unavailable is a passing failure of ours, such as a database that does not answer. retryAfter is a hint for the
// caller, 0 for none.
func Unavailable(err error, retryAfter time.Duration, message string) *Error {
	return &Error{Kind: KindUnavailable, Code: CodeUnavailable, Message: message, RetryAfter: retryAfter, Err: err}
}

// Invalid is input that was read but breaks a rule. field is "" if no single field is at fault; details name further
// problems of the same input.
func Invalid(code Code, field, message string, details ...Detail) *Error {
	return &Error{Kind: KindInvalid, Code: code, Field: field, Message: message, Details: details}
}

// Malformed is input that cannot be read. err is the decoder's error for the operator, or nil.
func Malformed(code Code, field, message string, err error) *Error {
	return &Error{Kind: KindMalformed, Code: code, Field: field, Message: message, Err: err}
}

// Unauthenticated is a missing or refused credential. err says to the operator why, or is nil.
func Unauthenticated(code Code, message string, err error) *Error {
	return &Error{Kind: KindUnauthenticated, Code: code, Message: message, Err: err}
}

// Forbidden is something the credential does not allow.
func Forbidden(code Code, message string) *Error {
	return &Error{Kind: KindForbidden, Code: code, Message: message}
}

// NotFound is something that does not exist for this caller.
func NotFound(code Code, message string) *Error {
	return &Error{Kind: KindNotFound, Code: code, Message: message}
}

// Conflict is a request that the present state does not allow.
func Conflict(code Code, message string) *Error {
	return &Error{Kind: KindConflict, Code: code, Message: message}
}

// TooLarge is input over a limit; message names the limit with its unit.
func TooLarge(code Code, field, message string) *Error {
	return &Error{Kind: KindTooLarge, Code: code, Field: field, Message: message}
}

// TooManyRequests is a spent rate or quota; retryAfter is when it is worth trying again.
func TooManyRequests(code Code, retryAfter time.Duration, message string) *Error {
	return &Error{Kind: KindTooManyRequests, Code: code, Message: message, RetryAfter: retryAfter}
}

// UnsupportedMedia is a content type or encoding that is not read here.
func UnsupportedMedia(code Code, message string) *Error {
	return &Error{Kind: KindUnsupportedMedia, Code: code, Message: message}
}
