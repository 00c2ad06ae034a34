package probe

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"golang.org/x/net/http/httpguts"

	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
)

const (
	maxToken       = 8 << 10  // bytes; a header with more is refused by most servers
	maxTokenAnswer = 32 << 10 // bytes

	defaultTokenLife = 5 * time.Minute // of a token that does not say
	longestTokenLife = 24 * time.Hour
	tokenMargin      = 30 * time.Second // a token that ends sooner may end on its way
)

// tokenKey: what another version of a monitor was given is not used, whatever was changed.
type tokenKey struct {
	monitor uuid.UUID
	version int64
}

// token is an access token and how long it is used.
type token struct {
	text  string
	until time.Time
}

func (l *look) tokenKey() tokenKey { return tokenKey{l.job.Monitor, l.job.Version} }

// needToken takes the token of an earlier check, or fetches one.
func (l *look) needToken(ctx context.Context) error {
	if kept, ok := l.p.tokens.Get(l.tokenKey()); ok && time.Now().Before(kept.until) {
		l.token, l.kept = kept.text, true
		return nil
	}
	return l.fetchToken(ctx)
}

// fetchToken asks the token endpoint, by a look of its own: what is seen there is not the target's, neither phases nor the certificate's end,
// and of the answer nothing is evidence but its status.
func (l *look) fetchToken(ctx context.Context) error {
	began := time.Now()
	aside := l.aside(l.job.Spec.Auth.OAuth2)
	answer, err := aside.askForToken(ctx)
	if err != nil {
		l.saw.hops = append(l.saw.hops, aside.saw.hops...)
		return aside.hindered(ctx, "Token endpoint", err)
	}
	l.token, l.kept = answer.AccessToken, false
	if life := answer.life(); life > 0 && l.job.Monitor != uuid.Nil {
		l.p.tokens.Add(l.tokenKey(), token{l.token, began.Add(life - min(tokenMargin, life/2))})
	}
	return nil
}

// aside makes a look at a token endpoint within l. Client certificate, server name and insecure_skip_verify are for the target, not for who is
// shown the client's secret; authorities of the monitor are accepted beside the system's, as either may be behind them.
func (l *look) aside(oauth *check.OAuth2) *look {
	form := url.Values{"grant_type": {"client_credentials"}}
	if len(oauth.Scopes) > 0 {
		form.Set("scope", strings.Join(oauth.Scopes, " "))
	}
	if oauth.Audience != "" {
		form.Set("audience", oauth.Audience)
	}
	spec := &check.Spec{
		Kind: check.HTTP, URL: oauth.TokenURL, Method: http.MethodPost, Body: form.Encode(), MaxBodyBytes: maxTokenAnswer, Resolver: l.job.Spec.Resolver,
		Headers: map[string]string{"Authorization": clientBasic(oauth), "Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"},
	}
	return &look{
		p: l.p, job: &check.Job{Monitor: l.job.Monitor, Spec: spec}, started: l.started,
		plan: &plan{roots: l.plan.roots, rootsAnyway: true, proxy: l.plan.proxy, wholeBody: true},
	}
}

// clientBasic is basic authentication as RFC 6749, 2.3.1 has it: of what is encoded as a form is.
func clientBasic(oauth *check.OAuth2) string {
	return basic(url.QueryEscape(oauth.ClientID), url.QueryEscape(oauth.ClientSecret))
}

// tokenAnswer is what RFC 6749, 5.1 and 5.2 say.
type tokenAnswer struct {
	AccessToken string          `json:"access_token"`
	TokenType   string          `json:"token_type"`
	ExpiresIn   json.RawMessage `json:"expires_in"` // seconds; some servers make a string of them
	Error       string          `json:"error"`
}

func (l *look) askForToken(ctx context.Context) (*tokenAnswer, error) {
	r, err := l.firstRequest(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := l.ask(ctx, r, false); err != nil {
		return nil, err
	}
	answer := new(tokenAnswer)
	unreadable := l.saw.truncated || json.Unmarshal(l.saw.body, answer) != nil
	switch status := l.saw.status; {
	case status/100 != 2:
		got := strings.TrimSuffix(fmt.Sprintf("%d, %s", status, answer.known()), ", ")
		return nil, &unmet{check.CauseStatus, "The status is " + got + ".", "status 200", got}
	case unreadable:
		return nil, &unmet{check.CauseBody, "The answer is not JSON with a token.", "an access_token", ""}
	case answer.AccessToken == "" || len(answer.AccessToken) > maxToken || !httpguts.ValidHeaderFieldValue(answer.AccessToken):
		return nil, &unmet{check.CauseBody, "The answer has no access token that could be sent.", "an access_token", ""}
	case answer.TokenType != "" && !strings.EqualFold(answer.TokenType, "bearer"):
		return nil, &unmet{check.CauseBody, "The token is not a bearer token.", "token_type Bearer", ""}
	}
	return answer, nil
}

// known gives the answer's error if it is one that has a meaning: any other text could be anything, the secret included.
func (a *tokenAnswer) known() string {
	errors := []string{
		"invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope",
		"access_denied", "invalid_target", "server_error", "temporarily_unavailable",
	}
	if slices.Contains(errors, a.Error) {
		return a.Error
	}
	return ""
}

// life says how long the token is good.
func (a *tokenAnswer) life() time.Duration {
	if len(a.ExpiresIn) == 0 || string(a.ExpiresIn) == "null" {
		return defaultTokenLife
	}
	seconds, err := strconv.ParseFloat(strings.Trim(string(a.ExpiresIn), `"`), 64)
	if err != nil || !(seconds >= 0) {
		return 0
	}
	return time.Duration(min(seconds, longestTokenLife.Seconds()) * float64(time.Second))
}

// askAuthorized is ask, and asks again if the target no longer takes the token of an earlier check.
func (l *look) askAuthorized(ctx context.Context, r *request, follow bool) (*request, error) {
	next, err := l.ask(ctx, r, follow)
	if err != nil || next != nil {
		return next, err
	}
	again, err := l.reauthorized(ctx, r)
	if err != nil || again == nil {
		return nil, err
	}
	return l.ask(ctx, again, follow)
}

// reauthorized gives a request with a new token, if it was refused with one of an earlier check; otherwise nil. A token that is refused is
// forgotten, also if it was new: then the refusal is the answer.
func (l *look) reauthorized(ctx context.Context, r *request) (*request, error) {
	if l.token == "" || !r.own || l.saw.status != http.StatusUnauthorized {
		return nil, nil //nolint:nilnil // nothing is to be asked again
	}
	l.p.tokens.Remove(l.tokenKey())
	if !l.kept {
		return nil, nil //nolint:nilnil // see above
	}
	if err := l.fetchToken(ctx); err != nil {
		return nil, err
	}
	again := *r
	again.header = maps.Clone(r.header) // net/http may still read the other
	again.header.Set("Authorization", "Bearer "+l.token)
	return &again, nil
}
