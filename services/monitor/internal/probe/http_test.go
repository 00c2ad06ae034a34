package probe

import (
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
)

func TestHTTPSendsWhatTheSpecSays(t *testing.T) {
	t.Parallel()
	var seen *http.Request
	var body []byte
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		seen = r
		body, _ = io.ReadAll(r.Body)
	})
	spec := get(url + "/path?q=1")
	spec.Method, spec.Body = "POST", `{"a":1}`
	spec.Headers = map[string]string{"content-type": "application/json", "Host": "other.test", "X-Own": "1"}
	spec.Auth = &check.Auth{Username: "me", Password: "pass:word"}
	r := checkIt(t, newProber(t), job(spec))
	require.Equal(t, check.Up, r.Outcome, r.Detail)
	require.Equal(t, 200, r.Status)
	require.Equal(t, "127.0.0.1", r.IP)
	require.Equal(t, "POST", seen.Method)
	require.Equal(t, "/path?q=1", seen.RequestURI)
	require.Equal(t, "other.test", seen.Host)
	require.Equal(t, "Beaconpost/test", seen.UserAgent())
	require.Equal(t, `{"a":1}`, string(body))
	require.Equal(t, "1", seen.Header.Get("X-Own"))
	require.Empty(t, seen.Header.Get("Accept-Encoding"))
	require.True(t, seen.Close, "no connection is used again")
	user, password, ok := seen.BasicAuth()
	require.True(t, ok)
	require.Equal(t, "me pass:word", user+" "+password)
}

func TestHTTPMeasuresPhases(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	url := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{ca.valid(t)}}, nil)
	spec := get(strings.Replace(url, "127.0.0.1", "localhost", 1))
	spec.IPFamily = "4"
	r := checkIt(t, newProber(t, ca.trusted), job(spec))
	require.Equal(t, check.Up, r.Outcome, r.Detail)
	for _, phase := range []time.Duration{r.Phases.Resolve, r.Phases.Connect, r.Phases.TLS, r.Phases.Processing, r.Phases.Transfer} {
		require.Positive(t, phase)
	}
}

func TestHTTPVersions(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	p := newProber(t, ca.trusted)
	both := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{ca.valid(t)}}, nil)
	old := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{ca.valid(t)}, NextProtos: []string{"http/1.1"}}, nil)
	for version, proto := range map[string]string{"": "HTTP/2.0", "2": "HTTP/2.0", "1.1": "HTTP/1.1"} {
		spec := get(both)
		spec.HTTPVersion, spec.ExpectBody = version, []check.Match{{Equals: proto}}
		require.Equal(t, check.Up, checkIt(t, p, job(spec)).Outcome, version)
	}
	spec := get(old)
	require.Equal(t, check.Up, checkIt(t, p, job(spec)).Outcome)
	spec.HTTPVersion = "2"
	require.Contains(t, []check.Cause{check.CauseProtocol, check.CauseTLS}, checkIt(t, p, job(spec)).Cause)
}

func TestHTTPConditions(t *testing.T) {
	t.Parallel()
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Version", "1.2.3")
		w.Header().Add("X-Many", "one")
		w.Header().Add("X-Many", "two")
		w.Header().Set("Set-Cookie", "session=secret")
		if r.URL.Path == "/missing" {
			w.WriteHeader(http.StatusNotFound)
		}
		_, _ = io.WriteString(w, `{"status":"ok","count":3,"list":[{"name":"a","up":true},{"name":"b","up":false}],"none":null}`)
	})
	p := newProber(t)
	for name, tt := range map[string]struct {
		change func(*check.Spec)
		cause  check.Cause
	}{
		"status":                 {func(s *check.Spec) { s.StatusCodes = []string{"404", "200-204"} }, ""},
		"status class":           {func(s *check.Spec) { s.StatusCodes = []string{"2xx"} }, ""},
		"another status":         {func(s *check.Spec) { s.StatusCodes = []string{"3xx", "404"} }, check.CauseStatus},
		"not found":              {func(s *check.Spec) { s.URL += "/missing" }, check.CauseStatus},
		"not found, as expected": {func(s *check.Spec) { s.URL += "/missing"; s.StatusCodes = []string{"404"} }, ""},

		"header":              {func(s *check.Spec) { s.ExpectHeaders = []check.Match{{Name: "x-version", Matches: `^1\.`}} }, ""},
		"header, second":      {func(s *check.Spec) { s.ExpectHeaders = []check.Match{{Name: "X-Many", Equals: "two"}} }, ""},
		"header, not there":   {func(s *check.Spec) { s.ExpectHeaders = []check.Match{{Name: "X-None", Equals: "two"}} }, check.CauseHeader},
		"header, not":         {func(s *check.Spec) { s.ExpectHeaders = []check.Match{{Name: "X-None", Matches: ".", Not: true}} }, ""},
		"header, not, but is": {func(s *check.Spec) { s.ExpectHeaders = []check.Match{{Name: "X-Many", Equals: "two", Not: true}} }, check.CauseHeader},

		"body":          {func(s *check.Spec) { s.ExpectBody = []check.Match{{Contains: `"ok"`}, {Matches: `"count":\d`}} }, ""},
		"body, other":   {func(s *check.Spec) { s.ExpectBody = []check.Match{{Contains: `"ok"`}, {Contains: "error"}} }, check.CauseBody},
		"body, not":     {func(s *check.Spec) { s.ExpectBody = []check.Match{{Contains: "error", Not: true}} }, ""},
		"body, not, is": {func(s *check.Spec) { s.ExpectBody = []check.Match{{Contains: "ok", Not: true}} }, check.CauseBody},

		"json":        {func(s *check.Spec) { s.ExpectJSON = []check.JSONMatch{{Path: "$.count", Equals: 3}} }, ""},
		"json, other": {func(s *check.Spec) { s.ExpectJSON = []check.JSONMatch{{Path: "$.count", Equals: "3"}} }, check.CauseBody},
		"json, any of": {func(s *check.Spec) {
			s.ExpectJSON = []check.JSONMatch{{Path: "$.list[?@.up == true].name", Equals: "a"}}
		}, ""},
		"json, exists":   {func(s *check.Spec) { s.ExpectJSON = []check.JSONMatch{{Path: "$.none"}} }, ""},
		"json, does not": {func(s *check.Spec) { s.ExpectJSON = []check.JSONMatch{{Path: "$.nothing"}} }, check.CauseBody},
		"json, must not": {func(s *check.Spec) { s.ExpectJSON = []check.JSONMatch{{Path: "$.error", Not: true}} }, ""},
		"json, a whole value": {func(s *check.Spec) {
			s.ExpectJSON = []check.JSONMatch{{Path: "$.list[0]", Equals: map[string]any{"up": true, "name": "a"}}}
		}, ""},
		"json, cut": {func(s *check.Spec) { s.MaxBodyBytes = 10; s.ExpectJSON = []check.JSONMatch{{Path: "$.count"}} }, check.CauseBody},

		"assertion": {func(s *check.Spec) {
			s.Assert = `status == 200 && json.count > 2 && headers["x-version"].startsWith("1.")`
		}, ""},
		"assertion on list": {func(s *check.Spec) {
			s.Assert = `json.list.exists(l, l.up) && duration_ms < 20000 && certificate_days == -1`
		}, ""},
		"assertion on body":   {func(s *check.Spec) { s.Assert = `body.contains("ok") && ip == "127.0.0.1" && connect_ms >= 0` }, ""},
		"assertion, false":    {func(s *check.Spec) { s.Assert = `json.count == 4` }, check.CauseAssertion},
		"assertion, no field": {func(s *check.Spec) { s.Assert = `json.nothing == 4` }, check.CauseAssertion},
		"assertion, no json":  {func(s *check.Spec) { s.MaxBodyBytes = 10; s.Assert = `json == null` }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			spec := get(url)
			tt.change(&spec)
			require.NoError(t, spec.Check())
			r := checkIt(t, p, job(spec))
			require.Equal(t, tt.cause, r.Cause, "%+v %+v", r, r.Evidence)
			if tt.cause == "" {
				require.Equal(t, check.Up, r.Outcome)
				return
			}
			require.Equal(t, check.Down, r.Outcome)
			require.NotEmpty(t, r.Evidence.Expected)
			require.Contains(t, r.Evidence.Body, `{"status`)
			require.Equal(t, []string{hidden}, r.Evidence.Header["Set-Cookie"])
			text, err := json.Marshal(r.Evidence)
			require.NoError(t, err)
			require.NotContains(t, string(text), "secret")
		})
	}
}

func TestHTTPJudgesSlownessAndInverts(t *testing.T) {
	t.Parallel()
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/bad" {
			w.WriteHeader(http.StatusBadGateway)
		}
	})
	p := newProber(t)
	j := job(get(url))
	j.Degraded = time.Nanosecond
	r := checkIt(t, p, j)
	require.Equal(t, check.Degraded, r.Outcome)
	require.Equal(t, check.CauseSlow, r.Cause)
	require.Equal(t, "127.0.0.1", r.Evidence.Hops[0].IP)

	inverted := func(url string) check.Result {
		spec := get(url)
		spec.Invert = true
		return checkIt(t, p, job(spec))
	}
	require.Equal(t, check.CauseInverted, inverted(url).Cause)
	require.Equal(t, check.Down, inverted(url).Outcome)
	require.Equal(t, check.Up, inverted(url+"/bad").Outcome)
	require.Equal(t, check.Up, inverted("http://"+closedPort(t)).Outcome)
	blocked := newProber(t, func(c *Config) { c.Network.AllowLoopback = false })
	spec := get(url)
	spec.Invert = true
	require.Equal(t, check.CauseBlockedAddress, checkIt(t, blocked, job(spec)).Cause, "what is not looked at is not up")
}
