// Package delivery owns what happens to a delivery: which message may start an attempt, what an attempt's result means, and the
// engine that carries deliveries from the broker through the sender to the record.
//
// It knows no broker, no SQL and no HTTP client; those are behind Ticket, Store and Sender.
package delivery

import (
	"time"

	"github.com/google/uuid"

	"github.com/beaconpost/beaconpost/pkg/backoff"
	"github.com/beaconpost/beaconpost/pkg/signature"
	"github.com/beaconpost/beaconpost/pkg/tenant"
)

// Status is a delivery's place in the state machine of docs/architecture.md.
type Status string

// The statuses; all but Pending are final.
const (
	Pending   Status = "pending"
	Delivered Status = "delivered"
	Exhausted Status = "exhausted"
	Cancelled Status = "cancelled"
)

// Ref names a delivery.
type Ref struct {
	Tenant tenant.ID
	ID     uuid.UUID
}

// Delivery is one event for one endpoint, as it is read back.
type Delivery struct {
	ID            uuid.UUID
	EventID       uuid.UUID
	EndpointID    uuid.UUID
	EventType     string
	Status        Status
	Attempts      int
	NextAttemptAt time.Time // zero: none is planned (final, or parked)
	Parked        bool
	CompletedAt   time.Time
	LastStatus    int
	LastError     string
	CancelReason  string
}

// Request asks for an attempt; a message says so.
type Request struct {
	Ref
	Attempt     int
	Due         time.Time
	MustClaim   bool
	Traceparent string

	// Held is the end of a claim that whoever asks has made for this attempt: it is made whatever the endpoint's breaker says. It is in no message.
	Held time.Time
	// Waited says that it was parked until its endpoint could take it: that it is late is not our doing. It is in no message either.
	Waited bool
}

// Target is where and how a delivery is sent. It is read-only once made.
type Target struct {
	EndpointID uuid.UUID
	Version    int64
	URL        string
	Secrets    []Secret
	Timeout    time.Duration // of one attempt, body included
	Retry      backoff.Policy
	Disabled   bool
	Open       bool // the breaker: deliveries are parked
	Deleted    bool
	Header     []Field
	Svix       bool // the signature's fields are sent with these names too
	SvixOnly   bool // and with no others
	Rate       Rate
	Unsignable bool // a secret could not be opened: our fault, so nothing is attempted and nothing counted
}

// Rate limits the attempts at an endpoint, over all replicas. The zero Rate does not.
type Rate struct {
	PerSecond float64
	Burst     int
}

// Field is a line of the request's header that the endpoint asked for.
type Field struct{ Name, Value string }

// Secret is a signing secret that is used until ExpiresAt (zero: no end).
type Secret struct {
	Value     signature.Secret
	ExpiresAt time.Time
}

// SecretsAt gives the secrets to sign with at a time.
func (t *Target) SecretsAt(at time.Time) []signature.Secret {
	secrets := make([]signature.Secret, 0, len(t.Secrets))
	for _, s := range t.Secrets {
		if s.ExpiresAt.IsZero() || s.ExpiresAt.After(at) {
			secrets = append(secrets, s.Value)
		}
	}
	return secrets
}

// Job is an attempt that may be made now.
type Job struct {
	Ref
	Attempt     int
	EventID     uuid.UUID
	EventType   string
	Payload     []byte
	Target      *Target
	Traceparent string

	ClaimedUntil time.Time     // zero: it was not claimed
	Late         time.Duration // for how long it had been due when it was looked up
	Waited       bool          // for its endpoint, see Request
}

// Attempt is one HTTP exchange, finished or failed.
type Attempt struct {
	ID         uuid.UUID // UUIDv7
	Number     int
	StartedAt  time.Time
	Duration   time.Duration
	StatusCode int        // 0: no answer
	Class      ErrorClass // "": the answer was read
	Detail     string     // safe to show to the tenant
	Excerpt    []byte     // the start of the answer's body
	Truncated  bool
	TraceID    string
	SpanID     string
	Sampled    bool      // the trace is exported
	NotBefore  time.Time // what the endpoint asked for by Retry-After; zero: nothing
}

// ErrorClass says in which way an attempt failed without an answer that counts.
type ErrorClass string

// The classes. They are labels of metrics and part of the API.
const (
	ClassDNS            ErrorClass = "dns"             // the name was not resolved, for whatever reason
	ClassConnect        ErrorClass = "connect"         // refused, or no way there
	ClassConnectTimeout ErrorClass = "timeout_connect" // no connection in time
	ClassTLS            ErrorClass = "tls"             // a certificate or protocol that was not accepted
	ClassTLSTimeout     ErrorClass = "timeout_tls"     // the handshake did not end in time
	ClassSendTimeout    ErrorClass = "timeout_send"    // the request was not taken in time
	ClassHeaderTimeout  ErrorClass = "timeout_header"  // the answer did not begin, or its header did not end, in time
	ClassBodyTimeout    ErrorClass = "timeout_body"    // the answer's body did not end in time
	ClassReset          ErrorClass = "reset"           // the connection ended before the answer did
	ClassProtocol       ErrorClass = "protocol"        // the answer is no HTTP/1.1
	ClassOversize       ErrorClass = "oversize"        // the answer's header is too large
	ClassBlocked        ErrorClass = "blocked_address" // an address, or http, that the installation does not permit
	ClassInvalidURL     ErrorClass = "invalid_url"     // no request can be made from the URL
)

// Classes lists all classes.
func Classes() []ErrorClass {
	return []ErrorClass{
		ClassDNS, ClassConnect, ClassConnectTimeout, ClassTLS, ClassTLSTimeout, ClassSendTimeout, ClassHeaderTimeout, ClassBodyTimeout,
		ClassReset, ClassProtocol, ClassOversize, ClassBlocked, ClassInvalidURL,
	}
}

// Succeeded says whether the endpoint took the webhook: a 2xx whose body ended or reached our limit.
func (a *Attempt) Succeeded() bool {
	return a.Class == "" && a.StatusCode >= 200 && a.StatusCode < 300
}

// Outcome is what a delivery becomes by an attempt.
type Outcome struct {
	Status Status
	Next   time.Time // of a pending delivery
}

// Decide says what an attempt's result means. rnd gives numbers in [0, 1) for the jitter.
//
//	2xx, body read or cut at the limit      delivered
//	anything else, attempts left            pending: retried after the policy's delay, and not before what Retry-After asks for
//	anything else, none left, or too late   exhausted: a retry would start beyond the policy's age, counted from created
//
// Anything else is every other status, redirects among them, and every ErrorClass, whatever the status.
func Decide(a *Attempt, policy backoff.Policy, created, now time.Time, rnd func() float64) Outcome {
	if a.Succeeded() {
		return Outcome{Status: Delivered}
	}
	if policy.Spent(a.Number) {
		return Outcome{Status: Exhausted}
	}
	// Postgres keeps microseconds, and the retry's message must say the same as the row.
	next := now.Add(policy.Delay(a.Number, rnd)).UTC().Truncate(time.Microsecond)
	if next.Before(a.NotBefore) {
		next = a.NotBefore.Add(time.Microsecond - 1).UTC().Truncate(time.Microsecond)
	}
	if policy.TooOld(next.Sub(created)) {
		return Outcome{Status: Exhausted}
	}
	return Outcome{Status: Pending, Next: next}
}
