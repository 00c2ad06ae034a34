package demo

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// maxExcerpt is how much of a body that is no problem+json is shown, in bytes.
const maxExcerpt = 300

// Problem is an answer other than 2xx. Code is empty if the answer is no problem+json, for example a proxy's.
type Problem struct {
	Status int          `json:"-"`
	Code   string       `json:"code"`
	Detail string       `json:"detail"`
	Field  string       `json:"field"`
	Errors []FieldError `json:"errors"`

	// RetryAfter is the wait that the server asked for; negative if it did not.
	RetryAfter time.Duration `json:"-"`
}

// FieldError is one of several problems in the same request.
type FieldError struct {
	Field  string `json:"field"`
	Detail string `json:"detail"`
}

// Error gives "code: field: detail (HTTP 422)", then a line for each of Errors.
func (p *Problem) Error() string {
	var b strings.Builder
	for _, part := range []string{p.Code, p.Field, p.Detail} {
		if part != "" {
			b.WriteString(part + ": ")
		}
	}
	text := strings.TrimSuffix(b.String(), ": ")
	status := strings.TrimSpace(fmt.Sprintf("HTTP %d %s", p.Status, http.StatusText(p.Status)))
	if text == "" {
		text = status
	} else {
		text = fmt.Sprintf("%s (%s)", text, status)
	}
	for _, e := range p.Errors {
		text += "\n  " + strings.TrimPrefix(e.Field+": "+e.Detail, ": ")
	}
	return text
}

func newProblem(resp *http.Response, body []byte) *Problem {
	var p Problem
	if json.Unmarshal(body, &p) != nil || p.Code == "" {
		p = Problem{Detail: excerpt(body)}
		if to := resp.Header.Get("Location"); to != "" {
			p.Detail = "redirects are not followed; it points to " + to
		}
	}
	p.Status = resp.StatusCode
	p.RetryAfter = retryAfter(resp.Header.Get("Retry-After"), time.Now())
	return &p
}

// excerpt gives the start of a body on one line, without what could steer a terminal.
func excerpt(body []byte) string {
	cut := body[:min(len(body), maxExcerpt)]
	text := strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, strings.ToValidUTF8(string(cut), ""))
	text = strings.Join(strings.Fields(text), " ")
	if len(body) > len(cut) {
		text += " …"
	}
	return text
}

// retryAfter reads the header, seconds or a date (RFC 9110, section 10.2.3); -1 if there is none that can be read.
func retryAfter(header string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(header, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(header); err == nil {
		return max(0, at.Sub(now))
	}
	return -1
}
