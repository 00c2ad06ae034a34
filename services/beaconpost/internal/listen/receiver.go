package listen

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"
)

// maxBody is the largest body that is accepted, in bytes.
const maxBody = 1 << 20

// Receiver is an http.Handler that receives webhooks: it verifies, shows and answers each as its options say. A request that is wrong
// in itself (method, body, signature) is refused at once and does not count for Fail, Max and duplicates.
//
//	request ─▶ check ─ refused ────────────────▶ show ─▶ 4xx
//	             └─▶ hold ─ client gone, stop ─▶ show ─▶ connection closed
//	                   └─▶ decide ─────────────▶ show ─▶ Fail, Status
//
// What was shown is answered and what was answered was shown: if showing fails, the answer is 500 and nothing counts.
type Receiver struct {
	options  Options
	verifier verifier
	out      Output
	done     chan struct{}

	mu       sync.Mutex
	history  map[string]history // by webhook-id; requests without one share ""
	accepted int
	last     time.Time // when the last one was accepted
}

type history struct {
	failed   int
	accepted bool
}

// NewReceiver makes a receiver. Its error is that of o.Check.
func NewReceiver(o Options, out Output) (*Receiver, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	v, err := newVerifier(o.Secrets)
	if err != nil {
		return nil, err
	}
	return &Receiver{options: o, verifier: v, out: out, done: make(chan struct{}), history: map[string]history{}}, nil
}

// Done is closed when Max requests were accepted. The last answer may not have been sent yet.
func (r *Receiver) Done() <-chan struct{} { return r.done }

// LastAccepted gives when the last request was accepted; the zero time if none was.
func (r *Receiver) LastAccepted() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last
}

// ServeHTTP receives one request. With Delay or Hang it ends early when the request's context does.
func (r *Receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	rec := Record{Time: time.Now(), Method: req.Method, Path: req.URL.RequestURI(), Header: req.Header.Clone()}
	a := r.check(w, req, &rec)
	if a.status == 0 {
		rec.Error = r.hold(req.Context())
	}
	a = r.settle(&rec, a)
	if a.status == 0 {
		panic(http.ErrAbortHandler) // the documented way to close the connection without an answer
	}
	a.write(w)
}

// check reads and verifies. The answer's status is 0 unless the request is refused.
func (r *Receiver) check(w http.ResponseWriter, req *http.Request, rec *Record) answer {
	if req.Method != http.MethodPost {
		return refuse(http.StatusMethodNotAllowed, rec, "webhooks are POST requests")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxBody))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return refuse(http.StatusRequestEntityTooLarge, rec, "the body is larger than 1MiB")
	}
	if err != nil {
		return refuse(http.StatusBadRequest, rec, "the body broke off: "+err.Error())
	}
	rec.Body = body
	if rec.Checked = len(r.verifier) > 0; !rec.Checked {
		return answer{}
	}
	if err := r.verifier.verify(req.Header, body); err != nil {
		return refuse(http.StatusUnauthorized, rec, err.Error())
	}
	rec.Verified = true
	return answer{}
}

// hold waits as the options say. It gives why the request cannot be answered any more, or "".
func (r *Receiver) hold(ctx context.Context) string {
	var wake <-chan time.Time // nil: never
	if !r.options.Hang {
		if r.options.Delay == 0 {
			return ""
		}
		timer := time.NewTimer(r.options.Delay)
		defer timer.Stop()
		wake = timer.C
	}
	select {
	case <-wake:
		return ""
	case <-ctx.Done():
		if errors.Is(context.Cause(ctx), errStopping) {
			return "not answered: stopped while waiting"
		}
		return "not answered: the client went away"
	}
}

// settle decides the answer unless a is one or the request cannot be answered, shows the record, and counts.
func (r *Receiver) settle(rec *Record, a answer) answer {
	r.mu.Lock()
	defer r.mu.Unlock()
	past := r.history[rec.ID()]
	rec.Duplicate = past.accepted && rec.ID() != ""
	if rec.Error == "" {
		a, past = r.decide(rec, past)
	}
	rec.Status, rec.Took = a.status, time.Since(rec.Time)
	if err := r.out.Show(*rec); err != nil {
		return answer{status: http.StatusInternalServerError, text: "cannot show the request: " + err.Error()}
	}
	if rec.Error != "" {
		return a
	}
	r.history[rec.ID()] = past
	if success(a.status) {
		r.last = time.Now()
		if r.accepted++; r.accepted == r.options.Max {
			close(r.done)
		}
	}
	return a
}

// decide gives the answer and what the history of the webhook-id will be.
func (r *Receiver) decide(rec *Record, past history) (answer, history) {
	o := r.options
	if o.Max > 0 && r.accepted >= o.Max {
		return refuse(http.StatusServiceUnavailable, rec, "--max requests were accepted already"), past
	}
	if past.failed < o.Fail {
		past.failed++
		return answer{status: o.FailStatus, text: "failed on purpose", retryAfter: o.RetryAfter}, past
	}
	past.accepted = past.accepted || success(o.Status)
	return answer{status: o.Status, text: http.StatusText(o.Status), retryAfter: o.RetryAfter}, past
}
