package check_test

import (
	"encoding/json"
	"maps"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
)

func withSecrets() check.Spec {
	return check.Spec{
		Kind: check.HTTP, URL: "https://example.com/", Auth: &check.Auth{Username: "me", Password: "canary-1"},
		TLS:     &check.TLSOptions{ServerName: "example.com", ClientKey: "canary-2"},
		Headers: map[string]string{"Accept": "text/plain", "X-Api-Key": "canary-3", "Authorization": "canary-4"},
	}
}

func TestSecretsAreApart(t *testing.T) {
	t.Parallel()
	spec, before := withSecrets(), withSecrets()
	open, secrets := spec.Split()
	require.Equal(t, before, spec, "nothing is taken from the original")
	for name, shown := range map[string]check.Spec{"open": open, "masked": spec.Masked()} {
		text, err := json.Marshal(shown)
		require.NoError(t, err)
		require.NotContains(t, string(text), "canary", name)
		require.Contains(t, string(text), "text/plain", name)
	}
	open.Join(secrets)
	require.Equal(t, before, open)
}

// What was read may be sent back.
func TestWhatIsHiddenStaysAsItWas(t *testing.T) {
	t.Parallel()
	stored := withSecrets()
	sent := stored.Masked()
	sent.Headers = maps.Clone(sent.Headers)
	sent.Headers["Cookie"] = "new"
	sent.Unmask(&stored)
	want := withSecrets()
	want.Headers["Cookie"] = "new"
	require.Equal(t, want, sent)

	none := check.Spec{Kind: check.HTTP, URL: "https://example.com/"}
	_, secrets := none.Split()
	require.True(t, secrets.Empty())
	require.Equal(t, none, none.Masked())
}

// Who may change a monitor must not learn its secrets by sending them elsewhere.
func TestSecretsAreNotSentToAnotherTarget(t *testing.T) {
	t.Parallel()
	for url, field := range map[string]string{
		"https://example.com/other": "", "https://EXAMPLE.com/": "",
		"http://example.com/": "auth.password", "https://example.com:8443/": "auth.password", "https://evil.example/": "auth.password",
	} {
		stored := withSecrets()
		sent := stored.Masked()
		sent.URL = url
		sent.Unmask(&stored)
		require.Equal(t, field, sent.StillHidden(), url)
	}
	none := check.Spec{Kind: check.HTTP, Headers: map[string]string{"X-Token": check.Hidden, "Accept": check.Hidden}}
	require.Equal(t, "headers.X-Token", none.StillHidden())
}

func withOAuth2() check.Spec {
	return check.Spec{
		Kind: check.HTTP, URL: "https://example.com/", Proxy: "http://me:canary-5%2F@proxy.example.com:3128", Headers: map[string]string{"X-Token": "canary-6"},
		Auth: &check.Auth{OAuth2: &check.OAuth2{TokenURL: "https://id.example.com/token", ClientID: "me", ClientSecret: "canary-7", Scopes: []string{"read"}}},
	}
}

func TestSecretsOfClientAndProxyAreApart(t *testing.T) {
	t.Parallel()
	spec, before := withOAuth2(), withOAuth2()
	open, secrets := spec.Split()
	masked := spec.Masked()
	require.Equal(t, before, spec, "nothing is taken from the original")
	for name, shown := range map[string]check.Spec{"open": open, "masked": masked} {
		text, err := json.Marshal(shown)
		require.NoError(t, err)
		require.NotContains(t, string(text), "canary", name)
	}
	require.Equal(t, "http://me:***@proxy.example.com:3128", masked.Proxy)
	require.Equal(t, "https://id.example.com/token", masked.Auth.OAuth2.TokenURL)
	require.Equal(t, check.Hidden, masked.Auth.OAuth2.ClientSecret)
	open.Join(secrets)
	require.Equal(t, before, open)

	sent := masked
	sent.Auth.OAuth2.Scopes = []string{"write"}
	sent.Proxy = "http://you:***@PROXY.example.com:3128/"
	sent.Unmask(&spec)
	require.Empty(t, sent.StillHidden())
	require.Equal(t, "canary-7", sent.Auth.OAuth2.ClientSecret)
	require.Equal(t, "http://you:canary-5%2F@PROXY.example.com:3128/", sent.Proxy)
	require.Equal(t, before, spec)

	for _, proxy := range []string{"", "http://proxy.example.com:3128", "socks5://me@proxy.example.com:3128"} {
		none := check.Spec{Kind: check.HTTP, URL: "https://example.com/", Proxy: proxy}
		_, secrets := none.Split()
		require.True(t, secrets.Empty())
		require.Equal(t, none, none.Masked())
	}
}

// Neither the token endpoint nor a proxy can be replaced to learn what is stored: the one is shown the client's secret, the other all.
func TestSecretsAreNotSentByAnotherWay(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change func(*check.Spec)
		hidden string
		header string
	}{
		"another path":                   {func(s *check.Spec) { s.Auth.OAuth2.TokenURL = "https://ID.example.com/v2" }, "", "canary-6"},
		"another token endpoint":         {func(s *check.Spec) { s.Auth.OAuth2.TokenURL = "https://evil.example/token" }, "auth.oauth2.client_secret", "canary-6"},
		"in the clear":                   {func(s *check.Spec) { s.Auth.OAuth2.TokenURL = "http://id.example.com/token" }, "auth.oauth2.client_secret", "canary-6"},
		"another port":                   {func(s *check.Spec) { s.Auth.OAuth2.TokenURL = "https://id.example.com:444/token" }, "auth.oauth2.client_secret", "canary-6"},
		"another target gets the tokens": {func(s *check.Spec) { s.URL = "https://evil.example/" }, "auth.oauth2.client_secret", check.Hidden},
		"another proxy":                  {func(s *check.Spec) { s.Proxy = "http://me:***@evil.example:3128" }, "auth.oauth2.client_secret", check.Hidden},
		"another kind of proxy":          {func(s *check.Spec) { s.Auth, s.Proxy = nil, "socks5://me:***@proxy.example.com:3128" }, "proxy", check.Hidden},
		"no proxy":                       {func(s *check.Spec) { s.Proxy = "" }, "auth.oauth2.client_secret", check.Hidden},
	} {
		stored := withOAuth2()
		sent := stored.Masked()
		tt.change(&sent)
		sent.Unmask(&stored)
		require.Equal(t, tt.hidden, sent.StillHidden(), name)
		require.Equal(t, tt.header, sent.Headers["X-Token"], name)
	}
	stored := withOAuth2()
	stored.Proxy = ""
	sent := stored.Masked()
	sent.Proxy = "http://evil.example:3128"
	sent.Unmask(&stored)
	require.Equal(t, "auth.oauth2.client_secret", sent.StillHidden(), "a proxy where there was none")
}

// A secret is for its target. Another resolver makes the same name lead elsewhere, another Host or server name to another's site at the same address.
func TestWhoSaysWhereATargetIsIsPartOfIt(t *testing.T) {
	t.Parallel()
	stored := func() *check.Spec {
		return &check.Spec{Kind: check.HTTP, URL: "https://a.test/", Auth: &check.Auth{Bearer: "canary"}, Headers: map[string]string{"Host": "a.test"}, TLS: &check.TLSOptions{ServerName: "a.test"}, Resolver: "192.0.2.53"}
	}
	for name, change := range map[string]func(s *check.Spec){
		"url": func(s *check.Spec) { s.URL = "https://b.test/" }, "port": func(s *check.Spec) { s.URL = "https://a.test:8443/" }, "proxy": func(s *check.Spec) { s.Proxy = "http://proxy.test:3128" },
		"resolver": func(s *check.Spec) { s.Resolver = "198.51.100.53" }, "host": func(s *check.Spec) { s.Headers = map[string]string{"host": "b.test"} },
		"server name": func(s *check.Spec) { s.TLS = &check.TLSOptions{ServerName: "b.test"} },
	} {
		sent := stored()
		sent.Auth = &check.Auth{Bearer: check.Hidden}
		change(sent)
		sent.Unmask(stored())
		require.Equal(t, check.Hidden, sent.Auth.Bearer, name)
		require.Equal(t, "auth.bearer", sent.StillHidden(), name)
	}
	sent := stored()
	sent.Auth, sent.URL, sent.Headers = &check.Auth{Bearer: check.Hidden}, "https://a.test/other", map[string]string{"HOST": "A.test"}
	sent.Unmask(stored())
	require.Equal(t, "canary", sent.Auth.Bearer)
}
