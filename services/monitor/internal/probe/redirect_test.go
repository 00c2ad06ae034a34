package probe

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
)

// elsewhere answers with a redirect.
func elsewhere(status int, location string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", location)
		w.WriteHeader(status)
	}
}

func TestRedirects(t *testing.T) {
	t.Parallel()
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		var left int
		switch _, err := fmt.Sscanf(r.URL.Path, "/%d", &left); {
		case err != nil || r.URL.Path == "/loop":
			http.Redirect(w, r, "/loop", http.StatusFound)
		case left > 0:
			http.Redirect(w, r, fmt.Sprintf("/%d", left-1), http.StatusFound)
		default:
			_, _ = io.WriteString(w, r.Method)
		}
	})
	p := newProber(t)
	most := func(path string, n int) check.Result {
		spec := get(url + path)
		spec.MaxRedirects = &n
		return checkIt(t, p, job(spec))
	}
	require.Equal(t, check.Up, checkIt(t, p, job(get(url+"/10"))).Outcome)
	require.Equal(t, check.CauseRedirects, checkIt(t, p, job(get(url+"/11"))).Cause)
	require.Equal(t, check.Up, most("/2", 2).Outcome)
	r := most("/3", 2)
	require.Equal(t, check.CauseRedirects, r.Cause)
	require.Len(t, r.Evidence.Hops, 3)
	require.Equal(t, 302, r.Evidence.Hops[2].Status)
	r = most("/loop", 5)
	require.Equal(t, check.CauseRedirects, r.Cause)
	r = most("/1", 0)
	require.Equal(t, check.CauseStatus, r.Cause, "the redirect is the answer")
	require.Equal(t, 302, r.Status)
}

func TestRedirectsThatMayNotBeFollowed(t *testing.T) {
	t.Parallel()
	for _, location := range []string{"ftp://a.test/", "file:///etc/passwd", "http://", "https:", "javascript:alert(1)", "http://[bad", "gopher://127.0.0.1/"} {
		r := checkIt(t, newProber(t), job(get(serve(t, elsewhere(302, location)))))
		require.Equal(t, check.CauseRedirects, r.Cause, location)
	}
	for _, status := range []int{300, 304, 305, 306} {
		r := checkIt(t, newProber(t), job(get(serve(t, elsewhere(status, "/other")))))
		require.Equal(t, check.CauseStatus, r.Cause, status)
	}
	require.Equal(t, check.CauseStatus, checkIt(t, newProber(t), job(get(serve(t, elsewhere(302, ""))))).Cause)
}

func TestRedirectsKeepOrDropMethodAndBody(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]string{301: "GET ", 302: "GET ", 303: "GET ", 307: "POST body", 308: "POST body"} {
		url := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/" {
				http.Redirect(w, r, "/next", status)
				return
			}
			body, _ := io.ReadAll(r.Body)
			_, _ = io.WriteString(w, r.Method+" "+string(body))
		})
		spec := get(url)
		spec.Method, spec.Body, spec.ExpectBody = "POST", "body", []check.Match{{Equals: want}}
		require.Equal(t, check.Up, checkIt(t, newProber(t), job(spec)).Outcome, status)

		other := serve(t, func(http.ResponseWriter, *http.Request) {})
		spec = get(serve(t, elsewhere(status, other)))
		spec.Method, spec.Body = "POST", "body"
		r := checkIt(t, newProber(t), job(spec))
		require.Equal(t, status >= 307, r.Cause == check.CauseRedirects, "a body is not sent to another host")
	}
}

// secrets is a spec whose credentials go to its target only.
func secrets(url string) check.Spec {
	spec := get(url)
	spec.Headers = map[string]string{"X-Api-Key": "secret", "Cookie": "secret", "Host": "secret.test"}
	spec.Auth = &check.Auth{Bearer: "secret"}
	return spec
}

func TestCredentialsAreNotSentToAnotherHost(t *testing.T) {
	t.Parallel()
	var leaks []string
	judge := func(r *http.Request, secret bool) {
		text := fmt.Sprint(r.Host, r.Header)
		if strings.Contains(text, "secret") != secret {
			leaks = append(leaks, r.URL.Path+" "+text)
		}
	}
	var own, other string
	own = serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/":
			judge(r, true)
			http.Redirect(w, r, "/again", http.StatusFound)
		case "/again":
			judge(r, true)
			http.Redirect(w, r, other, http.StatusFound)
		default:
			judge(r, false) // the way here led through another
		}
	})
	other = serve(t, func(w http.ResponseWriter, r *http.Request) {
		judge(r, false)
		http.Redirect(w, r, strings.Replace(own, "http://", "http://user:password@", 1)+"/back", http.StatusFound)
	})
	r := checkIt(t, newProber(t), job(secrets(own)))
	require.Equal(t, check.Up, r.Outcome)
	require.Empty(t, leaks)
}

func TestWhoIsTheSameHost(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		from, to string
		same     bool
	}{
		{"http://a.test/", "http://A.test/x", true},
		{"http://a.test/", "http://a.test:80/x", true},
		{"http://a.test/", "https://a.test/", true},
		{"https://a.test/", "https://a.test:443/", true},
		{"https://a.test/", "http://a.test/", false},
		{"http://a.test/", "https://a.test:8443/", false},
		{"http://a.test:8080/", "https://a.test/", false},
		{"http://a.test/", "http://a.test:81/", false},
		{"http://a.test/", "http://www.a.test/", false},
		{"http://www.a.test/", "http://a.test/", false},
		{"http://a.test/", "http://a.test.evil.test/", false},
	} {
		require.Equal(t, tt.same, sameHost(parse(t, tt.from), parse(t, tt.to)), "%s %s", tt.from, tt.to)
	}
}

func TestDowngradesAreRecorded(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	plain := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		if strings.Contains(fmt.Sprint(r.Header), "secret") {
			t.Error("credentials in the clear")
		}
	})
	url := serveTLS(t, tlsOf(ca.valid(t)), elsewhere(302, plain))
	r := checkIt(t, newProber(t, ca.trusted), job(secrets(url)))
	require.Equal(t, check.Up, r.Outcome)
	require.Contains(t, r.Detail, "https to http")
}
