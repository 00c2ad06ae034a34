package check

// Spec says what a monitor looks at and what is expected of it. Which fields a kind takes, Check says.
type Spec struct {
	Kind Kind `json:"kind"`

	// Where.
	URL      string `json:"url,omitempty"`       // http: http or https; websocket: ws or wss
	Host     string `json:"host,omitempty"`      // tcp, tls, icmp, grpc: a name or an address; dns: the name to ask for
	Port     int    `json:"port,omitempty"`      // tcp, tls, grpc; dns: of the server, 53 or 853 unless given
	IPFamily string `json:"ip_family,omitempty"` // "4" or "6"; "": whichever answers

	// HTTP: the request. WebSocket takes headers and auth too.
	Method       string            `json:"method,omitempty"`  // GET unless given
	Headers      map[string]string `json:"headers,omitempty"` // Host replaces the URL's
	Body         string            `json:"body,omitempty"`
	Auth         *Auth             `json:"auth,omitempty"`
	MaxRedirects *int              `json:"max_redirects,omitempty"`  // followed; 10 unless given, 0: a redirect is the answer
	MaxBodyBytes int               `json:"max_body_bytes,omitempty"` // read and looked at; 1 MiB unless given
	HTTPVersion  string            `json:"http_version,omitempty"`   // "1.1" or "2"; "": what the target chooses

	// TLS, for every kind that has it.
	TLS *TLSOptions `json:"tls,omitempty"`

	// TCP and WebSocket: what is said. Expect is a regular expression (RE2) that what comes has to match.
	Send     string `json:"send,omitempty"`
	Expect   string `json:"expect,omitempty"`
	StartTLS string `json:"starttls,omitempty"` // tcp and tls: smtp, imap, pop3 or ftp

	// DNS.
	RecordType string `json:"record_type,omitempty"` // A unless given
	Resolver   string `json:"resolver,omitempty"`    // the server to ask; the prober's own unless given
	Transport  string `json:"transport,omitempty"`   // udp, tcp or tls; udp unless given
	RCode      string `json:"rcode,omitempty"`       // NOERROR unless given
	// Answers are expected among the records, in their presentation form.
	Answers []string `json:"answers,omitempty"`

	// gRPC: the service whose health is asked for; "": the server's.
	Service   string `json:"service,omitempty"`
	Plaintext bool   `json:"plaintext,omitempty"` // grpc without TLS

	// ICMP.
	Packets int `json:"packets,omitempty"`  // sent; 3 unless given
	MaxLoss int `json:"max_loss,omitempty"` // percent

	// What is expected.
	StatusCodes     []string     `json:"status_codes,omitempty"` // "200", "200-299", "2xx"; 2xx unless given
	ExpectHeaders   []Match      `json:"expect_headers,omitempty"`
	ExpectBody      []Match      `json:"expect_body,omitempty"`
	ExpectJSON      []JSONMatch  `json:"expect_json,omitempty"`
	Assert          string       `json:"assert,omitempty"`           // CEL over status, headers, body, json, duration_ms, certificate_days, …
	CertificateDays int          `json:"certificate_days,omitempty"` // a certificate that ends sooner is degraded; 0: not looked at
	Invert          bool         `json:"invert,omitempty"`           // it is up when it cannot be reached or is not as expected
	Period          *Expectation `json:"expected,omitempty"`         // heartbeat
}

// Auth is how an HTTP check authenticates: one of basic and bearer.
type Auth struct {
	Username string `json:"username,omitempty"`
	Password string `json:"password,omitempty"`
	Bearer   string `json:"bearer,omitempty"`
}

// TLSOptions are for a target's certificate.
type TLSOptions struct {
	ServerName         string `json:"server_name,omitempty"`
	InsecureSkipVerify bool   `json:"insecure_skip_verify,omitempty"` // the chain is still kept and its end looked at
	CA                 string `json:"ca,omitempty"`                   // PEM; instead of the system's
	ClientCertificate  string `json:"client_certificate,omitempty"`   // PEM
	ClientKey          string `json:"client_key,omitempty"`           // PEM
}

// Match is a condition on a text. Exactly one of Equals, Contains and Matches is set.
type Match struct {
	Name     string `json:"name,omitempty"` // of the header; for a body it is empty
	Equals   string `json:"equals,omitempty"`
	Contains string `json:"contains,omitempty"`
	Matches  string `json:"matches,omitempty"` // regular expression (RE2)
	Not      bool   `json:"not,omitempty"`
}

// JSONMatch is a condition on a value in a JSON body.
type JSONMatch struct {
	Path   string `json:"path"`             // JSONPath (RFC 9535)
	Equals any    `json:"equals,omitempty"` // absent: the value has to exist
	Not    bool   `json:"not,omitempty"`
}

// Expectation says when a heartbeat's calls are expected: every so often, or by a cron expression. Durations are Go strings.
type Expectation struct {
	Every    string `json:"every,omitempty"`     // "1h"
	Cron     string `json:"cron,omitempty"`      // five fields
	TimeZone string `json:"time_zone,omitempty"` // IANA name, for cron; UTC unless given
	Grace    string `json:"grace,omitempty"`     // "5m" unless given
}
