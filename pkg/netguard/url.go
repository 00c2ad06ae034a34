package netguard

import (
	"errors"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"golang.org/x/net/idna"
)

// CheckURL tells a tenant early that a URL cannot work: an http or https URL with a host, without userinfo, whose port is
// permitted, and whose host, if it is an address, is permitted too. It resolves no names, so that the answer tells nothing
// about the network. The error's text is safe for the tenant; for an address it is a *BlockedError.
func (p Policy) CheckURL(u *url.URL) error {
	switch {
	case p.HTTPSOnly && u.Scheme != "https":
		return errors.New("the URL must start with https://: this installation sends to nothing else")
	case u.Scheme != "http" && u.Scheme != "https":
		return errors.New("the URL must start with http:// or https://")
	case u.Hostname() == "":
		return errors.New("the URL must have a host")
	case u.User != nil:
		return errors.New("the URL must not contain a user name or password")
	}
	port, ok := portOf(u)
	if !ok || !p.permitsPort(port) {
		return errors.New("the URL's port is not permitted")
	}
	host, err := asciiHost(u.Hostname())
	if err != nil {
		return errors.New("the URL's host is not a valid name")
	}
	return p.checkHost(host, port)
}

func portOf(u *url.URL) (uint16, bool) {
	switch {
	case u.Port() != "":
		port, err := strconv.ParseUint(u.Port(), 10, 16)
		return uint16(port), err == nil
	case u.Scheme == "http":
		return 80, true
	default:
		return 443, true
	}
}

// asciiHost does what net/http does with a host before it dials: full-width digits become digits, for instance.
func asciiHost(host string) (string, error) {
	for i := range len(host) {
		if host[i] >= 0x80 {
			return idna.Lookup.ToASCII(host)
		}
	}
	return strings.ToLower(host), nil
}

func (p Policy) checkHost(host string, port uint16) error {
	if addr, err := netip.ParseAddr(host); err == nil {
		if addr.Zone() != "" {
			return errors.New("the URL's address must not have a zone")
		}
		return p.CheckAddr(netip.AddrPortFrom(addr, port))
	}
	name := strings.TrimSuffix(host, ".")
	last := name[strings.LastIndexByte(name, '.')+1:]
	switch {
	case isNumber(last):
		// 127.1, 2130706433, 0177.0.0.1, 0x7f000001: some resolvers take these for addresses.
		return errors.New("the URL's address must be written in the usual form, such as 192.0.2.1")
	case last == "localhost" && !p.AllowLoopback:
		return errors.New("the URL must not name this machine")
	case !isName(name):
		return errors.New("the URL's host is not a valid name")
	}
	return nil
}

// isName reports whether name, in lower case and without a dot at the end, can be one of DNS. Underscores are taken.
// Anything else, such as an address that could not be read as one, may mean something to a resolver.
func isName(name string) bool {
	if len(name) > 253 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	return true
}

// isNumber reports whether label is a decimal, octal or hexadecimal number; no top-level domain is.
func isNumber(label string) bool {
	if hex, ok := strings.CutPrefix(label, "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return label != "" && strings.Trim(label, "0123456789") == ""
}
