package check

import (
	"fmt"
	"net/url"
	"strings"
)

const (
	maxScopes     = 50
	maxScope      = 200 // bytes
	maxCredential = 255 // bytes of a proxy's user name and password: SOCKS has one byte for the length
)

func (a *Auth) check(p *problems) {
	ways := 0
	for _, given := range []bool{a.Username != "" || a.Password != "", a.Bearer != "", a.OAuth2 != nil} {
		if given {
			ways++
		}
	}
	p.require(ways == 1, "auth", "must have either username and password or bearer or oauth2")
	p.require(isFieldValue(a.Bearer), "auth.bearer", "must be one line of printable characters")
	p.require(!strings.Contains(a.Username, ":"), "auth.username", "must not contain a colon")
	p.atMost("auth", a.Username+a.Password+a.Bearer, maxHeader)
	if a.OAuth2 != nil {
		a.OAuth2.check(p)
	}
}

func (o *OAuth2) check(p *problems) {
	if u := p.url("auth.oauth2.token_url", o.TokenURL, "client_id and client_secret", "http", "https"); u != nil {
		p.require(u.Fragment == "", "auth.oauth2.token_url", "must not have a fragment")
	}
	p.require(o.ClientID != "" && len(o.ClientID) <= maxHeader, "auth.oauth2.client_id", "must have between 1 and %d bytes", maxHeader)
	p.require(o.ClientSecret != "" && len(o.ClientSecret) <= maxHeader, "auth.oauth2.client_secret", "must have between 1 and %d bytes", maxHeader)
	p.require(len(o.Scopes) <= maxScopes, "auth.oauth2.scopes", "must be at most %d", maxScopes)
	for i, scope := range o.Scopes {
		p.require(isScope(scope), fmt.Sprintf("auth.oauth2.scopes.%d", i), "must have between 1 and %d printable characters, without spaces, quotes and backslashes", maxScope)
	}
	p.require(isFieldValue(o.Audience) && len(o.Audience) <= maxURL, "auth.oauth2.audience", "must be one line of at most %d bytes", maxURL)
}

// isScope reports whether a text is a scope-token of RFC 6749, 3.3.
func isScope(text string) bool {
	for i := range len(text) {
		if c := text[i]; c <= ' ' || c >= 0x7f || c == '"' || c == '\\' {
			return false
		}
	}
	return text != "" && len(text) <= maxScope
}

func (s *Spec) checkProxy(p *problems) {
	p.atMost("proxy", s.Proxy, maxURL)
	u, err := url.Parse(s.Proxy)
	if err != nil {
		p.add("proxy", "must be a URL such as http://proxy.example.com:3128")
		return
	}
	p.require(u.Scheme == "http" || u.Scheme == "socks5", "proxy", "must begin with http:// or socks5://")
	p.require(u.Opaque == "" && isHost(u.Hostname()) && isPort(u.Port()), "proxy", "must have a host and a port")
	p.require(strings.Trim(u.Path, "/") == "" && u.RawQuery == "" && u.Fragment == "", "proxy", "must have nothing after the port")
	name := u.User.Username()
	password, _ := u.User.Password()
	p.require(u.User == nil || name != "" && !strings.Contains(name, ":"), "proxy", "must have a user name without colon before a password")
	p.require(len(name) <= maxCredential && len(password) <= maxCredential, "proxy", "must have a user name and a password of at most %d bytes", maxCredential)
	p.require(s.IPFamily == "", "ip_family", "must not be set together with proxy, which connects as it likes")
	p.require(!s.replacesHost() || !strings.HasPrefix(s.URL, "http:") || u.Scheme != "http", "headers", "must not replace Host of an http:// URL: the proxy would set it")
}

func (s *Spec) replacesHost() bool {
	for name := range s.Headers {
		if strings.EqualFold(name, "Host") {
			return true
		}
	}
	return false
}
