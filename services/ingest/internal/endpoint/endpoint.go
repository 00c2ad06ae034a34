// Package endpoint owns what an endpoint is: a URL that receives webhooks, its filter, its retry policy, its secrets, and which
// changes of it are acceptable. Storage is behind the Store of the HTTP layer; attempts belong to the delivery service.
package endpoint

import (
	"crypto/ed25519"
	"net/url"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/beaconpost/beaconpost/pkg/backoff"
	"github.com/beaconpost/beaconpost/pkg/fault"
	"github.com/beaconpost/beaconpost/pkg/signature"
)

// Status says whether an endpoint takes part.
type Status string

// The two statuses. What a change means for deliveries is in docs/architecture.md.
const (
	Enabled  Status = "enabled"
	Disabled Status = "disabled"
)

// Endpoint is a URL that receives a tenant's webhooks.
type Endpoint struct {
	ID          uuid.UUID
	ProjectID   *uuid.UUID
	URL         string
	Description string
	Filter      Filter
	Status      Status
	Timeout     time.Duration  // of one attempt, body included; 0: the installation's
	Retry       backoff.Policy // zero fields: the installation's
	Headers     map[string]string
	Signature   SignatureHeaders
	Rate        Rate
	Disabled    Disabling
	Health      Health
	CreatedAt   time.Time
	UpdatedAt   time.Time
}

// SignatureHeaders says by which names the signature's fields are sent.
type SignatureHeaders string

// The names: webhook-*, those of Svix for receivers that come from there, or both.
const (
	Standard SignatureHeaders = "standard"
	Svix     SignatureHeaders = "svix"
	Both     SignatureHeaders = "both"
)

// Rate limits the attempts at an endpoint. The zero Rate does not.
type Rate struct {
	PerSecond float64
	Burst     int // attempts that may be made at once after a pause
}

// Disabling says since when and why an endpoint is disabled; zero: it is not.
type Disabling struct {
	At     time.Time
	Reason string // requested, gone or failing
}

// Health is what delivery found out about an endpoint. The zero Health is that of one that does well.
type Health struct {
	Breaker      string // closed, open or draining
	Reason       string // why it is not closed
	Since        time.Time
	Failures     int // since the last success
	FailingSince time.Time
	LastFailedAt time.Time
	LastStatus   int
	LastClass    string
	Probes       int
	NextProbeAt  time.Time
	DrainRate    int // deliveries per second
	Recovering   bool
	Recovered    int64
	Parked       int // deliveries, counted up to ParkedMost; only where one endpoint is read
}

// ParkedMost is how far parked deliveries are counted.
const ParkedMost = 10000

// Route is the part of an endpoint that routing reads.
type Route struct {
	ID        uuid.UUID
	ProjectID *uuid.UUID
	Filter    Filter
	Parked    bool // its deliveries wait: it is disabled, or its breaker is not closed
}

// Secret is a signing secret of an endpoint. Until ExpiresAt (zero: it is the current one) its signature is sent too.
type Secret struct {
	ID        uuid.UUID
	Value     signature.Secret
	CreatedAt time.Time
	ExpiresAt time.Time
}

// PublicKey verifies what the private key of a secret signed.
type PublicKey struct {
	ID  uuid.UUID // of the secret
	Key ed25519.PublicKey
}

// Limits are the installation's bounds on endpoints.
type Limits struct {
	MaxTimeout time.Duration
	// CheckURL refuses URLs that the installation would not dial.
	CheckURL func(*url.URL) error
}

const (
	maxURL         = 2048
	maxDescription = 1000
	maxPatterns    = 100
	minTimeout     = 100 * time.Millisecond
	minRate        = 0.01
	maxRate        = 100000
)

// Check says whether e can be stored. All problems come in one fault.
func (e Endpoint) Check(limits Limits) error {
	var details []fault.Detail
	add := func(field, message string) { details = append(details, fault.Detail{Field: field, Message: message}) }
	if message := checkURL(e.URL, limits.CheckURL); message != "" {
		add("url", message)
	}
	if len(e.Description) > maxDescription {
		add("description", "Expected at most 1000 bytes.")
	}
	if strings.ContainsRune(e.Description, 0) { // Postgres cannot store it
		add("description", "Expected no NUL characters.")
	}
	if message := e.Filter.check(); message != "" {
		add("event_types", message)
	}
	if e.Status != Enabled && e.Status != Disabled {
		add("status", "Expected enabled or disabled.")
	}
	if e.Timeout != 0 && (e.Timeout < minTimeout || e.Timeout > limits.MaxTimeout) {
		add("timeout", "Expected a duration from "+minTimeout.String()+" to "+limits.MaxTimeout.String()+".")
	}
	for _, d := range checkHeaders(e.Headers) {
		add(d.Field, d.Message)
	}
	if e.Signature != Standard && e.Signature != Svix && e.Signature != Both {
		add("signature_headers", "Expected standard, svix or both.")
	}
	if r := e.Rate; r != (Rate{}) && (r.PerSecond < minRate || r.PerSecond > maxRate || r.Burst < 1 || r.Burst > maxRate) {
		add("rate_limit", "Expected 0.01 to 100000 per second, and a burst of 1 to 100000.")
	}
	if err := e.Retry.Validate(); err != nil {
		add("retry", err.Error())
	}
	if len(details) == 0 {
		return nil
	}
	err := fault.Invalid("invalid_endpoint", details[0].Field, details[0].Message)
	if len(details) > 1 {
		err.Details = details
	}
	return err
}

func checkURL(raw string, allowed func(*url.URL) error) string {
	if len(raw) > maxURL {
		return "Expected at most 2048 characters."
	}
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "Expected an absolute http or https URL such as https://example.com/webhooks."
	}
	if u.Fragment != "" || strings.HasSuffix(raw, "#") {
		return "Expected a URL without a fragment: it would never be sent."
	}
	if allowed != nil {
		if err := allowed(u); err != nil {
			return err.Error()
		}
	}
	return ""
}
