package fault_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/fault"
)

func TestConstructors(t *testing.T) {
	t.Parallel()
	cause := io.ErrUnexpectedEOF
	tests := []struct {
		fault  *fault.Error
		status int
		kind   string
		text   string
	}{
		{fault.Internal(cause), http.StatusInternalServerError, "internal", "internal_error: unexpected EOF"},
		{fault.Unavailable(cause, time.Second, "try again"), http.StatusServiceUnavailable, "unavailable", "unavailable: try again: unexpected EOF"},
		{fault.Invalid("invalid_url", "url", "must be https"), http.StatusUnprocessableEntity, "invalid", "invalid_url: must be https"},
		{fault.Malformed("malformed_json", "", "not JSON", cause), http.StatusBadRequest, "malformed", "malformed_json: not JSON: unexpected EOF"},
		{fault.Unauthenticated("invalid_credentials", "no", nil), http.StatusUnauthorized, "unauthenticated", "invalid_credentials: no"},
		{fault.Forbidden("insufficient_scope", "no"), http.StatusForbidden, "forbidden", "insufficient_scope: no"},
		{fault.NotFound("endpoint_not_found", "no"), http.StatusNotFound, "not_found", "endpoint_not_found: no"},
		{fault.Conflict("endpoint_disabled", "no"), http.StatusConflict, "conflict", "endpoint_disabled: no"},
		{fault.TooLarge("payload_too_large", "payload", "256 KiB"), http.StatusRequestEntityTooLarge, "too_large", "payload_too_large: 256 KiB"},
		{fault.TooManyRequests("rate_limited", time.Second, "no"), http.StatusTooManyRequests, "too_many_requests", "rate_limited: no"},
		{fault.UnsupportedMedia("unsupported_media", "no"), http.StatusUnsupportedMediaType, "unsupported_media", "unsupported_media: no"},
	}
	for _, tt := range tests {
		t.Run(tt.kind, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, tt.status, tt.fault.Kind.Status())
			require.Equal(t, tt.kind, tt.fault.Kind.String())
			require.Equal(t, tt.status < 500, tt.fault.Kind.CallerFault())
			require.EqualError(t, tt.fault, tt.text)
			require.Equal(t, tt.fault.Err, errors.Unwrap(tt.fault))
		})
	}
}

func TestFromFindsTheOutermostFault(t *testing.T) {
	t.Parallel()
	inner := fault.NotFound("endpoint_not_found", "no such endpoint")
	outer := &fault.Error{Kind: fault.KindConflict, Code: "endpoint_gone", Err: inner}
	wrapped := fmt.Errorf("load endpoint: %w", outer)

	require.Same(t, outer, fault.From(wrapped))
	require.Equal(t, fault.KindConflict, fault.KindOf(wrapped))
	require.Equal(t, fault.Code("endpoint_gone"), fault.CodeOf(wrapped))
}

func TestFromHidesUnknownErrors(t *testing.T) {
	t.Parallel()
	err := errors.New("password authentication failed for user admin")
	f := fault.From(err)

	require.Equal(t, fault.KindInternal, f.Kind)
	require.Empty(t, f.Message)
	require.Empty(t, f.Details)
	require.ErrorIs(t, f, err)
}

func TestNilIsNoFault(t *testing.T) {
	t.Parallel()
	require.Nil(t, fault.From(nil))
	require.Empty(t, fault.CodeOf(nil))
}

func TestUnknownKindIsInternal(t *testing.T) {
	t.Parallel()
	require.Equal(t, http.StatusInternalServerError, fault.Kind(-1).Status())
	require.Equal(t, "internal", fault.Kind(99).String())
}

func ExampleFrom() {
	err := fmt.Errorf("create endpoint: %w", fault.Invalid("invalid_url", "url", "the URL must be https"))

	f := fault.From(err)
	fmt.Println(f.Kind.Status(), f.Code, f.Field, f.Message)
	// Output: 422 invalid_url url the URL must be https
}
