package signature_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/signature"
)

const (
	eventID = "0190f0a4-0000-7000-8000-000000000001"
	// The secret of the example in the Standard Webhooks documentation.
	documented = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
)

func parse(t *testing.T, text string) signature.Secret {
	t.Helper()
	secret, err := signature.ParseSecret(text)
	require.NoError(t, err)
	return secret
}

func TestTheOfficialLibraryAccepts(t *testing.T) {
	t.Parallel()
	long := "whsec_" + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{0xfe}, 64))
	old, current := parse(t, documented), signature.NewSecret()
	tests := []struct {
		name     string
		secrets  []signature.Secret
		receiver signature.Secret
		body     string
	}{
		{"24 bytes", []signature.Secret{old}, old, `{"test": 2432232314}`},
		{"64 bytes", []signature.Secret{parse(t, long)}, parse(t, long), `{}`},
		{"new secret", []signature.Secret{current}, current, `{"a":1}`},
		{"rotation, receiver has the new one", []signature.Secret{current, old}, current, `{}`},
		{"rotation, receiver has the old one", []signature.Secret{current, old}, old, `{}`},
		{"empty body", []signature.Secret{current}, current, ``},
		{"not UTF-8", []signature.Secret{current}, current, "\xff\x00\n.\r"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			now := time.Now()
			receiver, err := standardwebhooks.NewWebhook(tt.receiver.Reveal())
			require.NoError(t, err)

			header := http.Header{
				signature.HeaderID:        {eventID},
				signature.HeaderTimestamp: {signature.Timestamp(now)},
				signature.HeaderSignature: {signature.Sign(tt.secrets, eventID, now, []byte(tt.body))},
			}
			require.NoError(t, receiver.Verify([]byte(tt.body), header))
			require.Error(t, receiver.Verify([]byte(tt.body+" "), header), "another body")
			header.Set(signature.HeaderID, "other")
			require.Error(t, receiver.Verify([]byte(tt.body), header), "another id")
		})
	}
}

func TestSignGivesWhatTheOfficialLibraryGives(t *testing.T) {
	t.Parallel()
	official, err := standardwebhooks.NewWebhook(documented)
	require.NoError(t, err)
	for _, ts := range []time.Time{time.Unix(0, 0), time.Unix(1700000000, 999_999_999), time.Unix(-1, 0)} {
		want, err := official.Sign(eventID, ts, []byte("body"))
		require.NoError(t, err)
		require.Equal(t, want, signature.Sign([]signature.Secret{parse(t, documented)}, eventID, ts, []byte("body")))
	}
	require.Empty(t, signature.Sign(nil, eventID, time.Now(), nil))
}

func TestHeadersAreCanonical(t *testing.T) {
	t.Parallel()
	for _, h := range []string{signature.HeaderID, signature.HeaderTimestamp, signature.HeaderSignature} {
		require.Equal(t, http.CanonicalHeaderKey(h), h)
	}
}

func TestParseSecretRefuses(t *testing.T) {
	t.Parallel()
	encode := func(n int) string { return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{0xfb}, n)) }
	tests := map[string]string{
		"empty":           "",
		"no prefix":       encode(32),
		"other prefix":    "whpk_" + encode(32),
		"prefix only":     "whsec_",
		"upper case":      "WHSEC_" + encode(32),
		"too short":       "whsec_" + encode(23),
		"too long":        "whsec_" + encode(65),
		"no padding":      "whsec_" + strings.TrimRight(encode(32), "="),
		"URL alphabet":    "whsec_" + base64.URLEncoding.EncodeToString(bytes.Repeat([]byte{0xfb}, 32)),
		"newline":         "whsec_" + encode(32) + "\n",
		"newline inside":  "whsec_" + encode(24)[:4] + "\n" + encode(24)[4:],
		"not base64":      "whsec_" + strings.Repeat("!", 32),
		"space before":    " whsec_" + encode(32),
		"stray last bits": "whsec_" + strings.Repeat("A", 42) + "B=",
	}
	for name, text := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := signature.ParseSecret(text)
			require.Error(t, err)
			if len(text) > len("whsec_") {
				require.NotContains(t, err.Error(), strings.TrimPrefix(text, "whsec_"))
			}
		})
	}
}

func TestSecretsAreNotPrinted(t *testing.T) {
	t.Parallel()
	secret := parse(t, documented)
	hidden := struct{ unexported signature.Secret }{secret}
	encoded, err := json.Marshal(map[string]any{"secret": secret, "pointer": &secret})
	require.NoError(t, err)
	require.JSONEq(t, `{"secret":"whsec_***","pointer":"whsec_***"}`, string(encoded))

	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(documented, "whsec_"))
	require.NoError(t, err)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t"} {
		require.Equal(t, "whsec_***", fmt.Sprintf(verb, secret), verb)
		nested := fmt.Sprintf(verb, hidden)
		require.NotContains(t, nested, fmt.Sprintf("%x", key)[:8], verb)
		require.NotContains(t, nested, "49 242", verb)
	}
	require.Equal(t, documented, secret.Reveal())
}

func TestZeroSecret(t *testing.T) {
	t.Parallel()
	var zero signature.Secret
	require.True(t, zero.IsZero())
	require.False(t, signature.NewSecret().IsZero())
	require.Empty(t, zero.Reveal())
	require.Panics(t, func() { signature.Sign([]signature.Secret{zero}, eventID, time.Now(), nil) })
}

func TestNewSecretsDiffer(t *testing.T) {
	t.Parallel()
	a, b := signature.NewSecret(), signature.NewSecret()
	require.NotEqual(t, a.Reveal(), b.Reveal())
	require.Equal(t, a, parse(t, a.Reveal()))
}

func FuzzParseSecret(f *testing.F) {
	f.Add(documented)
	f.Add("whsec_" + strings.Repeat("A", 43) + "=")
	f.Add("whsec_\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		secret, err := signature.ParseSecret(text)
		if err != nil {
			require.True(t, secret.IsZero())
			return
		}
		require.Equal(t, text, secret.Reveal())
	})
}

func BenchmarkSign(b *testing.B) {
	secrets := []signature.Secret{signature.NewSecret()}
	now := time.Now()
	for _, size := range []int{0, 1 << 10, 256 << 10} {
		b.Run(fmt.Sprintf("body=%d", size), func(b *testing.B) {
			body := make([]byte, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				signature.Sign(secrets, eventID, now, body)
			}
		})
	}
}

func ExampleSign() {
	secret, err := signature.ParseSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		fmt.Println(err)
		return
	}
	sent := time.Unix(1614265330, 0)
	fmt.Println(signature.Sign([]signature.Secret{secret}, "msg_p5jXN8AQM9LWM0D4loKWxJek", sent, []byte(`{"test": 2432232314}`)))
	// Output: v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=
}
