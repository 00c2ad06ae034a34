package wire

import (
	"errors"
	"net"
	"net/url"
	"strings"

	"golang.org/x/net/http/httpguts"
	"golang.org/x/net/idna"
)

// address is whom a connection leads to.
type address struct {
	secure bool
	host   string // with port
}

// name gives the host's name alone.
func (a address) name() string {
	host, _, err := net.SplitHostPort(a.host)
	if err != nil {
		return a.host
	}
	host, _, _ = strings.Cut(host, "%") // no certificate knows a zone
	return host
}

func addressOf(u *url.URL) (address, error) {
	at := address{secure: u.Scheme == "https"}
	if !at.secure && u.Scheme != "http" {
		return at, errors.New("the scheme is neither http nor https")
	}
	if u.Hostname() == "" {
		return at, errors.New("there is no host")
	}
	port := u.Port()
	if port != "" && isASCII(u.Host) {
		at.host = u.Host
		return at, nil
	}
	if port == "" {
		port = "80"
		if at.secure {
			port = "443"
		}
	}
	name, err := asciiName(u.Hostname())
	at.host = net.JoinHostPort(name, port)
	return at, err
}

// hostField gives the value of the Host field (RFC 9110, 7.2): as the URL has it, in ASCII and without a zone.
func hostField(u *url.URL) (string, error) {
	host := u.Host
	if !isASCII(host) {
		name, err := asciiName(u.Hostname())
		if err != nil {
			return "", err
		}
		host = name
		if port := u.Port(); port != "" {
			host += ":" + port
		}
	}
	host = strings.TrimSuffix(host, ":") // an empty port
	if zone := strings.IndexByte(host, '%'); zone >= 0 {
		if end := strings.LastIndexByte(host, ']'); end > zone {
			host = host[:zone] + host[end:]
		}
	}
	return host, nil
}

func asciiName(name string) (string, error) {
	if isASCII(name) {
		return name, nil
	}
	return idna.Lookup.ToASCII(name)
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// requestTarget gives the origin form (RFC 9112, 3.2.1).
func requestTarget(u *url.URL) (string, error) {
	target := u.RequestURI()
	if u.Opaque != "" || !strings.HasPrefix(target, "/") {
		return "", errors.New("there is no path")
	}
	for i := range len(target) {
		if target[i] < ' ' || target[i] == 0x7f {
			return "", errors.New("it has a control character")
		}
	}
	return strings.ReplaceAll(target, " ", "%20"), nil // a query may have one
}

func appendField(header []byte, f Field) []byte {
	header = append(header, f.Name...)
	header = append(header, ": "...)
	if httpguts.ValidHeaderFieldValue(f.Value) {
		header = append(header, f.Value...)
	} else {
		for i := range len(f.Value) {
			c := f.Value[i]
			if c < ' ' && c != '\t' || c == 0x7f {
				c = ' '
			}
			header = append(header, c)
		}
	}
	return append(header, "\r\n"...)
}
