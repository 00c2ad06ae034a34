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
