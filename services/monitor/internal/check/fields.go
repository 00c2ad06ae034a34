package check

import (
	"reflect"
	"slices"
	"strings"
)

// fieldsOf says which fields of a Spec a kind takes, by their JSON names, beside kind and invert, which all but a heartbeat take.
func fieldsOf(kind Kind) []string {
	switch kind {
	case HTTP:
		return []string{
			"url", "ip_family", "resolver", "method", "headers", "body", "auth", "proxy", "cache_token", "max_redirects", "max_body_bytes", "http_version", "tls",
			"status_codes", "expect_headers", "expect_body", "expect_json", "assert", "certificate_days",
		}
	case WebSocket:
		return []string{"url", "ip_family", "resolver", "headers", "auth", "proxy", "tls", "send", "expect", "assert", "certificate_days"}
	case TCP:
		return []string{"host", "port", "ip_family", "resolver", "tls", "send", "expect", "starttls", "assert", "certificate_days"}
	case UDP:
		return []string{"host", "port", "ip_family", "resolver", "send", "expect", "assert"}
	case TLS:
		return []string{"host", "port", "ip_family", "resolver", "tls", "starttls", "assert", "certificate_days"}
	case DNS:
		return []string{"host", "port", "ip_family", "resolver", "tls", "record_type", "transport", "rcode", "answers", "assert", "certificate_days"}
	case ICMP:
		return []string{"host", "ip_family", "resolver", "packets", "max_loss", "assert"}
	case GRPC:
		return []string{"host", "port", "ip_family", "resolver", "tls", "service", "plaintext", "assert", "certificate_days"}
	case Heartbeat:
		return []string{"expected"}
	default:
		return nil
	}
}

// strangers lists the fields that are set although the kind does not take them. Reflection, so that no new field is forgotten here.
func (s *Spec) strangers() []string {
	taken := append(fieldsOf(s.Kind), "kind")
	if s.Kind != Heartbeat {
		taken = append(taken, "invert")
	}
	var strangers []string
	value := reflect.ValueOf(*s)
	for i := range value.NumField() {
		name, _, _ := strings.Cut(value.Type().Field(i).Tag.Get("json"), ",")
		if !value.Field(i).IsZero() && !slices.Contains(taken, name) {
			strangers = append(strangers, name)
		}
	}
	return strangers
}
