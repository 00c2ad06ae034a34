package check

// Spec says what a monitor looks at and what is expected of it. Which fields a kind takes, Check says.
type Spec struct {
	Kind Kind `json:"kind" enum:"http,tcp,udp,dns,tls,icmp,grpc,websocket,heartbeat" doc:"By which protocol it looks, or heartbeat, which is called instead. It cannot be changed."`

	// Where.
	URL      string `json:"url,omitempty" doc:"http: an http or https URL. websocket: ws or wss."`                                                                                                       // http: http or https; websocket: ws or wss
	Host     string `json:"host,omitempty" doc:"tcp, udp, tls, icmp, grpc: a name or an address. dns: the name to ask for."`                                                                             // tcp, udp, tls, icmp, grpc: a name or an address; dns: the name to ask for
	Port     int    `json:"port,omitempty" doc:"tcp, udp, tls, grpc. dns: of the resolver, 53 (853 for tls) unless given."`                                                                              // tcp, udp, tls, grpc; dns: of the server, 53 or 853 unless given
	Resolver string `json:"resolver,omitempty" doc:"Who is asked for names: an address, with a port unless that is 53. dns: who is asked, a name or an address without port. Absent: the prober's own."` // dns: a name or an address without port; else an address, port 53 unless given
	IPFamily string `json:"ip_family,omitempty" enum:"4,6" doc:"Absent: whichever answers."`                                                                                                             // "4" or "6"; "": whichever answers

	// HTTP: the request. WebSocket takes headers and auth too.
	Method       string            `json:"method,omitempty" doc:"http: GET unless given."`                                                                                                                                        // GET unless given
	Headers      map[string]string `json:"headers,omitempty" doc:"http, websocket. Host replaces the URL's. Values whose names say that they are secret are shown as ***, which stands for what is stored when it is sent back."` // Host replaces the URL's
	Body         string            `json:"body,omitempty" doc:"http: of the request."`
	Auth         *Auth             `json:"auth,omitempty" doc:"http, websocket: basic (username and password), bearer or oauth2. Shown as ***, which stands for what is stored when it is sent back."`
	Proxy        string            `json:"proxy,omitempty" doc:"http, websocket: http://user:password@host:port or socks5://…, through which everything is asked for, if the installation permits proxies. The password is shown as ***, which stands for what is stored when it is sent back."` // http or socks5, with a port
	CacheToken   bool              `json:"cache_token,omitempty" doc:"http: a random parameter _bp is added to the URL of each check, so that no cache answers."`                                                                                                                                // adds _bp=<16 hex digits> to the URL, not to those of redirects
	MaxRedirects *int              `json:"max_redirects,omitempty" doc:"http: how many are followed, 10 unless given. 0: a redirect is the answer."`                                                                                                                                             // followed; 10 unless given, 0: a redirect is the answer
	MaxBodyBytes int               `json:"max_body_bytes,omitempty" doc:"http: how much of the answer is read and looked at, 1 MiB unless given."`                                                                                                                                               // read and looked at; 1 MiB unless given
	HTTPVersion  string            `json:"http_version,omitempty" enum:"1.1,2,3" doc:"http. Absent: 1.1 or 2, as the target chooses."`                                                                                                                                                           // "1.1", "2" or "3"; "": 1.1 or 2, as the target chooses

	// TLS, for every kind that has it. For tcp, its presence means TLS from the start.
	TLS *TLSOptions `json:"tls,omitempty" doc:"For every kind that speaks TLS."`

	// TCP, UDP and WebSocket: what is said. Expect is a regular expression (RE2) that what comes has to match.
	Send     string `json:"send,omitempty" doc:"tcp, websocket: what is said. udp: the datagram, at most 1,200 bytes."`
	Expect   string `json:"expect,omitempty" doc:"tcp, udp, websocket: a regular expression (RE2) that what comes has to match."`
	StartTLS string `json:"starttls,omitempty" enum:"smtp,imap,pop3,ftp" doc:"tcp, tls: the protocol in which TLS is asked for."` // tcp and tls: smtp, imap, pop3 or ftp

	// DNS.
	RecordType string `json:"record_type,omitempty" doc:"dns: A unless given."`                          // A unless given
	Transport  string `json:"transport,omitempty" enum:"udp,tcp,tls" doc:"dns: udp unless given."`       // udp, tcp or tls; udp unless given
	RCode      string `json:"rcode,omitempty" doc:"dns: NOERROR with at least one record unless given."` // NOERROR, with at least one record, unless given
	// Answers are expected among the records, in their presentation form.
	Answers []string `json:"answers,omitempty" doc:"dns: expected among the records, in their presentation form."`

	// gRPC: the service whose health is asked for; "": the server's.
	Service   string `json:"service,omitempty" doc:"grpc: whose health is asked for. Absent: the server's."`
	Plaintext bool   `json:"plaintext,omitempty" doc:"grpc: without TLS."` // grpc without TLS

	// ICMP.
	Packets int `json:"packets,omitempty" doc:"icmp: how many are sent, 3 unless given."` // sent; 3 unless given
	MaxLoss int `json:"max_loss,omitempty" doc:"icmp: how many may be lost, in percent."` // percent

	// What is expected.
	StatusCodes     []string     `json:"status_codes,omitempty" doc:"http: expected statuses such as 200, 200-299 or 2xx; 2xx unless given."` // "200", "200-299", "2xx"; 2xx unless given
	ExpectHeaders   []Match      `json:"expect_headers,omitempty" doc:"http."`
	ExpectBody      []Match      `json:"expect_body,omitempty" doc:"http."`
	ExpectJSON      []JSONMatch  `json:"expect_json,omitempty" doc:"http: conditions on the body as JSON."`
	Assert          string       `json:"assert,omitempty" doc:"A CEL expression over status, headers, body, json, duration_ms, certificate_days and more that has to be true."` // CEL over status, headers, body, json, duration_ms, certificate_days, …
	CertificateDays int          `json:"certificate_days,omitempty" doc:"A certificate that ends within so many days makes it degraded. Absent: not looked at."`                // a certificate that ends sooner is degraded; 0: not looked at
	Invert          bool         `json:"invert,omitempty" doc:"It is up when it cannot be reached, or is not as expected."`                                                     // it is up when it cannot be reached or is not as expected
	Period          *Expectation `json:"expected,omitempty" doc:"heartbeat: when its calls are expected."`                                                                      // heartbeat
}

// Auth is how an HTTP check authenticates: one of basic, bearer and OAuth 2.0.
type Auth struct {
	Username string  `json:"username,omitempty" doc:"Of basic authentication."`
	Password string  `json:"password,omitempty" doc:"Of basic authentication."`
	Bearer   string  `json:"bearer,omitempty" doc:"A bearer token."`
	OAuth2   *OAuth2 `json:"oauth2,omitempty" doc:"A bearer token that is fetched with client credentials, and kept until shortly before it expires."`
}

// OAuth2 says where a token is fetched with client credentials (RFC 6749, 4.4).
type OAuth2 struct {
	TokenURL     string   `json:"token_url" doc:"Of the token endpoint, http or https."`
	ClientID     string   `json:"client_id" doc:"Sent to the token endpoint by basic authentication."`
	ClientSecret string   `json:"client_secret" doc:"Sent to the token endpoint by basic authentication. Shown as ***, which stands for what is stored when it is sent back."`
	Scopes       []string `json:"scopes,omitempty" doc:"That are asked for, at most 50."`
	Audience     string   `json:"audience,omitempty" doc:"Sent as audience, which some servers want."` // no standard has it, many servers do
}

// TLSOptions are for a target's certificate.
type TLSOptions struct {
	ServerName         string `json:"server_name,omitempty" doc:"That the certificate has to be for, and that is asked for; the target's unless given."`
	InsecureSkipVerify bool   `json:"insecure_skip_verify,omitempty" doc:"Any certificate is accepted. Its end is still looked at."`       // the chain is still kept and its end looked at
	CA                 string `json:"ca,omitempty" doc:"PEM: authorities instead of the system's."`                                        // PEM; instead of the system's
	ClientCertificate  string `json:"client_certificate,omitempty" doc:"PEM."`                                                             // PEM
	ClientKey          string `json:"client_key,omitempty" doc:"PEM. Shown as ***, which stands for what is stored when it is sent back."` // PEM
}

// Match is a condition on a text. Exactly one of Equals, Contains and Matches is set.
type Match struct {
	Name     string `json:"name,omitempty" doc:"Of the header; absent for a body."` // of the header; for a body it is empty
	Equals   string `json:"equals,omitempty" doc:"The whole text."`
	Contains string `json:"contains,omitempty" doc:"A part of the text."`
	Matches  string `json:"matches,omitempty" doc:"A regular expression (RE2)."` // regular expression (RE2)
	Not      bool   `json:"not,omitempty" doc:"The condition must not hold."`
}

// JSONMatch is a condition on a value in a JSON body.
type JSONMatch struct {
	Path   string `json:"path" doc:"JSONPath (RFC 9535)."`                                // JSONPath (RFC 9535)
	Equals any    `json:"equals,omitempty" doc:"The value. Absent: there has to be one."` // absent: the value has to exist
	Not    bool   `json:"not,omitempty" doc:"The condition must not hold."`
}

// Expectation says when a heartbeat's calls are expected: every so often, by a cron expression, or by a calendar event. Durations are Go strings.
type Expectation struct {
	Every      string `json:"every,omitempty" doc:"The longest time between two calls, such as 1h. Excludes cron and on_calendar."`         // "1h"
	Cron       string `json:"cron,omitempty" doc:"Five fields. Excludes every and on_calendar."`                                            // five fields
	OnCalendar string `json:"on_calendar,omitempty" doc:"A calendar event of systemd, such as Mon..Fri 02:30. Excludes every and cron."`    // systemd.time(7), in whole seconds
	TimeZone   string `json:"time_zone,omitempty" doc:"IANA name, for cron and on_calendar; UTC unless given."`                             // IANA name; UTC unless given
	Grace      string `json:"grace,omitempty" doc:"How late a call may be, and how long a job that has started may take; 5m unless given."` // "5m" unless given
}
