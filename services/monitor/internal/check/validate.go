package check

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/beaconpost/beaconpost/pkg/fault"
)

// Limits of a spec's parts.
const (
	MaxBodyBytes = 4 << 20 // that a check may read
	MaxRedirects = 20

	maxURL        = 2048
	maxHeaders    = 50
	maxHeader     = 4 << 10 // bytes of a value
	maxText       = 64 << 10
	maxDatagram   = 1200    // is not cut into pieces on any usual path
	maxShort      = 4 << 10 // bytes of what is compared
	maxConditions = 20
	maxAssert     = 4 << 10
	maxPEM        = 64 << 10
	maxPackets    = 20
	maxDays       = 3650
)

// problems collects what is wrong with a spec.
type problems []fault.Detail

func (p *problems) add(field, format string, args ...any) {
	*p = append(*p, fault.Detail{Field: field, Message: field + " " + fmt.Sprintf(format, args...)})
}

// require adds a problem unless it holds.
func (p *problems) require(holds bool, field, format string, args ...any) {
	if !holds {
		p.add(field, format, args...)
	}
}

func (p *problems) oneOf(field, value string, permitted ...string) {
	p.require(value == "" || slices.Contains(permitted, value), field, "must be one of %s", strings.Join(permitted, ", "))
}

func (p *problems) atMost(field, value string, most int) {
	p.require(len(value) <= most, field, "must have at most %d bytes", most)
}

// Check says whether a check can be made by the spec. Its error is a fault that names the first field at fault, and the others in its details.
// A heartbeat's expectation and an assertion's expression are judged elsewhere: only their presence and length are seen here.
func (s *Spec) Check() error {
	var p problems
	if !slices.Contains(Kinds(), s.Kind) {
		p.add("kind", "must be one of %s", joined(Kinds()))
		return p.fault()
	}
	for _, field := range s.strangers() {
		p.add(field, "is not a field of a monitor of kind %s", s.Kind)
	}
	if field := nulIn(reflect.ValueOf(*s), ""); field != "" {
		p.add(field, "must not contain the character U+0000, which cannot be stored")
	}
	s.checkTarget(&p)
	s.checkRequest(&p)
	s.checkTLS(&p)
	s.checkTalk(&p)
	s.checkDNS(&p)
	s.checkExpected(&p)
	return p.fault()
}

// nulIn names the first field of a value whose text has a NUL; "": there is none.
func nulIn(v reflect.Value, path string) string {
	switch v.Kind() {
	case reflect.String:
		if strings.ContainsRune(v.String(), 0) {
			return path
		}
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			return nulIn(v.Elem(), path)
		}
	case reflect.Slice:
		for i := range v.Len() {
			if found := nulIn(v.Index(i), below(path, strconv.Itoa(i))); found != "" {
				return found
			}
		}
	case reflect.Map:
		for entries := v.MapRange(); entries.Next(); {
			key := entries.Key().String()
			if strings.ContainsRune(key, 0) {
				return path
			}
			if found := nulIn(entries.Value(), below(path, key)); found != "" {
				return found
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
			if found := nulIn(v.Field(i), below(path, name)); found != "" {
				return found
			}
		}
	default:
	}
	return ""
}

func below(path, name string) string { return strings.TrimPrefix(path+"."+name, ".") }

func (p problems) fault() error {
	if len(p) == 0 {
		return nil
	}
	problem := fault.Invalid("invalid_monitor", p[0].Field, p[0].Message)
	problem.Details = p[1:]
	return problem
}

func joined[T ~string](values []T) string {
	texts := make([]string, len(values))
	for i, value := range values {
		texts[i] = string(value)
	}
	return strings.Join(texts, ", ")
}

func (s *Spec) checkTarget(p *problems) {
	switch s.Kind {
	case HTTP:
		s.checkURL(p, "http", "https")
	case WebSocket:
		s.checkURL(p, "ws", "wss")
	case TCP, TLS, GRPC:
		s.checkHost(p)
		p.require(s.Port >= 1 && s.Port <= 65535, "port", "must be between 1 and 65535")
	case UDP:
		s.checkHost(p)
		p.require(s.Port >= 1 && s.Port <= 65535, "port", "must be between 1 and 65535")
		p.require(s.Send != "" && len(s.Send) <= maxDatagram, "send", "must be set: a datagram of at most %d bytes, which the target answers", maxDatagram)
	case ICMP:
		s.checkHost(p)
		p.require(s.Packets >= 0 && s.Packets <= maxPackets, "packets", "must be at most %d", maxPackets)
		p.require(s.MaxLoss >= 0 && s.MaxLoss < 100, "max_loss", "must be between 0 and 99 percent")
	case DNS:
		s.checkHost(p)
	case Heartbeat:
		p.require(s.Period != nil, "expected", "must be set: when the calls of a heartbeat are expected")
	}
	p.oneOf("ip_family", s.IPFamily, "4", "6")
}

func (s *Spec) checkURL(p *problems, schemes ...string) {
	if u := p.url("url", s.URL, "auth", schemes...); u != nil {
		s.checkFamily(p, "url", u.Hostname())
	}
}

// url judges a URL with one of two schemes, and gives it if it is one. Credentials belong into another field.
func (p *problems) url(field, text, credentials string, schemes ...string) *url.URL {
	p.atMost(field, text, maxURL)
	u, err := url.Parse(text)
	if err != nil {
		p.add(field, "must be a URL such as %s://example.com/", schemes[1])
		return nil
	}
	p.require(slices.Contains(schemes, u.Scheme), field, "must begin with %s:// or %s://", schemes[0], schemes[1])
	p.require(u.User == nil, field, "must not contain a user name or password: use %s", credentials)
	p.require(u.Opaque == "" && isHost(u.Hostname()), field, "must have a host")
	p.require(u.Port() == "" || isPort(u.Port()), field, "must have a port between 1 and 65535, or none")
	return u
}

func (s *Spec) checkHost(p *problems) {
	valid := isHost(s.Host) || s.Kind == DNS && s.Host == "." // the root has records too
	p.require(valid, "host", "must be a name such as example.com, or an address without port")
	s.checkFamily(p, "host", s.Host)
}

func (s *Spec) checkFamily(p *problems, field, host string) {
	addr, err := netip.ParseAddr(host)
	if err != nil || s.IPFamily == "" || s.Kind == DNS { // which asks for it, and does not connect there
		return
	}
	p.require(addr.Unmap().Is4() == (s.IPFamily == "4"), field, "must be an address of the given ip_family")
}

func (s *Spec) checkRequest(p *problems) {
	p.require(s.Method == "" || isToken(s.Method) && len(s.Method) <= 20 && s.Method == strings.ToUpper(s.Method) && s.Method != http.MethodConnect,
		"method", "must be a method such as GET, in capitals, and not CONNECT")
	p.require(len(s.Headers) <= maxHeaders, "headers", "must be at most %d", maxHeaders)
	names := map[string]bool{}
	for name, value := range s.Headers {
		lower := strings.ToLower(name)
		p.require(!names[lower], "headers."+name, "must not be given twice, in other capitals")
		names[lower] = true
		s.checkHeader(p, "headers."+name, name, value)
	}
	p.atMost("body", s.Body, maxText)
	if s.Auth != nil {
		s.Auth.check(p)
	}
	if s.Proxy != "" {
		s.checkProxy(p)
	}
	if s.MaxRedirects != nil {
		p.require(*s.MaxRedirects >= 0 && *s.MaxRedirects <= MaxRedirects, "max_redirects", "must be between 0 and %d", MaxRedirects)
	}
	p.require(s.MaxBodyBytes >= 0 && s.MaxBodyBytes <= MaxBodyBytes, "max_body_bytes", "must be at most %d", MaxBodyBytes)
	p.oneOf("http_version", s.HTTPVersion, "1.1", "2", "3")
	p.require(s.HTTPVersion == "" || s.HTTPVersion == "1.1" || !strings.HasPrefix(s.URL, "http:"), "http_version", "must be 1.1 with an http:// URL: the others are agreed on in a TLS handshake")
	p.require(s.HTTPVersion != "3" || s.Proxy == "", "http_version", "must not be 3 with a proxy, which knows TCP only")
}

func (s *Spec) checkHeader(p *problems, field, name, value string) {
	p.require(isToken(name) && len(name) <= 100, field, "must have a valid header name")
	p.require(isFieldValue(value) && len(value) <= maxHeader, field, "must be one line of at most %d bytes", maxHeader)
	lower := strings.ToLower(name)
	ours := []string{"content-length", "transfer-encoding", "connection", "keep-alive", "upgrade", "te", "trailer", "expect"}
	p.require(!slices.Contains(ours, lower) && !strings.HasPrefix(lower, "sec-websocket-"), field, "is a header that the prober sets itself")
	p.require(s.Auth == nil || lower != "authorization", field, "must not be set together with auth")
	p.require(s.Proxy == "" || lower != "proxy-authorization", field, "must not be set together with proxy, which takes a password")
}

func (s *Spec) checkTLS(p *problems) {
	p.require(s.CertificateDays >= 0 && s.CertificateDays <= maxDays, "certificate_days", "must be at most %d", maxDays)
	p.require(s.CertificateDays == 0 || s.usesTLS(), "certificate_days", "must not be set on a monitor that does not use TLS")
	if s.TLS == nil {
		return
	}
	p.require(s.usesTLS(), "tls", "must not be set on a monitor that does not use TLS")
	p.require(s.TLS.ServerName == "" || isHost(s.TLS.ServerName), "tls.server_name", "must be a name such as example.com")
	p.atMost("tls", s.TLS.CA+s.TLS.ClientCertificate+s.TLS.ClientKey, maxPEM)
	if _, err := s.TLS.Roots(); err != nil {
		p.add("tls.ca", "%s", err)
	}
	if _, err := s.TLS.Certificates(); err != nil {
		p.add("tls.client_certificate", "%s", err)
	}
}

func (s *Spec) usesTLS() bool {
	switch s.Kind {
	case HTTP, WebSocket:
		return !strings.HasPrefix(s.URL, "ws:") // an http URL may lead to https
	case TLS:
		return true
	case TCP:
		return s.TLS != nil || s.StartTLS != ""
	case GRPC:
		return !s.Plaintext
	case DNS:
		return s.Transport == "tls"
	default:
		return false
	}
}

func (s *Spec) checkTalk(p *problems) {
	p.atMost("send", s.Send, maxText)
	if _, err := CompilePattern(s.Expect); err != nil {
		p.add("expect", "must be a regular expression (RE2): %s", err)
	}
	p.oneOf("starttls", s.StartTLS, "smtp", "imap", "pop3", "ftp")
	p.require(len(s.Service) <= 200 && isFieldValue(s.Service), "service", "must be one line of at most 200 bytes")
}

func (s *Spec) checkDNS(p *problems) {
	p.require(s.RecordType == "" || slices.Contains(RecordTypes(), s.RecordType), "record_type", "must be a type of DNS record such as A or MX, in capitals")
	p.require(s.RCode == "" || slices.Contains(RCodes(), s.RCode), "rcode", "must be one of %s", strings.Join(RCodes(), ", "))
	p.oneOf("transport", s.Transport, "udp", "tcp", "tls")
	if s.Kind == DNS {
		p.require(s.Resolver == "" || isHost(s.Resolver), "resolver", "must be a name or an address, without port")
	} else if s.Resolver != "" {
		_, err := ParseResolver(s.Resolver)
		p.require(err == nil, "resolver", "must be an address, with or without a port, such as 192.0.2.53")
	}
	p.require(s.Kind != DNS || s.Transport != "tls" || s.Resolver != "", "resolver", "must be set for transport tls")
	p.require(s.Kind != DNS || s.Port == 0 || s.Resolver != "", "port", "must not be set without resolver")
	p.require(s.Port >= 0 && s.Port <= 65535, "port", "must be between 1 and 65535")
	p.require(len(s.Answers) <= maxConditions, "answers", "must be at most %d", maxConditions)
	for i, answer := range s.Answers {
		p.require(answer != "" && len(answer) <= maxShort, fmt.Sprintf("answers.%d", i), "must have between 1 and %d bytes", maxShort)
	}
}

// ParseResolver reads what a spec of another kind than dns says of who is asked for its names.
func ParseResolver(text string) (netip.AddrPort, error) {
	if addr, err := netip.ParseAddr(text); err == nil && addr.Zone() == "" {
		return netip.AddrPortFrom(addr, 53), nil
	}
	addr, err := netip.ParseAddrPort(text)
	if err == nil && (addr.Port() == 0 || addr.Addr().Zone() != "") {
		err = errors.New("no port, or a zone")
	}
	return addr, err
}

func (s *Spec) checkExpected(p *problems) {
	p.require(len(s.StatusCodes) <= maxConditions, "status_codes", "must be at most %d", maxConditions)
	for i, text := range s.StatusCodes {
		if _, _, err := ParseStatus(text); err != nil {
			p.add(fmt.Sprintf("status_codes.%d", i), "%s", err)
		}
	}
	checkMatches(p, "expect_headers", s.ExpectHeaders, true)
	checkMatches(p, "expect_body", s.ExpectBody, false)
	p.require(len(s.ExpectJSON) <= maxConditions, "expect_json", "must be at most %d", maxConditions)
	for i := range s.ExpectJSON {
		s.ExpectJSON[i].check(p, fmt.Sprintf("expect_json.%d", i))
	}
	p.atMost("assert", s.Assert, maxAssert)
}

func checkMatches(p *problems, field string, matches []Match, named bool) {
	p.require(len(matches) <= maxConditions, field, "must be at most %d", maxConditions)
	for i := range matches {
		matches[i].check(p, fmt.Sprintf("%s.%d", field, i), named)
	}
}

func (m *Match) check(p *problems, field string, named bool) {
	if named {
		p.require(isToken(m.Name), field+".name", "must be the name of a header")
	} else {
		p.require(m.Name == "", field+".name", "must not be set: a body has none")
	}
	set := 0
	for _, text := range []string{m.Equals, m.Contains, m.Matches} {
		if text != "" {
			set++
		}
	}
	p.require(set == 1, field, "must have exactly one of equals, contains and matches")
	p.atMost(field, m.Equals+m.Contains, maxShort)
	if _, err := CompilePattern(m.Matches); err != nil {
		p.add(field+".matches", "must be a regular expression (RE2): %s", err)
	}
}

func (m *JSONMatch) check(p *problems, field string) {
	if _, err := CompilePath(m.Path); err != nil {
		p.add(field+".path", "must be a JSONPath (RFC 9535) such as $.status: %s", err)
	}
	equals, err := json.Marshal(m.Equals)
	p.require(err == nil && len(equals) <= maxShort, field+".equals", "must be a JSON value of at most %d bytes", maxShort)
}
