package probe

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"net/url"
	"strings"

	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
)

// request is one of an HTTP check.
type request struct {
	method string
	url    *url.URL
	host   string // "": the URL's
	header http.Header
	body   string
	own    bool // it goes to the monitor's target: credentials do too
}

// firstRequest makes the request that the spec describes.
func (l *look) firstRequest(ctx context.Context) (*request, error) {
	spec := l.job.Spec
	u, err := url.Parse(spec.URL)
	if err != nil {
		return nil, ownFault{"The URL is not valid.", err}
	}
	r := &request{method: spec.Method, url: u, header: make(http.Header, len(spec.Headers)+2), body: spec.Body, own: true}
	if r.method == "" {
		r.method = http.MethodGet
	}
	l.anonymous(r.header)
	if spec.CacheToken {
		u.RawQuery = strings.TrimPrefix(u.RawQuery+"&_bp="+nonce(), "&")
	}
	if err := l.authorize(ctx, r.header); err != nil {
		return nil, err
	}
	for name, value := range spec.Headers {
		if strings.EqualFold(name, "Host") {
			r.host = value
			continue
		}
		r.header.Set(name, value)
	}
	return r, nil
}

// nonce makes 16 digits that no cache has seen.
func nonce() string {
	var raw [8]byte
	_, _ = rand.Read(raw[:]) // never fails, see crypto/rand
	return hex.EncodeToString(raw[:])
}

// anonymous sets what any host may see.
func (l *look) anonymous(header http.Header) {
	header.Set("User-Agent", l.p.cfg.UserAgent)
	header.Set("Accept", "*/*")
}

// authorize sets what only the target may see.
func (l *look) authorize(ctx context.Context, header http.Header) error {
	auth := l.job.Spec.Auth
	switch {
	case auth == nil:
	case auth.OAuth2 != nil:
		if err := l.needToken(ctx); err != nil {
			return err
		}
		header.Set("Authorization", "Bearer "+l.token)
	case auth.Bearer != "":
		header.Set("Authorization", "Bearer "+auth.Bearer)
	default:
		header.Set("Authorization", basic(auth.Username, auth.Password))
	}
	return nil
}

func basic(name, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(name+":"+password))
}

// redirect gives the request that an answer asks for, nil if it asks for none.
func (l *look) redirect(r *request, answer *http.Response) (*request, error) {
	location := answer.Header.Get("Location")
	switch answer.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
	default:
		location = ""
	}
	if location == "" {
		return nil, nil //nolint:nilnil // it is the answer
	}
	to, err := r.url.Parse(location)
	if err != nil || to.Scheme != "http" && to.Scheme != "https" || to.Hostname() == "" {
		return nil, &unmet{check.CauseRedirects, "A redirect leads to something that is not an http or https URL.", "a URL", cut(location)}
	}
	to.User = nil // the target has no credentials to give
	next := l.follow(r, to, answer.StatusCode)
	if next.body != "" && !next.own {
		return nil, &unmet{check.CauseRedirects, "A redirect asks for the body to be sent to another host.", "a redirect to the same host", cut(to.Redacted())}
	}
	return next, nil
}

// follow makes the request to where a redirect leads. Another host gets nothing of what was meant for the target, nor does the target when the
// way leads back through another: only the target's own word counts.
func (l *look) follow(r *request, to *url.URL, status int) *request {
	next := &request{method: r.method, url: to, host: r.host, header: r.header, body: r.body, own: r.own && sameHost(r.url, to)}
	l.saw.downgraded = l.saw.downgraded || r.url.Scheme == "https" && to.Scheme == "http"
	if status != http.StatusTemporaryRedirect && status != http.StatusPermanentRedirect {
		next.body = ""
		if next.method != http.MethodHead {
			next.method = http.MethodGet
		}
	}
	if !next.own {
		next.host, next.header = "", make(http.Header, 2)
		l.anonymous(next.header)
	}
	return next
}

// sameHost says whether to may be sent what was meant for from: the same name and port, or its https instead of its http, never the reverse.
func sameHost(from, to *url.URL) bool {
	if !strings.EqualFold(from.Hostname(), to.Hostname()) {
		return false
	}
	if from.Scheme == to.Scheme {
		return portOf(from) == portOf(to)
	}
	return to.Scheme == "https" && portOf(from) == "80" && portOf(to) == "443"
}
