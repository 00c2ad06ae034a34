// Package check owns what a check is: what is looked at and what is expected of it (Spec), and what one look showed (Result).
//
// It makes no check (package probe does) and draws no conclusion from one (package verdict does). A Spec's JSON form is its definition, the
// same in the API, in files that are applied, and in the database.
package check

import (
	"time"

	"github.com/google/uuid"
)

// Kind says by which protocol a monitor looks.
type Kind string

// The kinds. Heartbeat is the one that is called instead of calling.
const (
	HTTP      Kind = "http"
	TCP       Kind = "tcp"
	UDP       Kind = "udp"
	DNS       Kind = "dns"
	TLS       Kind = "tls"
	ICMP      Kind = "icmp"
	GRPC      Kind = "grpc"
	WebSocket Kind = "websocket"
	Heartbeat Kind = "heartbeat"
)

// Kinds lists them all.
func Kinds() []Kind { return []Kind{HTTP, TCP, UDP, DNS, TLS, ICMP, GRPC, WebSocket, Heartbeat} }

// Outcome is what a check says of its target.
type Outcome string

// The outcomes. NotChecked is our own fault: it says nothing of the target and moves no monitor towards down.
const (
	Up         Outcome = "up"
	Degraded   Outcome = "degraded" // as expected, but slower than degraded_after, or its certificate ends soon
	Down       Outcome = "down"
	NotChecked Outcome = "not_checked"
)

// Cause says why a check is not up. Each belongs to one outcome.
type Cause string

// The causes of Down: the target's fault, as far as the prober can see.
const (
	CauseDNS            Cause = "dns"             // the name was not resolved
	CauseConnect        Cause = "connect"         // refused, or no way there
	CauseTLS            Cause = "tls"             // no handshake, or a certificate that is not accepted
	CauseTimeout        Cause = "timeout"         // not over within the monitor's timeout; the phases say where
	CauseReset          Cause = "reset"           // the connection ended early
	CauseProtocol       Cause = "protocol"        // what came is not the protocol
	CauseRedirects      Cause = "redirects"       // more than max_redirects, or one that may not be followed
	CauseStatus         Cause = "status"          // HTTP status, DNS rcode or gRPC status is not an expected one
	CauseHeader         Cause = "header"          // a header is not as expected
	CauseBody           Cause = "body"            // the body, or what was answered, is not as expected
	CauseAssertion      Cause = "assertion"       // the CEL expression is false, or failed on what came
	CauseCertificate    Cause = "certificate"     // ends sooner than certificate_days
	CauseBlockedAddress Cause = "blocked_address" // the installation does not permit probers to connect there
	CauseInverted       Cause = "inverted"        // it was expected to fail, and did not
	CauseMissed         Cause = "missed"          // a heartbeat did not come in time
	CauseReported       Cause = "reported"        // a heartbeat said that the job failed
)

// The causes of Degraded.
const (
	CauseSlow              Cause = "slow"
	CauseCertificateEnding Cause = "certificate_ending"
)

// The causes of NotChecked: ours.
const (
	CauseEgress   Cause = "egress"   // the prober could not reach its canaries either
	CauseOverload Cause = "overload" // the prober had no room in time
	CauseInternal Cause = "internal" // the prober failed, or the spec cannot be carried out
)

// Phases are the parts of a check's time as blackbox_exporter measures them; those that a kind does not have are 0. With redirects they are sums.
type Phases struct {
	Resolve    time.Duration `json:"resolve,omitempty"`
	Connect    time.Duration `json:"connect,omitempty"`
	TLS        time.Duration `json:"tls,omitempty"`
	Processing time.Duration `json:"processing,omitempty"` // from the request's last byte to the answer's first
	Transfer   time.Duration `json:"transfer,omitempty"`
}

// Certificate is one of a chain, the target's own first.
type Certificate struct {
	Subject   string    `json:"subject"`
	Issuer    string    `json:"issuer"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	DNSNames  []string  `json:"dns_names,omitempty"`
	SHA256    string    `json:"sha256"` // of the DER encoding, in hex
}

// Hop is one request of an HTTP check.
type Hop struct {
	URL    string `json:"url"`
	IP     string `json:"ip,omitempty"`
	Status int    `json:"status,omitempty"`
}

// EvidenceBody is how much of a body is kept.
const EvidenceBody = 8 << 10

// Evidence is what is kept of a check that is not up, so that somebody can see why.
type Evidence struct {
	Hops         []Hop               `json:"hops,omitempty"`
	IPs          []string            `json:"ips,omitempty"` // what the name resolved to
	Certificates []Certificate       `json:"certificates,omitempty"`
	Header       map[string][]string `json:"header,omitempty"`
	Body         string              `json:"body,omitempty"` // the first EvidenceBody bytes, what is not UTF-8 replaced
	Expected     string              `json:"expected,omitempty"`
	Got          string              `json:"got,omitempty"` // for the first condition that was not met
}

// Result is what one check showed.
type Result struct {
	Outcome   Outcome
	Cause     Cause  // "" if up
	Detail    string // one line for people; no internal detail such as an address that the installation does not permit
	StartedAt time.Time
	Duration  time.Duration
	Phases    Phases
	Status    int       // HTTP status, gRPC status or DNS rcode; 0 where there is none
	IP        string    // that was connected to
	CertEnds  time.Time // of the certificate that ends first; zero: none
	Evidence  *Evidence // nil if up

	Traceparent string // W3C trace context of the check; "" if none was made
}

// Slot is a moment at which a monitor has to be checked.
type Slot struct {
	Number int64 // since the epoch, in intervals, at the monitor's phase
	At     time.Time
}

// Job is one check to be made.
type Job struct {
	Monitor  uuid.UUID
	Spec     *Spec
	Version  int64 // of the spec: what was prepared for one serves until it changes
	Timeout  time.Duration
	Degraded time.Duration // an answer that takes longer is degraded; 0: none does
}

// Network says whether a cause may as well be the network of whoever looked.
func (c Cause) Network() bool {
	switch c {
	case CauseDNS, CauseConnect, CauseTLS, CauseTimeout, CauseReset:
		return true
	}
	return false
}
