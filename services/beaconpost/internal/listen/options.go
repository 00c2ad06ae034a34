package listen

import (
	"errors"
	"fmt"
	"net/http"
	"time"
)

// Options say how a Receiver behaves. The zero value is not valid: Status must be set.
type Options struct {
	Secrets []string // whsec_…; a webhook is verified if one of them signed it. None: nothing is verified.

	Status     int           // answer to what is not refused or failed, 200 to 599
	Fail       int           // how many requests of each webhook-id are failed first
	FailStatus int           // answer to those, 300 to 599
	RetryAfter time.Duration // header on answers other than 2xx that these options ask for; 0: none
	Delay      time.Duration // wait before each answer
	Hang       bool          // never answer; excludes Fail, Delay and Max
	Max        int           // 2xx answers after which the receiver is done and accepts nothing more; 0: no end
}

// Check finds what the options have wrong, all of it at once.
func (o Options) Check() error {
	var errs []error
	report := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	report(o.Status < 200 || o.Status > 599, "--status: expected 200 to 599, got %d", o.Status)
	report(o.Fail > 0 && (o.FailStatus < 300 || o.FailStatus > 599), "--fail-status: expected 300 to 599, got %d", o.FailStatus)
	report(o.Fail < 0, "--fail: expected a count, got %d", o.Fail)
	report(o.Max < 0, "--max: expected a count, got %d", o.Max)
	report(o.Delay < 0, "--delay: expected a duration that is not negative, got %s", o.Delay)
	report(o.RetryAfter < 0, "--retry-after: expected a duration that is not negative, got %s", o.RetryAfter)
	report(o.Hang && (o.Fail > 0 || o.Delay > 0 || o.Max > 0), "--hang: never answers, so it excludes --fail, --delay and --max")
	report(o.Max > 0 && !success(o.Status), "--max: nothing is accepted with --status %d", o.Status)
	_, err := newVerifier(o.Secrets)
	return errors.Join(append(errs, err)...)
}

func success(status int) bool {
	return status >= http.StatusOK && status < http.StatusMultipleChoices
}
