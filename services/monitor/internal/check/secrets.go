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
}

// Empty says whether there are none.
func (s *Secrets) Empty() bool { return s.Auth == nil && s.ClientKey == "" && len(s.Headers) == 0 }

// Split gives the spec without its secrets, and these.
func (s *Spec) Split() (open Spec, secrets Secrets) {
	open = *s
	secrets.Auth, open.Auth = s.Auth, nil
	if s.TLS != nil && s.TLS.ClientKey != "" {
		options := *s.TLS
		secrets.ClientKey, options.ClientKey = options.ClientKey, ""
		open.TLS = &options
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
		mask.Auth = &Auth{Username: secrets.Auth.Username, Password: hide(secrets.Auth.Password), Bearer: hide(secrets.Auth.Bearer)}
	}
	mask.ClientKey = hide(secrets.ClientKey)
	for name := range secrets.Headers {
		mask.Headers[name] = Hidden
	}
	masked.Join(mask)
	return masked
}

// Unmask replaces what is hidden by what is stored, unless the target is another one: a secret must not be sent where its owner never said.
func (s *Spec) Unmask(stored *Spec) {
	if origin(s) != origin(stored) {
		return
	}
	if s.Auth != nil && stored.Auth != nil {
		auth := *s.Auth
		unhide(&auth.Password, stored.Auth.Password)
		unhide(&auth.Bearer, stored.Auth.Bearer)
		s.Auth = &auth
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

// origin is to whom a spec's secrets are shown.
func origin(s *Spec) string {
	at := s.Host + ":" + strconv.Itoa(s.Port)
	if u, err := url.Parse(s.URL); err == nil {
		at += " " + u.Scheme + "://" + strings.ToLower(u.Host)
	}
	return at
}

// StillHidden names a field that has no secret but what stands for one; "": there is none.
func (s *Spec) StillHidden() string {
	switch {
	case s.Auth != nil && s.Auth.Password == Hidden:
		return "auth.password"
	case s.Auth != nil && s.Auth.Bearer == Hidden:
		return "auth.bearer"
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
