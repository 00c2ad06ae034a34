// Package fault says what went wrong in terms that a caller can act on.
//
// It owns the error type that crosses package borders, the kinds of faults and the HTTP status of each kind. It does not
// own how a fault is shown (pkg/httpapi writes problem+json), how a broker message reacts to one (the services' stream
// packages) or which codes exist: a package that returns a code declares it.
//
// An error without a fault in its chain is internal: it is logged, and its text is never shown to a caller.
package fault

import (
	"errors"
	"strings"
	"time"
)

// Code is a stable snake_case word that programs may compare, for example "invalid_url". It is part of the API: it may
// be added, never changed.
type Code string

// The codes that this package sets itself.
const (
	CodeInternal    Code = "internal_error"
	CodeUnavailable Code = "unavailable"
)

// Detail is one of several problems found in the same input.
type Detail struct {
	Field   string // dotted path into the input, as in Error.Field
	Message string // safe for the caller
}

// Error is a fault. Code, Message, Field, RetryAfter and Details are shown to the caller; Err is for the operator only.
// A fault is not changed once it was returned.
type Error struct {
	Kind       Kind
	Code       Code
	Message    string
	Field      string        // dotted path at fault, such as "events.3.payload"; "" if none
	RetryAfter time.Duration // when repeating may help; 0 if unknown
	Err        error         // the cause; nil if the caller's input is the cause
	Details    []Detail      // further problems of the same input
}

// Error gives the text for logs: code, message and cause. It is not safe for callers, because it contains Err.
func (e *Error) Error() string {
	parts := make([]string, 0, 3)
	if e.Code != "" {
		parts = append(parts, string(e.Code))
	}
	if e.Message != "" {
		parts = append(parts, e.Message)
	}
	if e.Err != nil {
		parts = append(parts, e.Err.Error())
	}
	return strings.Join(parts, ": ")
}

// Unwrap gives the cause, so that errors.Is and errors.As reach it.
func (e *Error) Unwrap() error { return e.Err }

// From gives the outermost fault in err's chain. An err without one becomes Internal with err as its cause. It returns
// nil for a nil err. Text that was wrapped around the fault is not in the result: log err itself.
func From(err error) *Error {
	if err == nil {
		return nil
	}
	if f, ok := errors.AsType[*Error](err); ok {
		return f
	}
	return Internal(err)
}

// KindOf gives the kind of the outermost fault in err's chain, KindInternal if there is none. Ask it only about errors:
// a nil err is KindInternal too.
func KindOf(err error) Kind {
	if f := From(err); f != nil {
		return f.Kind
	}
	return KindInternal
}

// CodeOf gives the code of the outermost fault in err's chain, CodeInternal if there is none and "" for a nil err.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	return From(err).Code
}
