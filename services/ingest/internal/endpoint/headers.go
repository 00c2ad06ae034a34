package endpoint

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/beaconpost/beaconpost/pkg/fault"
)

const (
	maxHeaders     = 32
	maxHeaderName  = 100
	maxHeaderValue = 4096
)

// isReserved says whether a field, in lower case, says how the request travels, or is ours to set.
func isReserved(name string) bool {
	switch name {
	case "host", "content-length", "content-type", "content-encoding", "content-md5", "transfer-encoding", "connection", "keep-alive", "te", "trailer", "upgrade", "expect",
		"http2-settings", "accept-encoding", "date", "via", "forwarded", "user-agent", "traceparent", "tracestate":
		return true
	}
	for _, prefix := range []string{"proxy-", "sec-", "x-forwarded-", "webhook-", "svix-", "beaconpost-"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// checkHeaders says what is wrong with fields that are to be sent with every attempt.
func checkHeaders(headers map[string]string) (details []fault.Detail) {
	if len(headers) > maxHeaders {
		return []fault.Detail{{Field: "headers", Message: fmt.Sprintf("Expected at most %d.", maxHeaders)}}
	}
	seen := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		add := func(message string) {
			details = append(details, fault.Detail{Field: "headers." + name, Message: message})
		}
		lower := strings.ToLower(name)
		switch value := headers[name]; {
		case !isToken(name) || len(name) > maxHeaderName:
			details = append(details, fault.Detail{Field: "headers", Message: fmt.Sprintf("%.100q: expected a field name of letters, digits and -, at most %d characters.", name, maxHeaderName)})
		case isReserved(lower):
			add("This field cannot be set.")
		case seen[lower]:
			add("This field is there twice; case does not matter.")
		case len(value) > maxHeaderValue || strings.ContainsFunc(value, func(c rune) bool { return c < ' ' && c != '\t' || c >= 0x7f }) || strings.TrimSpace(value) != value:
			add(fmt.Sprintf("Expected a value of printable ASCII without spaces around it, at most %d characters.", maxHeaderValue))
		}
		seen[lower] = true
	}
	return details
}

// isToken says whether name can be a field's name (RFC 9110, 5.6.2).
func isToken(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("!#$%&'*+-.^_`|~", c)
	})
}
