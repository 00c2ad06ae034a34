package check

import (
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Secrets are the parts of a Spec that are stored sealed and not shown.
type Secrets struct {
	Auth      *Auth             `json:"auth,omitempty"`
	ClientKey string            `json:"client_key,omitempty"`
	Headers   map[string]string `json:"headers,omitempty"` // those whose names say so
	Proxy     string            `json:"proxy,omitempty"`   // the whole URL of one that has a password
}

// Empty says whether there are none.
func (s *Secrets) Empty() bool {
	return s.Auth == nil && s.ClientKey == "" && len(s.Headers) == 0 && s.Proxy == ""
}

// Split gives the spec without its secrets, and these.
func (s *Spec) Split() (open Spec, secrets Secrets) {
	open = *s
	secrets.Auth, open.Auth = s.Auth, nil
	if s.TLS != nil && s.TLS.ClientKey != "" {
		options := *s.TLS
		secrets.ClientKey, options.ClientKey = options.ClientKey, ""
		open.TLS = &options
	}
	if s.proxyPassword() != "" {
		secrets.Proxy, open.Proxy = s.Proxy, ""
	}
	for name, value := range s.Headers {
		if !isSecret(name) {
			continue
		}
		if secrets.Headers == nil {
			secrets.Headers = map[string]string{}
			open.Headers = maps.Clone(s.Headers)
		}
		secrets.Headers[name] = value
		delete(open.Headers, name)
	}
	return open, secrets
}

// Join puts secrets back.
func (s *Spec) Join(secrets Secrets) {
	s.Auth = secrets.Auth
	if secrets.ClientKey != "" && s.TLS != nil {
		s.TLS.ClientKey = secrets.ClientKey
	}
	if secrets.Proxy != "" {
		s.Proxy = secrets.Proxy
	}
	for name, value := range secrets.Headers {
		if s.Headers == nil {
			s.Headers = map[string]string{}
		}
		s.Headers[name] = value
	}
}

// Hidden stands for a secret in what is shown. Sent back it means the secret that is stored.
const Hidden = "***"

// Masked gives the spec as it is shown.
func (s *Spec) Masked() Spec {
	masked, secrets := s.Split()
	mask := Secrets{Headers: map[string]string{}}
	if secrets.Auth != nil {
		mask.Auth = secrets.Auth.masked()
	}
	mask.ClientKey = hide(secrets.ClientKey)
	mask.Proxy = withPassword(secrets.Proxy, Hidden)
	for name := range secrets.Headers {
		mask.Headers[name] = Hidden
	}
	masked.Join(mask)
	return masked
}

// Unmask replaces what is hidden by what is stored, unless the target is another one: a secret must not be sent where its owner never said.
func (s *Spec) Unmask(stored *Spec) {
	if !s.SameTarget(stored) {
		return
	}
	if s.Auth != nil && stored.Auth != nil {
		s.Auth = s.Auth.unmasked(stored.Auth)
	}
	if s.proxyPassword() == Hidden && stored.proxyPassword() != "" {
		s.Proxy = withPassword(s.Proxy, stored.proxyPassword())
	}
	if s.TLS != nil && stored.TLS != nil {
		options := *s.TLS
		unhide(&options.ClientKey, stored.TLS.ClientKey)
		s.TLS = &options
	}
	for name, value := range s.Headers {
		if have, ok := stored.Headers[name]; ok && value == Hidden {
			s.Headers[name] = have
		}
	}
}

func (a *Auth) masked() *Auth {
	masked := &Auth{Username: a.Username, Password: hide(a.Password), Bearer: hide(a.Bearer)}
	if a.OAuth2 != nil {
		oauth := *a.OAuth2
		oauth.ClientSecret = hide(oauth.ClientSecret)
		masked.OAuth2 = &oauth
	}
	return masked
}

// unmasked is for the same target. A client's secret is shown to the token endpoint before, which has to be the same too.
func (a *Auth) unmasked(stored *Auth) *Auth {
	auth := *a
	unhide(&auth.Password, stored.Password)
	unhide(&auth.Bearer, stored.Bearer)
	if a.OAuth2 != nil && stored.OAuth2 != nil && originOf(a.OAuth2.TokenURL) == originOf(stored.OAuth2.TokenURL) {
		oauth := *a.OAuth2
		unhide(&oauth.ClientSecret, stored.OAuth2.ClientSecret)
		auth.OAuth2 = &oauth
	}
	return &auth
}

// SameTarget says whether a spec leads to where another does, so that the secrets of the one may be shown by the other.
func (s *Spec) SameTarget(other *Spec) bool { return origin(s) == origin(other) }

// origin is to whom a spec's secrets are shown: its target, who says where that is, which of several it is at an address, and the proxy on the way there.
func origin(s *Spec) string {
	parts := []string{s.Host, strconv.Itoa(s.Port), originOf(s.URL), originOf(s.Proxy), s.Resolver}
	for name, value := range s.Headers {
		if strings.EqualFold(name, "Host") {
			parts = append(parts, strings.ToLower(value))
		}
	}
	if s.TLS != nil {
		parts = append(parts, s.TLS.ServerName)
	}
	return strings.Join(parts, " ")
}

func originOf(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + strings.ToLower(u.Host)
}

// cutPassword gives the password in a URL as it is written there, and what is before and after it. Without one, password and after are "".
func cutPassword(text string) (before, password, after string) {
	scheme, authority, _ := strings.Cut(text, "://")
	start := len(scheme) + len("://")
	if end := strings.IndexAny(authority, "/?#"); end >= 0 {
		authority = authority[:end]
	}
	at, colon := strings.LastIndexByte(authority, '@'), strings.IndexByte(authority, ':')
	if at < 0 || colon < 0 || colon > at {
		return text, "", ""
	}
	return text[:start+colon+1], text[start+colon+1 : start+at], text[start+at:]
}

// proxyPassword gives the password of the proxy as it is written in the URL.
func (s *Spec) proxyPassword() string {
	_, password, _ := cutPassword(s.Proxy)
	return password
}

// withPassword replaces the password in a URL that has one.
func withPassword(text, password string) string {
	before, old, after := cutPassword(text)
	if old == "" {
		return text
	}
	return before + password + after
}

// StillHidden names a field that has no secret but what stands for one; "": there is none.
func (s *Spec) StillHidden() string {
	switch {
	case s.Auth != nil && s.Auth.Password == Hidden:
		return "auth.password"
	case s.Auth != nil && s.Auth.Bearer == Hidden:
		return "auth.bearer"
	case s.Auth != nil && s.Auth.OAuth2 != nil && s.Auth.OAuth2.ClientSecret == Hidden:
		return "auth.oauth2.client_secret"
	case s.proxyPassword() == Hidden:
		return "proxy"
	case s.TLS != nil && s.TLS.ClientKey == Hidden:
		return "tls.client_key"
	}
	for _, name := range slices.Sorted(maps.Keys(s.Headers)) {
		if s.Headers[name] == Hidden && isSecret(name) {
			return "headers." + name
		}
	}
	return ""
}

func hide(secret string) string {
	if secret == "" {
		return ""
	}
	return Hidden
}

func unhide(shown *string, stored string) {
	if *shown == Hidden {
		*shown = stored
	}
}

// isSecret says whether a header's value is one, by its name.
func isSecret(name string) bool {
	name = strings.ToLower(name)
	for _, word := range []string{"authorization", "cookie", "token", "secret", "api-key", "apikey", "password"} {
		if strings.Contains(name, word) {
			return true
		}
	}
	return false
}
