// Package httpapi owns what the HTTP surfaces of all services have in common: routing with generated OpenAPI, problem+json errors,
// authentication and scopes at the door, request metrics, logs and spans, cursors, and the admin port.
//
// It knows no route of any service and no storage.
package httpapi

import (
	"encoding/json"
	"math"
	"net/http"
	"strconv"

	"github.com/beaconpost/beaconpost/pkg/fault"
)

// Problem is the body of every error (RFC 9457, application/problem+json).
type Problem struct {
	Type   string       `json:"type" doc:"Always about:blank; code tells errors apart."`
	Title  string       `json:"title" doc:"The HTTP status in words."`
	Status int          `json:"status" doc:"The HTTP status code."`
	Code   string       `json:"code" doc:"Stable snake_case word for this error; programs compare it."`
	Detail string       `json:"detail,omitempty" doc:"What is wrong and what was expected."`
	Field  string       `json:"field,omitempty" doc:"Dotted path of the field at fault."`
	Errors []FieldError `json:"errors,omitempty" doc:"All problems found, if there are several."`

	retryAfter int // seconds, 0: no header
}

// FieldError is one of several problems in the same input.
type FieldError struct {
	Field  string `json:"field" doc:"Dotted path of the field at fault."`
	Detail string `json:"detail" doc:"What is wrong and what was expected."`
}

// newProblem shows what a caller may see of err. Errors without a fault become a 500 without details.
func newProblem(err error) *Problem {
	f := fault.From(err)
	status := f.Kind.Status()
	p := &Problem{
		Type: "about:blank", Title: http.StatusText(status), Status: status,
		Code: string(f.Code), Detail: f.Message, Field: f.Field,
	}
	for _, d := range f.Details {
		p.Errors = append(p.Errors, FieldError{Field: d.Field, Detail: d.Message})
	}
	if f.RetryAfter > 0 {
		p.retryAfter = int(math.Ceil(f.RetryAfter.Seconds()))
	} else if status >= http.StatusInternalServerError {
		p.retryAfter = 1
	}
	if status == http.StatusInternalServerError && p.Detail == "" {
		p.Detail = "The server met an unexpected error. It was logged; repeating the request may help."
	}
	return p
}

// Error makes a Problem usable as an error inside the framework.
func (p *Problem) Error() string { return p.Code + ": " + p.Detail }

// GetStatus gives the HTTP status.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType names the media type of problems.
func (p *Problem) ContentType(string) string { return "application/problem+json" }

// GetHeaders gives the headers that belong to the problem.
func (p *Problem) GetHeaders() http.Header {
	h := http.Header{}
	if p.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(p.retryAfter))
	}
	if p.Status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="beaconpost"`) // RFC 6750, section 3
	}
	return h
}

// WriteError answers with err as problem+json and leaves err for the request's log line.
func WriteError(w http.ResponseWriter, r *http.Request, err error) {
	noteError(r.Context(), err)
	p := newProblem(err)
	for k, v := range p.GetHeaders() {
		w.Header()[k] = v
	}
	w.Header().Set("Content-Type", p.ContentType(""))
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // the caller is gone: nobody to tell
}
