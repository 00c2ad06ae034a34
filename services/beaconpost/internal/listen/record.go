package listen

import (
	"net/http"
	"strconv"
	"time"
)

// Record is one request as it was received and answered.
type Record struct {
	Time   time.Time     // of arrival
	Took   time.Duration // until the answer
	Method string
	Path   string // with the query
	Header http.Header
	Body   []byte // as received; nil if it was not read to its end

	Checked   bool // there was a secret to verify with
	Verified  bool
	Duplicate bool   // this webhook-id was answered with 2xx before
	Status    int    // of the answer; 0: none was given
	Error     string // why it was refused or not answered; empty for answers that the options ask for
}

// The headers of a webhook beside those that Standard Webhooks prescribes.
const (
	headerEventType   = "Beaconpost-Event-Type"
	headerDeliveryID  = "Beaconpost-Delivery-Id"
	headerAttempt     = "Beaconpost-Attempt"
	headerTraceparent = "Traceparent"
)

// ID gives the webhook-id, which is the event's id; empty if there is none.
func (r Record) ID() string { return r.Header.Get("Webhook-Id") }

// EventType gives the event type that the sender says; empty if it does not.
func (r Record) EventType() string { return r.Header.Get(headerEventType) }

// Attempt gives the attempt's number, from 1; 0 if the sender does not say.
func (r Record) Attempt() int {
	n, err := strconv.Atoi(r.Header.Get(headerAttempt))
	if err != nil {
		return 0
	}
	return n
}

// Output shows records. A Receiver calls it for one record at a time, before it sends the answer.
type Output interface {
	Show(rec Record) error
}
