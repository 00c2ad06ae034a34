package check_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/beaconpost/beaconpost/pkg/fault"
	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
)

func TestValidSpecs(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		`{"kind":"http","url":"https://example.com/health?x=1"}`,
		`{"kind":"http","url":"http://[2001:db8::1]:8080/","method":"PATCH","headers":{"Host":"a.test","X-A":"b"},"body":"x","auth":{"bearer":"t"},"max_redirects":0}`,
		`{"kind":"http","url":"https://bücher.example/","http_version":"2","status_codes":["2xx","301","400-499"],"invert":true}`,
		`{"kind":"http","url":"https://a.test","expect_headers":[{"name":"ETag","matches":"^W/"}],"expect_body":[{"contains":"ok","not":true}]}`,
		`{"kind":"http","url":"https://a.test","expect_json":[{"path":"$.items[?@.up == true].name","equals":"a"},{"path":"$..error","not":true}]}`,
		`{"kind":"http","url":"https://a.test","assert":"status == 200","certificate_days":14,"tls":{"server_name":"b.test"}}`,
		`{"kind":"tcp","host":"a.test","port":25,"starttls":"smtp","certificate_days":7}`,
		`{"kind":"udp","host":"a.test","port":9987,"send":"PING","expect":"^PONG"}`,
		`{"kind":"tcp","host":"192.0.2.1","port":6379,"send":"PING\r\n","expect":"^\\+PONG"}`,
		`{"kind":"tls","host":"a.test","port":443,"ip_family":"6"}`,
		`{"kind":"dns","host":"_dmarc.a.test","record_type":"TXT","answers":["v=DMARC1"]}`,
		`{"kind":"http","url":"https://a.test/","http_version":"3","resolver":"192.0.2.53"}`,
		`{"kind":"icmp","host":"a.test","resolver":"[2001:db8::53]:5353"}`,
		`{"kind":"dns","host":".","record_type":"NS","resolver":"192.0.2.53","port":5353,"transport":"tcp","rcode":"NOERROR"}`,
		`{"kind":"icmp","host":"2001:db8::1","packets":5,"max_loss":20}`,
		`{"kind":"grpc","host":"a.test","port":50051,"service":"x.Y","plaintext":true}`,
		`{"kind":"websocket","url":"wss://a.test/socket","send":"ping","expect":"pong","auth":{"username":"a","password":"b:c"}}`,
		`{"kind":"heartbeat","expected":{"every":"1h"}}`,
		`{"kind":"http","url":"https://a.test","cache_token":true,"auth":{"oauth2":{"token_url":"https://id.test/token?x=1","client_id":"a:b","client_secret":"s","scopes":["read","api://x/.default"],"audience":"https://a.test"}}}`,
		`{"kind":"http","url":"https://a.test","proxy":"http://me:p%40ss@proxy.test:3128","headers":{"Host":"b.test"}}`,
		`{"kind":"http","url":"http://a.test","proxy":"socks5://[2001:db8::1]:1080/","headers":{"Host":"b.test"}}`,
		`{"kind":"websocket","url":"wss://a.test","proxy":"socks5://proxy.test:1080","auth":{"oauth2":{"token_url":"http://id.test/token","client_id":"a","client_secret":"s"}}}`,
	} {
		require.NoError(t, parse(t, text).Check(), text)
	}
}

func parse(t *testing.T, text string) *check.Spec {
	t.Helper()
	spec := new(check.Spec)
	require.NoError(t, json.Unmarshal([]byte(text), spec), text)
	return spec
}

func TestInvalidSpecsNameTheField(t *testing.T) {
	t.Parallel()
	http := func(fields string) string { return `{"kind":"http","url":"https://a.test",` + fields + `}` }
	const oauth = `{"token_url":"https://id.test","client_id":"a","client_secret":"secret"}`
	long := strings.Repeat("x", 70<<10)
	for _, tt := range []struct{ field, spec string }{
		{"kind", `{}`},
		{"kind", `{"kind":"ftp"}`},
		{"url", `{"kind":"http"}`},
		{"url", `{"kind":"http","url":"a.test"}`},
		{"url", `{"kind":"http","url":"ws://a.test"}`},
		{"url", `{"kind":"http","url":"http://a b"}`},
		{"url", `{"kind":"http","url":"http:///path"}`},
		{"url", `{"kind":"http","url":"http:a.test"}`},
		{"url", `{"kind":"http","url":"http://a.test:0/"}`},
		{"url", `{"kind":"http","url":"http://a.test:99999/"}`},
		{"url", `{"kind":"http","url":"http://me:secret@a.test/"}`},
		{"url", `{"kind":"http","url":"http://2130706433/"}`},
		{"url", `{"kind":"http","url":"http://127.1/"}`},
		{"url", `{"kind":"http","url":"http://0x7f000001/"}`},
		{"url", `{"kind":"http","url":"http://[fe80::1%25eth0]/"}`},
		{"url", `{"kind":"http","url":"http://192.0.2.1/","ip_family":"6"}`},
		{"url", `{"kind":"websocket","url":"https://a.test"}`},
		{"host", http(`"host":"a.test"`)},
		{"port", http(`"port":80`)},
		{"record_type", http(`"record_type":"A"`)},
		{"plaintext", http(`"plaintext":true`)},
		{"expected", http(`"expected":{"every":"1h"}`)},
		{"ip_family", http(`"ip_family":"5"`)},
		{"method", http(`"method":"get"`)},
		{"method", http(`"method":"G T"`)},
		{"method", http(`"method":"CONNECT"`)},
		{"headers.X A", http(`"headers":{"X A":"b"}`)},
		{"headers.X-A", http(`"headers":{"X-A":"b\r\nX-B: c"}`)},
		{"headers.Content-Length", http(`"headers":{"Content-Length":"3"}`)},
		{"headers.authorization", http(`"headers":{"authorization":"x"},"auth":{"bearer":"t"}`)},
		{"body", http(`"body":"` + long + `"`)},
		{"auth", http(`"auth":{}`)},
		{"auth", http(`"auth":{"username":"a","bearer":"b"}`)},
		{"auth.bearer", http(`"auth":{"bearer":"a\nb"}`)},
		{"auth.username", http(`"auth":{"username":"a:b"}`)},
		{"max_redirects", http(`"max_redirects":21`)},
		{"max_redirects", http(`"max_redirects":-1`)},
		{"max_body_bytes", http(`"max_body_bytes":100000000`)},
		{"max_body_bytes", http(`"max_body_bytes":-1`)},
		{"http_version", http(`"http_version":"4"`)},
		{"http_version", `{"kind":"http","url":"http://a.test","http_version":"3"}`},
		{"http_version", `{"kind":"http","url":"https://a.test","http_version":"3","proxy":"http://proxy.test:3128"}`},
		{"http_version", `{"kind":"http","url":"http://a.test","http_version":"2"}`},
		{"tls.ca", http(`"tls":{"ca":"none"}`)},
		{"tls.client_certificate", http(`"tls":{"client_certificate":"none"}`)},
		{"tls.server_name", http(`"tls":{"server_name":"a b"}`)},
		{"status_codes.1", http(`"status_codes":["200","2x"]`)},
		{"status_codes.0", http(`"status_codes":["299-200"]`)},
		{"status_codes.0", http(`"status_codes":["200-"]`)},
		{"status_codes.0", http(`"status_codes":["9xx"]`)},
		{"status_codes.0", http(`"status_codes":["+200"]`)},
		{"expect_headers.0.name", http(`"expect_headers":[{"equals":"x"}]`)},
		{"expect_headers.0", http(`"expect_headers":[{"name":"A"}]`)},
		{"expect_headers.0", http(`"expect_headers":[{"name":"A","equals":"x","contains":"y"}]`)},
		{"expect_body.0.name", http(`"expect_body":[{"name":"A","equals":"x"}]`)},
		{"expect_body.0.matches", http(`"expect_body":[{"matches":"("}]`)},
		{"expect_body.0.matches", http(`"expect_body":[{"matches":"(x{100}){10}y{100}"}]`)},
		{"expect_json.0.path", http(`"expect_json":[{"path":"status"}]`)},
		{"expect_json.0.path", http(`"expect_json":[{"path":""}]`)},
		{"expect_json.0.path", http(`"expect_json":[{"path":"$..*..*"}]`)},
		{"expect_json.0.path", http(`"expect_json":[{"path":"$[?@[?@.a]]"}]`)},
		{"expect_json.0.path", http(`"expect_json":[{"path":"$[?search(@.a, 'x')]"}]`)},
		{"assert", http(`"assert":"` + strings.Repeat("x", 5000) + `"`)},
		{"certificate_days", http(`"certificate_days":-1`)},
		{"certificate_days", `{"kind":"tcp","host":"a.test","port":1,"certificate_days":3}`},
		{"certificate_days", `{"kind":"websocket","url":"ws://a.test","certificate_days":3}`},
		{"tls", `{"kind":"grpc","host":"a.test","port":1,"plaintext":true,"tls":{}}`},
		{"port", `{"kind":"tcp","host":"a.test"}`},
		{"port", `{"kind":"udp","host":"a.test","send":"x"}`},
		{"send", `{"kind":"udp","host":"a.test","port":53}`},
		{"send", `{"kind":"udp","host":"a.test","port":53,"send":"` + strings.Repeat("x", 1201) + `"}`},
		{"port", `{"kind":"tcp","host":"a.test","port":65536}`},
		{"host", `{"kind":"tcp","host":"a.test:80","port":80}`},
		{"host", `{"kind":"tcp","port":80}`},
		{"expect", `{"kind":"tcp","host":"a.test","port":80,"expect":"("}`},
		{"starttls", `{"kind":"tls","host":"a.test","port":80,"starttls":"xmpp"}`},
		{"send", `{"kind":"tls","host":"a.test","port":80,"send":"x"}`},
		{"record_type", `{"kind":"dns","host":"a.test","record_type":"AXFR"}`},
		{"record_type", `{"kind":"dns","host":"a.test","record_type":"a"}`},
		{"rcode", `{"kind":"dns","host":"a.test","rcode":"OK"}`},
		{"transport", `{"kind":"dns","host":"a.test","transport":"https"}`},
		{"resolver", `{"kind":"dns","host":"a.test","transport":"tls"}`},
		{"resolver", `{"kind":"dns","host":"a.test","resolver":"192.0.2.1:53"}`},
		{"resolver", http(`"resolver":"dns.test"`)},
		{"resolver", http(`"resolver":"192.0.2.1:x"`)},
		{"resolver", http(`"resolver":"192.0.2.1:0"`)},
		{"resolver", http(`"resolver":"fe80::1%eth0"`)},
		{"body", http(`"body":"a\u0000b"`)},
		{"assert", http(`"assert":"a\u0000b"`)},
		{"expect_json.1.equals.a.0", http(`"expect_json":[{"path":"$"},{"path":"$","equals":{"a":["\u0000"]}}]`)},
		{"expect_headers.0.contains", http(`"expect_headers":[{"name":"X","contains":"\u0000"}]`)},
		{"auth.bearer", http(`"auth":{"bearer":"\u0000"}`)},
		{"send", `{"kind":"tcp","host":"a.test","port":1,"send":"\u0000"}`},
		{"port", `{"kind":"dns","host":"a.test","port":53}`},
		{"answers.0", `{"kind":"dns","host":"a.test","answers":[""]}`},
		{"packets", `{"kind":"icmp","host":"a.test","packets":1000}`},
		{"max_loss", `{"kind":"icmp","host":"a.test","max_loss":100}`},
		{"service", `{"kind":"grpc","host":"a.test","port":1,"service":"a\nb"}`},
		{"invert", `{"kind":"heartbeat","expected":{"every":"1h"},"invert":true}`},
		{"expected", `{"kind":"heartbeat"}`},
		{"auth", http(`"auth":{"bearer":"b","oauth2":` + oauth + `}`)},
		{"auth", `{"kind":"tcp","host":"a.test","port":1,"auth":{"oauth2":` + oauth + `}}`},
		{"auth.oauth2.token_url", http(`"auth":{"oauth2":{"client_id":"a","client_secret":"secret"}}`)},
		{"auth.oauth2.token_url", http(`"auth":{"oauth2":{"token_url":"ftp://a.test","client_id":"a","client_secret":"secret"}}`)},
		{"auth.oauth2.token_url", http(`"auth":{"oauth2":{"token_url":"https://a:secret@a.test","client_id":"a","client_secret":"secret"}}`)},
		{"auth.oauth2.token_url", http(`"auth":{"oauth2":{"token_url":"https://127.1/","client_id":"a","client_secret":"secret"}}`)},
		{"auth.oauth2.token_url", http(`"auth":{"oauth2":{"token_url":"https://a.test/#b","client_id":"a","client_secret":"secret"}}`)},
		{"auth.oauth2.client_id", http(`"auth":{"oauth2":{"token_url":"https://a.test","client_secret":"secret"}}`)},
		{"auth.oauth2.client_secret", http(`"auth":{"oauth2":{"token_url":"https://a.test","client_id":"a"}}`)},
		{"auth.oauth2.client_secret", http(`"auth":{"oauth2":{"token_url":"https://a.test","client_id":"a","client_secret":"` + long + `"}}`)},
		{"auth.oauth2.scopes.1", http(`"auth":{"oauth2":{"token_url":"https://a.test","client_id":"a","client_secret":"secret","scopes":["a","b c"]}}`)},
		{"auth.oauth2.audience", http(`"auth":{"oauth2":{"token_url":"https://a.test","client_id":"a","client_secret":"secret","audience":"a\nb"}}`)},
		{"headers.Authorization", http(`"headers":{"Authorization":"x"},"auth":{"oauth2":` + oauth + `}`)},
		{"proxy", http(`"proxy":"https://proxy.test:3128"`)},
		{"proxy", http(`"proxy":"proxy.test:3128"`)},
		{"proxy", http(`"proxy":"http://proxy.test"`)},
		{"proxy", http(`"proxy":"http://me:secret@proxy.test:99999"`)},
		{"proxy", http(`"proxy":"http://me:secret@2130706433:80"`)},
		{"proxy", http(`"proxy":"http://me:sec/secret@proxy.test:80"`)},
		{"proxy", http(`"proxy":"http://me:secret@proxy.test:80/path"`)},
		{"proxy", http(`"proxy":"http://:secret@proxy.test:80"`)},
		{"proxy", http(`"proxy":"http://a%3Ab:secret@proxy.test:80"`)},
		{"proxy", http(`"proxy":"socks5://me:` + long[:256] + `@proxy.test:80"`)},
		{"proxy", `{"kind":"tls","host":"a.test","port":1,"proxy":"http://proxy.test:80"}`},
		{"ip_family", http(`"proxy":"http://proxy.test:80","ip_family":"6"`)},
		{"headers", `{"kind":"http","url":"http://a.test","proxy":"http://proxy.test:80","headers":{"host":"b.test"}}`},
		{"headers.Proxy-Authorization", http(`"proxy":"http://proxy.test:80","headers":{"Proxy-Authorization":"x"}`)},
		{"cache_token", `{"kind":"websocket","url":"wss://a.test","cache_token":true}`},
	} {
		err := parse(t, tt.spec).Check()
		require.Error(t, err, tt.spec)
		f := fault.From(err)
		require.Equal(t, fault.Code("invalid_monitor"), f.Code)
		require.Equal(t, tt.field, f.Field, "%s: %s", tt.spec, f.Message)
		require.True(t, strings.HasPrefix(f.Message, tt.field), f.Message)
		require.NotContains(t, strings.ReplaceAll(f.Message, "client_secret", ""), "secret")
	}
}

func TestAllProblemsAreReported(t *testing.T) {
	t.Parallel()
	err := parse(t, `{"kind":"http","url":"ftp://a.test","method":"get","status_codes":["x"]}`).Check()
	f := fault.From(err)
	require.Equal(t, "url", f.Field)
	require.Len(t, f.Details, 2)
	require.Equal(t, "method", f.Details[0].Field)
}

func TestParseStatus(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[0-9x]{1,4}(-[0-9x]{0,4})?|\PC*`).Draw(t, "status")
		first, last, err := check.ParseStatus(text)
		if err == nil && (first < 100 || last > 599 || last < first) {
			t.Fatalf("%q: %d-%d", text, first, last)
		}
	})
}

// Whatever is sent to the API, the validation ends with a verdict.
func FuzzSpecCheck(f *testing.F) {
	f.Add(`{"kind":"http","url":"https://a.test","expect_json":[{"path":"$.a"}]}`)
	f.Add(`{"kind":"dns","host":"a.test"}`)
	f.Fuzz(func(t *testing.T, text string) {
		spec := new(check.Spec)
		if json.Unmarshal([]byte(text), spec) == nil {
			_ = spec.Check()
		}
	})
}
