package fault

import "net/http"

// Kind says who is at fault and whether repeating can help. Its zero value is KindInternal.
type Kind int

// The kinds. Internal and Unavailable are ours; every other kind is the caller's.
const (
	KindInternal         Kind = iota // a defect or an unexpected failure of ours
	KindInvalid                      // well-formed input that breaks a rule
	KindMalformed                    // input that cannot be read at all
	KindUnauthenticated              // no credential, or one that is not accepted
	KindForbidden                    // an accepted credential that may not do this
	KindNotFound                     // nothing there, or nothing the caller may know of
	KindConflict                     // right in itself, wrong in the present state
	KindTooLarge                     // more bytes or items than the limit
	KindTooManyRequests              // the caller's rate or quota is spent; see RetryAfter
	KindUnavailable                  // we cannot serve this now; repeating helps, see RetryAfter
	KindUnsupportedMedia             // a content type or encoding that is not read here
	KindMethodNotAllowed             // a path that does not take the method
)

// Status gives the HTTP status of the kind. An unknown kind is 500.
func (k Kind) Status() int {
	status, _ := k.describe()
	return status
}

// String gives a stable snake_case word, fit for a metric label.
func (k Kind) String() string {
	_, name := k.describe()
	return name
}

// CallerFault reports whether the caller has to change something, that is, whether the status is 4xx.
func (k Kind) CallerFault() bool { return k.Status() < http.StatusInternalServerError }

func (k Kind) describe() (status int, name string) {
	switch k {
	case KindInvalid:
		return http.StatusUnprocessableEntity, "invalid"
	case KindMalformed:
		return http.StatusBadRequest, "malformed"
	case KindUnauthenticated:
		return http.StatusUnauthorized, "unauthenticated"
	case KindForbidden:
		return http.StatusForbidden, "forbidden"
	case KindNotFound:
		return http.StatusNotFound, "not_found"
	case KindConflict:
		return http.StatusConflict, "conflict"
	case KindTooLarge:
		return http.StatusRequestEntityTooLarge, "too_large"
	case KindTooManyRequests:
		return http.StatusTooManyRequests, "too_many_requests"
	case KindUnavailable:
		return http.StatusServiceUnavailable, "unavailable"
	case KindUnsupportedMedia:
		return http.StatusUnsupportedMediaType, "unsupported_media"
	case KindMethodNotAllowed:
		return http.StatusMethodNotAllowed, "method_not_allowed"
	case KindInternal:
		return http.StatusInternalServerError, "internal"
	}
	return http.StatusInternalServerError, "internal"
}
