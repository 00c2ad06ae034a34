package probe

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/netguard"
	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
)

// issuer is a token endpoint. Tokens are canary-token-1, canary-token-2 and so on.
type issuer struct {
	mu      sync.Mutex
	issued  int
	revoked map[string]bool
	life    any // expires_in; nil: absent
	asked   []*http.Request
	forms   []string
}

func (i *issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	i.asked, i.forms = append(i.asked, r), append(i.forms, string(body))
	i.issued++
	answer := map[string]any{"access_token": fmt.Sprintf("canary-token-%d", i.issued), "token_type": "bearer"}
	if i.life != nil {
		answer["expires_in"] = i.life
	}
	_ = json.NewEncoder(w).Encode(answer)
}

func (i *issuer) revoke(token string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.revoked == nil {
		i.revoked = make(map[string]bool)
	}
	i.revoked[token] = true
}

// accepts says whether a request has a token that is good.
func (i *issuer) accepts(r *http.Request) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	text, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return ok && strings.HasPrefix(text, "canary-token-") && !i.revoked[text]
}

func (i *issuer) count() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.issued
}

// guard lets only those in who have a token, and tells all others what they sent.
func (i *issuer) guard(w http.ResponseWriter, r *http.Request) {
	if !i.accepts(r) {
		w.Header().Set("X-Echo", r.Header.Get("Authorization"))
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, "you sent "+r.Header.Get("Authorization"))
	}
}

func oauth(tokenURL, target string) check.Spec {
	spec := get(target)
	spec.Auth = &check.Auth{OAuth2: &check.OAuth2{TokenURL: tokenURL, ClientID: "me:too", ClientSecret: "canary secret/+"}}
	return spec
}

// requireSilent holds that a result tells nothing that was sent in confidence.
func requireSilent(t testing.TB, r check.Result) {
	t.Helper()
	text, err := json.Marshal(r)
	require.NoError(t, err)
	require.NotContains(t, string(text), "canary")
}

func TestTokensAreFetchedAndKept(t *testing.T) {
	t.Parallel()
	i := &issuer{life: 3600}
	target := serve(t, i.guard)
	spec := oauth(serve(t, i.ServeHTTP), target)
	spec.Auth.OAuth2.Scopes, spec.Auth.OAuth2.Audience = []string{"read", "write"}, "https://api.test"
	require.NoError(t, spec.Check())
	p, j := newProber(t), job(spec)
	for range 3 {
		r := checkIt(t, p, j)
		require.Equal(t, check.Up, r.Outcome, r.Detail)
		requireSilent(t, r)
	}
	require.Equal(t, 1, i.count(), "it is kept")
	asked := i.asked[0]
	require.Equal(t, "POST", asked.Method)
	require.Equal(t, "application/x-www-form-urlencoded", asked.Header.Get("Content-Type"))
	name, password, _ := asked.BasicAuth()
	require.Equal(t, "me%3Atoo canary+secret%2F%2B", name+" "+password, "each is encoded as in a form, by RFC 6749")
	require.Equal(t, "audience=https%3A%2F%2Fapi.test&grant_type=client_credentials&scope=read+write", i.forms[0])

	j.Version++
	checkIt(t, p, j)
	require.Equal(t, 2, i.count(), "another version gets one of its own")
	j.Monitor = uuid.Nil
	checkIt(t, p, j)
	checkIt(t, p, j)
	require.Equal(t, 4, i.count(), "that of a trial is not kept")
}

func TestTokensThatEnd(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		life any
		kept bool
	}{{nil, true}, {"3599", true}, {3599.5, true}, {1e300, true}, {60, true}, {0, false}, {-5, false}, {"soon", false}, {"NaN", false}} {
		i := &issuer{life: tt.life}
		p, j := newProber(t), job(oauth(serve(t, i.ServeHTTP), serve(t, i.guard)))
		checkIt(t, p, j)
		require.Equal(t, check.Up, checkIt(t, p, j).Outcome)
		require.Equal(t, tt.kept, i.count() == 1, "%v", tt.life)
	}
	i := &issuer{life: 60}
	p, j := newProber(t), job(oauth(serve(t, i.ServeHTTP), serve(t, i.guard)))
	checkIt(t, p, j)
	kept, _ := p.tokens.Get(tokenKey{j.Monitor, j.Version})
	require.WithinDuration(t, time.Now().Add(30*time.Second), kept.until, 5*time.Second)
	p.tokens.Add(tokenKey{j.Monitor, j.Version}, token{kept.text, time.Now().Add(-time.Second)})
	require.Equal(t, check.Up, checkIt(t, p, j).Outcome)
	require.Equal(t, 2, i.count())
}

func TestTokensAreBounded(t *testing.T) {
	t.Parallel()
	i := &issuer{life: 3600}
	p := newProber(t, func(c *Config) { c.Plans = 2 })
	spec := oauth(serve(t, i.ServeHTTP), serve(t, i.guard))
	for range 5 {
		checkIt(t, p, job(spec))
	}
	require.Equal(t, 2, p.tokens.Len())
}

func TestATokenThatIsRefusedIsFetchedOnceMore(t *testing.T) {
	t.Parallel()
	i := &issuer{life: 3600}
	endpoint := serve(t, i.ServeHTTP)
	socket := strings.Replace(serve(t, func(w http.ResponseWriter, r *http.Request) {
		if !i.accepts(r) {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		echo(w, r)
	}), "http", "ws", 1)
	ws := oauth(endpoint, socket)
	ws.Kind, ws.Send, ws.Expect = check.WebSocket, "ping", "^ping$"
	for _, spec := range []check.Spec{oauth(endpoint, serve(t, i.guard)), ws} {
		p, j := newProber(t), job(spec)
		require.Equal(t, check.Up, checkIt(t, p, j).Outcome)
		before := i.count()
		i.revoke(fmt.Sprintf("canary-token-%d", before))
		r := checkIt(t, p, j)
		require.Equal(t, check.Up, r.Outcome, r.Detail)
		require.Equal(t, before+1, i.count())
		require.Equal(t, check.Up, checkIt(t, p, j).Outcome)
		require.Equal(t, before+1, i.count())

		for n := before + 1; n < before+4; n++ {
			i.revoke(fmt.Sprintf("canary-token-%d", n))
		}
		r = checkIt(t, p, j)
		require.Equal(t, check.CauseStatus, r.Cause)
		require.Equal(t, 401, r.Status)
		require.Len(t, r.Evidence.Hops, 2)
		require.Equal(t, before+2, i.count(), "a new one that is refused is the answer")
		requireSilent(t, r)
		require.Equal(t, check.CauseStatus, checkIt(t, p, j).Cause)
		require.Equal(t, before+3, i.count(), "and is not tried again")
		require.Equal(t, check.Up, checkIt(t, p, j).Outcome)
	}
}

func TestTokenEndpointsGoneWrong(t *testing.T) {
	t.Parallel()
	says := func(status int, text string) string {
		return serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, text)
		})
	}
	ca := newAuthority(t)
	target := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("the target was asked without a token") })
	n := newNames(t)
	n.add(t, "internal.test. A 10.9.8.7")
	for name, tt := range map[string]struct {
		url    string
		cause  check.Cause
		detail string
	}{
		"refused":         {"http://" + closedPort(t), check.CauseConnect, "The connection was refused."},
		"no such name":    {"http://none.test/", check.CauseDNS, "The name does not exist"},
		"private":         {"http://10.1.2.3/", check.CauseBlockedAddress, "may connect to"},
		"metadata":        {"http://169.254.169.254/latest/", check.CauseBlockedAddress, "may connect to"},
		"private by name": {"http://internal.test/", check.CauseBlockedAddress, "may connect to"},
		"unknown CA":      {serveTLS(t, tlsOf(ca.valid(t)), nil), check.CauseTLS, "unknown authority"},
		"closes":          {"http://" + raw(t, answer("")), check.CauseReset, "closed"},
		"nonsense":        {"http://" + raw(t, answer("hello\r\n\r\n")), check.CauseProtocol, "valid answer"},
		"not let in":      {says(401, `{"error":"invalid_client","error_description":"canary"}`), check.CauseStatus, "The status is 401, invalid_client."},
		"own words":       {says(400, `{"error":"canary"}`), check.CauseStatus, "The status is 400."},
		"elsewhere":       {serve(t, elsewhere(302, target)), check.CauseStatus, "The status is 302."},
		"broken":          {says(500, "canary"), check.CauseStatus, "The status is 500."},
		"HTML":            {says(200, "<html>canary"), check.CauseBody, "not JSON"},
		"no token":        {says(200, `{"token":"canary"}`), check.CauseBody, "no access token"},
		"two lines":       {says(200, `{"access_token":"canary\r\nX-A: b"}`), check.CauseBody, "no access token"},
		"too long":        {says(200, `{"access_token":"`+strings.Repeat("canary", 2000)+`"}`), check.CauseBody, "no access token"},
		"much too long":   {says(200, `{"access_token":"canary"}`+strings.Repeat(" ", 1<<20)), check.CauseBody, "not JSON"},
		"another type":    {says(200, `{"access_token":"canary","token_type":"DPoP"}`), check.CauseBody, "not a bearer token"},
		"hangs":           {"http://" + raw(t, hang), check.CauseTimeout, "The wait for an answer did not end within the timeout."},
		"drips":           {"http://" + raw(t, drip("HTTP/1.1 200 OK\r\n\r\n", "canary")), check.CauseTimeout, "The answer did not end within the timeout."},
	} {
		for _, invert := range []bool{false, true} {
			t.Run(fmt.Sprint(name, " ", invert), func(t *testing.T) {
				t.Parallel()
				spec := oauth(tt.url, target)
				spec.Invert = invert
				j := job(spec)
				if tt.cause == check.CauseTimeout {
					j.Timeout = short
				}
				r := checkIt(t, newProber(t, n.used), j)
				require.Equal(t, check.Down, r.Outcome, "%+v: without a token nothing is known of the target", r)
				require.Equal(t, tt.cause, r.Cause, "%+v", r)
				require.Contains(t, r.Detail, "Token endpoint: ")
				require.Contains(t, r.Detail, tt.detail)
				require.Len(t, r.Evidence.Hops, 1)
				require.Empty(t, r.Evidence.Body)
				require.NotContains(t, fmt.Sprintf("%+v", r.Evidence), "10.9.8.7")
				requireSilent(t, r)
			})
		}
	}
}

// What is set for the target's certificate is not for the token endpoint's, which is shown the client's secret.
func TestTLSOfTokenEndpoints(t *testing.T) {
	t.Parallel()
	public, private := newAuthority(t), newAuthority(t)
	i := &issuer{}
	var shown int
	cfg := tlsOf(private.valid(t))
	cfg.ClientAuth = 1 // asks for one, takes none
	atPrivate := serveTLS(t, cfg, func(w http.ResponseWriter, r *http.Request) {
		shown += len(r.TLS.PeerCertificates)
		i.ServeHTTP(w, r)
	})
	atPublic := serveTLS(t, tlsOf(public.issue(t, day, "127.0.0.1")), i.ServeHTTP)
	target := serveTLS(t, tlsOf(private.issue(t, 90*day, "target.test")), i.guard)
	p := newProber(t, public.trusted)
	spec := func(tokenURL string, options check.TLSOptions) *check.Job {
		s := oauth(tokenURL, target)
		options.ServerName = "target.test"
		options.ClientCertificate, options.ClientKey = pair(t, private.issue(t, day, "client"))
		s.TLS, s.CertificateDays = &options, 30
		return job(s)
	}
	for _, tokenURL := range []string{atPublic, atPrivate} {
		r := checkIt(t, p, spec(tokenURL, check.TLSOptions{CA: private.pem}))
		require.Equal(t, check.Up, r.Outcome, "%+v: the end of the endpoint's certificate is not the target's", r)
		require.WithinDuration(t, time.Now().Add(90*day), r.CertEnds, time.Hour)
	}
	require.Zero(t, shown)
	r := checkIt(t, p, spec(atPrivate, check.TLSOptions{InsecureSkipVerify: true}))
	require.Equal(t, check.CauseTLS, r.Cause)
	require.Contains(t, r.Detail, "Token endpoint: ")
	require.Equal(t, check.Up, checkIt(t, p, spec(atPublic, check.TLSOptions{InsecureSkipVerify: true})).Outcome)
}

func TestTokensAreNotSentToAnotherHost(t *testing.T) {
	t.Parallel()
	i := &issuer{}
	other := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(fmt.Sprint(r.Header), "canary") {
			t.Error("the token was sent to another host")
		}
		w.WriteHeader(http.StatusUnauthorized)
	})
	target := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if !i.accepts(r) {
			t.Error("no token")
		}
		if r.URL.Path == "/" {
			http.Redirect(w, r, "/again", http.StatusFound)
			return
		}
		http.Redirect(w, r, other, http.StatusFound)
	})
	p, j := newProber(t), job(oauth(serve(t, i.ServeHTTP), target))
	for range 2 {
		r := checkIt(t, p, j)
		require.Equal(t, 401, r.Status)
		requireSilent(t, r)
	}
	require.Equal(t, 1, i.count(), "what another host says is nothing to the token")
}

func TestWhatWasSentInConfidenceIsNotEvidence(t *testing.T) {
	t.Parallel()
	target := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Echo", r.Header.Get("Authorization"))
		w.Header().Set("X-Key", r.Header.Get("X-Api-Key"))
		w.WriteHeader(http.StatusTeapot)
		name, password, _ := r.BasicAuth()
		_, _ = fmt.Fprint(w, name, " ", password, " ", r.Header)
	})
	spec := get(target)
	spec.Auth = &check.Auth{Username: "visible", Password: "canary-password"}
	spec.Headers = map[string]string{"X-Api-Key": "canary-key"}
	spec.StatusCodes, spec.ExpectBody = []string{"418"}, []check.Match{{Equals: "x"}}
	r := checkIt(t, newProber(t), job(spec))
	require.Equal(t, check.CauseBody, r.Cause)
	require.Contains(t, r.Evidence.Body, "visible *** ")
	require.Equal(t, []string{"Basic ***"}, r.Evidence.Header["X-Echo"])
	requireSilent(t, r)
}

func TestCacheToken(t *testing.T) {
	t.Parallel()
	var seen []string
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.RequestURI)
		if r.URL.Path == "/" {
			http.Redirect(w, r, "/next?b=2", http.StatusFound)
			return
		}
		w.WriteHeader(http.StatusNotFound)
	})
	p := newProber(t)
	for _, query := range []string{"", "?z=1&a=%20"} {
		spec := get(url + "/" + query)
		spec.CacheToken = true
		r, again := checkIt(t, p, job(spec)), checkIt(t, p, job(spec))
		require.Equal(t, url+seen[0], r.Evidence.Hops[0].URL, "evidence has what was sent")
		require.NotEqual(t, r.Evidence.Hops[0].URL, again.Evidence.Hops[0].URL)
		sep := map[bool]string{true: "?", false: "&"}[query == ""]
		require.Regexp(t, `^/`+strings.ReplaceAll(query, "?", `\?`)+`[`+sep+`]_bp=[0-9a-f]{16}$`, seen[0])
		require.Equal(t, "/next?b=2", seen[1], "a redirect's URL is the target's")
		seen = nil
	}
}

func TestTokenEndpointsPassTheGuardThatTargetsPass(t *testing.T) {
	t.Parallel()
	reached := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("it was reached") })
	p := newProber(t, func(c *Config) { c.Network = netguard.Policy{} })
	r := p.Check(t.Context(), job(oauth(reached, "http://192.0.2.1/")))
	requireBlocked(t, r)
	require.Empty(t, r.Evidence.Hops[0].IP)
	_, port, err := net.SplitHostPort(parse(t, reached).Host)
	require.NoError(t, err)
	r = p.Check(t.Context(), job(oauth("http://[::ffff:127.0.0.1]:"+port, "http://192.0.2.1/")))
	require.Equal(t, check.CauseBlockedAddress, r.Cause)
}
