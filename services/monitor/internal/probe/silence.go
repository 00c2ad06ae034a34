package probe

import (
	"cmp"
	"slices"
	"strings"

	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
)

// shortestSilenced is how long a secret is that is looked for. Replacing shorter ones would spoil evidence, and tell what they are.
const shortestSilenced = 8

// silence hides what the check has sent in confidence: some targets answer with what they were asked. It does not help against one that
// wants to show it, which could do so in other words.
func (l *look) silence(kept *check.Evidence) {
	var pairs []string
	for _, secret := range l.secrets() {
		pairs = append(pairs, secret, hidden)
	}
	if len(pairs) == 0 {
		return
	}
	replace := strings.NewReplacer(pairs...).Replace
	kept.Body, kept.Got = replace(kept.Body), replace(kept.Got)
	for i := range kept.Hops {
		kept.Hops[i].URL = replace(kept.Hops[i].URL)
	}
	for _, values := range kept.Header {
		for i := range values {
			values[i] = replace(values[i])
		}
	}
}

// secrets lists what is sent in confidence, the longest first.
func (l *look) secrets() []string {
	_, spec := l.job.Spec.Split()
	all := []string{l.token}
	if auth := spec.Auth; auth != nil {
		all = append(all, auth.Password, auth.Bearer, strings.TrimPrefix(basic(auth.Username, auth.Password), "Basic "))
		if auth.OAuth2 != nil {
			all = append(all, auth.OAuth2.ClientSecret, strings.TrimPrefix(clientBasic(auth.OAuth2), "Basic "))
		}
	}
	for _, value := range spec.Headers {
		all = append(all, value)
	}
	if l.plan != nil && l.plan.proxy != nil {
		name, password := login(l.plan.proxy)
		all = append(all, password, strings.TrimPrefix(basic(name, password), "Basic "))
	}
	all = slices.DeleteFunc(all, func(secret string) bool { return len(secret) < shortestSilenced })
	slices.SortFunc(all, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	return all
}
