package endpoint_test

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/backoff"
	"github.com/beaconpost/beaconpost/pkg/fault"
	"github.com/beaconpost/beaconpost/pkg/netguard"
	"github.com/beaconpost/beaconpost/services/ingest/internal/endpoint"
)

func TestFilterMatches(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		filter    endpoint.Filter
		eventType string
		want      bool
	}{
		{nil, "order.paid", true},
		{endpoint.Filter{}, "order.paid", true},
		{endpoint.Filter{"*"}, "order.paid", true},
		{endpoint.Filter{"*"}, "a", true},
		{endpoint.Filter{"order.paid"}, "order.paid", true},
		{endpoint.Filter{"order.paid"}, "order.paid.late", false},
		{endpoint.Filter{"order.paid"}, "order", false},
		{endpoint.Filter{"order.paid"}, "Order.paid", false},
		{endpoint.Filter{"order"}, "order", true},
		{endpoint.Filter{"order"}, "order.paid", false},
		{endpoint.Filter{"order.*"}, "order.paid", true},
		{endpoint.Filter{"order.*"}, "order.item.added", true},
		{endpoint.Filter{"order.*"}, "order", false},
		{endpoint.Filter{"order.*"}, "orders.paid", false},
		{endpoint.Filter{"order.*"}, "reorder.paid", false},
		{endpoint.Filter{"order.item.*"}, "order.item.added", true},
		{endpoint.Filter{"order.item.*"}, "order.paid", false},
		{endpoint.Filter{"user.created", "order.*"}, "order.paid", true},
		{endpoint.Filter{"user.created", "order.*"}, "user.deleted", false},
	} {
		require.Equal(t, tt.want, tt.filter.Matches(tt.eventType), "%v, %s", tt.filter, tt.eventType)
	}
}

var limits = endpoint.Limits{MaxTimeout: 30 * time.Second, CheckURL: netguard.Policy{}.CheckURL}

func good() endpoint.Endpoint {
	return endpoint.Endpoint{URL: "https://example.com/webhooks?x=1", Status: endpoint.Enabled, Signature: endpoint.Standard}
}

func TestGoodEndpoints(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*endpoint.Endpoint){
		"as it is":         func(*endpoint.Endpoint) {},
		"http":             func(e *endpoint.Endpoint) { e.URL = "http://example.com" },
		"port":             func(e *endpoint.Endpoint) { e.URL = "https://example.com:8443/" },
		"address":          func(e *endpoint.Endpoint) { e.URL = "https://93.184.215.14/" },
		"not ASCII":        func(e *endpoint.Endpoint) { e.URL = "https://bücher.example/ä?ö" },
		"longest URL":      func(e *endpoint.Endpoint) { e.URL = "https://example.com/" + strings.Repeat("x", 2048-20) },
		"disabled":         func(e *endpoint.Endpoint) { e.Status = endpoint.Disabled },
		"description":      func(e *endpoint.Endpoint) { e.Description = strings.Repeat("x", 1000) },
		"shortest timeout": func(e *endpoint.Endpoint) { e.Timeout = 100 * time.Millisecond },
		"longest timeout":  func(e *endpoint.Endpoint) { e.Timeout = 30 * time.Second },
		"filter":           func(e *endpoint.Endpoint) { e.Filter = endpoint.Filter{"*", "order.*", "order", "order.paid", "A-b_1"} },
		"most entries": func(e *endpoint.Endpoint) {
			for i := range 100 {
				e.Filter = append(e.Filter, fmt.Sprint("type.", i))
			}
		},
		"schedule": func(e *endpoint.Endpoint) { e.Retry.Schedule = []time.Duration{0, time.Second, 7 * 24 * time.Hour} },
		"base": func(e *endpoint.Endpoint) {
			e.Retry = backoff.Policy{Base: time.Second, Cap: time.Minute, MaxAttempts: 3}
		},
	} {
		e := good()
		change(&e)
		require.NoError(t, e.Check(limits), name)
	}
}

func TestBadEndpointsNameTheField(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change func(*endpoint.Endpoint)
		field  string
	}{
		"no URL":                {func(e *endpoint.Endpoint) { e.URL = "" }, "url"},
		"relative":              {func(e *endpoint.Endpoint) { e.URL = "/webhooks" }, "url"},
		"no scheme":             {func(e *endpoint.Endpoint) { e.URL = "example.com/webhooks" }, "url"},
		"no scheme but slashes": {func(e *endpoint.Endpoint) { e.URL = "//example.com/webhooks" }, "url"},
		"ftp":                   {func(e *endpoint.Endpoint) { e.URL = "ftp://example.com" }, "url"},
		"opaque":                {func(e *endpoint.Endpoint) { e.URL = "https:example.com" }, "url"},
		"no host":               {func(e *endpoint.Endpoint) { e.URL = "https:///webhooks" }, "url"},
		"port only":             {func(e *endpoint.Endpoint) { e.URL = "https://:443/" }, "url"},
		"bad port":              {func(e *endpoint.Endpoint) { e.URL = "https://example.com:99999/" }, "url"},
		"fragment":              {func(e *endpoint.Endpoint) { e.URL = "https://example.com/#top" }, "url"},
		"empty fragment":        {func(e *endpoint.Endpoint) { e.URL = "https://example.com/#" }, "url"},
		"line break":            {func(e *endpoint.Endpoint) { e.URL = "https://example.com/\nx" }, "url"},
		"space":                 {func(e *endpoint.Endpoint) { e.URL = "https://exa mple.com/" }, "url"},
		"NUL":                   {func(e *endpoint.Endpoint) { e.URL = "https://example.com/\x00" }, "url"},
		"userinfo":              {func(e *endpoint.Endpoint) { e.URL = "https://user:pw@example.com/" }, "url"},
		"loopback":              {func(e *endpoint.Endpoint) { e.URL = "https://127.0.0.1/" }, "url"},
		"metadata service":      {func(e *endpoint.Endpoint) { e.URL = "http://169.254.169.254/latest" }, "url"},
		"long URL":              {func(e *endpoint.Endpoint) { e.URL = "https://example.com/" + strings.Repeat("x", 2048-19) }, "url"},
		"description":           {func(e *endpoint.Endpoint) { e.Description = strings.Repeat("x", 1001) }, "description"},
		"NUL in description":    {func(e *endpoint.Endpoint) { e.Description = "a\x00b" }, "description"},
		"no status":             {func(e *endpoint.Endpoint) { e.Status = "" }, "status"},
		"unknown status":        {func(e *endpoint.Endpoint) { e.Status = "paused" }, "status"},
		"timeout too short":     {func(e *endpoint.Endpoint) { e.Timeout = 99 * time.Millisecond }, "timeout"},
		"timeout too long":      {func(e *endpoint.Endpoint) { e.Timeout = 30*time.Second + 1 }, "timeout"},
		"negative timeout":      {func(e *endpoint.Endpoint) { e.Timeout = -time.Second }, "timeout"},
		"empty entry":           {func(e *endpoint.Endpoint) { e.Filter = endpoint.Filter{""} }, "event_types"},
		"entry with a space":    {func(e *endpoint.Endpoint) { e.Filter = endpoint.Filter{"order.paid", "a b"} }, "event_types"},
		"star in front":         {func(e *endpoint.Endpoint) { e.Filter = endpoint.Filter{"*.paid"} }, "event_types"},
		"star in the middle":    {func(e *endpoint.Endpoint) { e.Filter = endpoint.Filter{"order.*.paid"} }, "event_types"},
		"star without a dot":    {func(e *endpoint.Endpoint) { e.Filter = endpoint.Filter{"order*"} }, "event_types"},
		"two stars":             {func(e *endpoint.Endpoint) { e.Filter = endpoint.Filter{"order.**"} }, "event_types"},
		"dot at the end":        {func(e *endpoint.Endpoint) { e.Filter = endpoint.Filter{"order."} }, "event_types"},
		"line break at the end": {func(e *endpoint.Endpoint) { e.Filter = endpoint.Filter{"order\n"} }, "event_types"},
		"repeated entry":        {func(e *endpoint.Endpoint) { e.Filter = endpoint.Filter{"a", "b", "a"} }, "event_types"},
		"long entry":            {func(e *endpoint.Endpoint) { e.Filter = endpoint.Filter{strings.Repeat("x", 201)} }, "event_types"},
		"too many entries":      {func(e *endpoint.Endpoint) { e.Filter = make(endpoint.Filter, 101) }, "event_types"},
		"two shapes of retry":   {func(e *endpoint.Endpoint) { e.Retry = backoff.Policy{Schedule: []time.Duration{1}, Base: time.Second} }, "retry"},
		"endless retry":         {func(e *endpoint.Endpoint) { e.Retry.MaxAttempts = 101 }, "retry"},
	} {
		e := good()
		tt.change(&e)
		err := e.Check(limits)
		require.Equal(t, fault.KindInvalid, fault.KindOf(err), name)
		require.Equal(t, fault.Code("invalid_endpoint"), fault.CodeOf(err), name)
		require.Equal(t, tt.field, fault.From(err).Field, name)
		require.NotEmpty(t, fault.From(err).Message, name)
		require.Empty(t, fault.From(err).Details, name)
	}
}

func TestAllProblemsOfAnEndpointComeTogether(t *testing.T) {
	t.Parallel()
	e := endpoint.Endpoint{URL: "nowhere", Description: strings.Repeat("\x00", 1001), Filter: endpoint.Filter{"a b"}, Status: "paused", Timeout: time.Hour, Headers: map[string]string{"Host": "x"}, Rate: endpoint.Rate{PerSecond: -1}, Retry: backoff.Policy{Jitter: 2}}
	f := fault.From(e.Check(limits))
	var fields []string
	for _, d := range f.Details {
		fields = append(fields, d.Field)
	}
	require.Equal(t, []string{"url", "description", "description", "event_types", "status", "timeout", "headers.Host", "signature_headers", "rate_limit", "retry"}, fields)
	require.Equal(t, f.Details[0].Field, f.Field)
	require.Equal(t, f.Details[0].Message, f.Message)
}

// What is said of a URL is made of the URL, and of nothing that only this side knows: no name is looked up, no list is shown.
func TestWhatARefusedURLReveals(t *testing.T) {
	t.Parallel()
	policy := netguard.Policy{
		HTTPSOnly: true, Ports: []uint16{443, 8443},
		Allow: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}, Deny: []netip.Prefix{netip.MustParsePrefix("93.184.0.0/16"), netip.MustParsePrefix("10.1.7.0/24")},
	}
	for url, want := range map[string]string{
		"http://example.com":               "the URL must start with https://: this installation sends to nothing else",
		"https://example.com:22":           "the URL's port is not permitted",
		"https://10.2.0.1":                 "address 10.2.0.1:443 is not permitted: it is not a public address",
		"https://[::ffff:10.2.0.1]":        "address [::ffff:10.2.0.1]:443 is not permitted: it is not a public address",
		"https://10.1.7.1":                 "address 10.1.7.1:443 is not permitted: this installation does not connect to this network",
		"https://93.184.215.14":            "address 93.184.215.14:443 is not permitted: this installation does not connect to this network",
		"https://169.254.169.254":          "address 169.254.169.254:443 is not permitted: it is a cloud metadata service",
		"https://[fe80::1%25eth0]":         "the URL's address must not have a zone",
		"https://0x7f000001":               "the URL's address must be written in the usual form, such as 192.0.2.1",
		"https://localhost.":               "the URL must not name this machine",
		"https://user:word@10.1.0.1":       "the URL must not contain a user name or password",
		"https://10.1.0.1":                 "",
		"https://surely.nothing.invalid":   "", // it is not looked up
		"https://metadata.google.internal": "",
	} {
		e := good()
		e.URL = url
		err := e.Check(endpoint.Limits{MaxTimeout: time.Second, CheckURL: policy.CheckURL})
		if want == "" {
			require.NoError(t, err, url)
			continue
		}
		require.Equal(t, "url", fault.From(err).Field, url)
		require.Equal(t, want, fault.From(err).Message, url)
	}
}

func TestTheInstallationRefusesURLs(t *testing.T) {
	t.Parallel()
	e := good()
	refuse := endpoint.Limits{MaxTimeout: time.Second, CheckURL: func(u *url.URL) error { return errors.New(u.Host + " is not for you") }}
	require.Equal(t, "example.com is not for you", fault.From(e.Check(refuse)).Message)
	require.NoError(t, e.Check(endpoint.Limits{MaxTimeout: time.Second}))
}

func TestHeaders(t *testing.T) {
	t.Parallel()
	for name, wrong := range map[string]bool{
		"X-Shop": false, "authorization": false, "x_y.z~1": false, "X-Forward": false, "Webhooks": false,
		"": true, "a b": true, "ä": true, "a:": true, strings.Repeat("a", 101): true,
		"Host": true, "CONTENT-TYPE": true, "Transfer-Encoding": true, "Proxy-Authorization": true, "Webhook-Id": true, "svix-signature": true, "Beaconpost-Attempt": true, "Traceparent": true,
	} {
		e := good()
		e.Headers = map[string]string{name: "v"}
		require.Equal(t, wrong, e.Check(limits) != nil, name)
	}
	for value, wrong := range map[string]bool{"": false, "a b\tc": false, " a": true, "a\n": true, "ü": true, "\x7f": true, strings.Repeat("a", 4096): false, strings.Repeat("a", 4097): true} {
		e := good()
		e.Headers = map[string]string{"X-A": value}
		require.Equal(t, wrong, e.Check(limits) != nil, "%.10q", value)
	}
	e := good()
	e.Headers = map[string]string{}
	for i := range 33 {
		e.Headers["X-"+strings.Repeat("a", i)] = "v"
	}
	require.Error(t, e.Check(limits))
}
