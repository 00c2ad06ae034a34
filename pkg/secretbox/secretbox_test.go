package secretbox_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/secretbox"
)

func generate(t *testing.T, id string) string {
	t.Helper()
	entry, err := secretbox.GenerateKey(id)
	require.NoError(t, err)
	return entry
}

func parse(t *testing.T, entries ...string) *secretbox.Keyring {
	t.Helper()
	ring, err := secretbox.ParseKeyring(strings.Join(entries, ","))
	require.NoError(t, err)
	return ring
}

func TestRotation(t *testing.T) {
	t.Parallel()
	k1, k2 := generate(t, "k1"), generate(t, "k2")
	aad := []byte("tenant/endpoint")

	id1, first, err := parse(t, k1).Seal([]byte("whsec_one"), aad)
	require.NoError(t, err)
	require.Equal(t, "k1", id1)

	both := parse(t, k2, k1)
	id2, second, err := both.Seal([]byte("whsec_two"), aad)
	require.NoError(t, err)
	require.Equal(t, "k2", id2)
	require.Equal(t, "k2", both.Primary())

	opened, err := both.Open(id1, first, aad)
	require.NoError(t, err)
	require.Equal(t, "whsec_one", string(opened))

	_, err = parse(t, k2).Open(id1, first, aad)
	require.ErrorIs(t, err, secretbox.ErrUnknownKey)
	require.ErrorContains(t, err, `"k1"`)
	opened, err = parse(t, k2).Open(id2, second, aad)
	require.NoError(t, err)
	require.Equal(t, "whsec_two", string(opened))
}

func TestSeal(t *testing.T) {
	t.Parallel()
	ring := parse(t, generate(t, "k1"))
	for _, plaintext := range []string{"", "x", strings.Repeat("long ", 1000)} {
		_, a, err := ring.Seal([]byte(plaintext), nil)
		require.NoError(t, err)
		_, b, err := ring.Seal([]byte(plaintext), nil)
		require.NoError(t, err)
		require.NotEqual(t, a, b, "the nonce is random")
		require.Len(t, a, len(plaintext)+secretbox.Overhead)
		opened, err := ring.Open("k1", a, nil)
		require.NoError(t, err)
		require.Equal(t, plaintext, string(opened))
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	ring := parse(t, generate(t, "k1"), generate(t, "k2"))
	_, sealed, err := ring.Seal([]byte("secret"), []byte("here"))
	require.NoError(t, err)
	flipped := append([]byte(nil), sealed...)
	flipped[len(flipped)/2] ^= 1

	tests := []struct {
		name       string
		keyID      string
		ciphertext []byte
		aad        string
		want       error
	}{
		{"other key", "k2", sealed, "here", secretbox.ErrCorrupt},
		{"unknown key", "k3", sealed, "here", secretbox.ErrUnknownKey},
		{"no key", "", sealed, "here", secretbox.ErrUnknownKey},
		{"other place", "k1", sealed, "there", secretbox.ErrCorrupt},
		{"flipped bit", "k1", flipped, "here", secretbox.ErrCorrupt},
		{"cut", "k1", sealed[:len(sealed)-1], "here", secretbox.ErrCorrupt},
		{"shorter than a nonce", "k1", sealed[:5], "here", secretbox.ErrCorrupt},
		{"empty", "k1", nil, "here", secretbox.ErrCorrupt},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := ring.Open(tt.keyID, tt.ciphertext, []byte(tt.aad))
			require.ErrorIs(t, err, tt.want)
		})
	}
}

func TestParseKeyringRefuses(t *testing.T) {
	t.Parallel()
	key := base64.StdEncoding.EncodeToString([]byte("an example key of 32 bytes, yes!"))
	tests := map[string]string{
		"empty":          "",
		"key without id": key,
		"empty id":       ":" + key,
		"long id":        strings.Repeat("k", 33) + ":" + key,
		"id with space":  "k 1:" + key,
		"trailing comma": "k1:" + key + ",",
		"id twice":       "k1:" + key + ",k1:" + key,
		"not base64":     "k1:" + strings.Repeat("*", 44),
		"16 bytes":       "k1:" + base64.StdEncoding.EncodeToString(make([]byte, 16)),
		"two colons":     "k1:k2:" + key,
	}
	for name, text := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := secretbox.ParseKeyring(text)
			require.Error(t, err)
			require.NotContains(t, err.Error(), key)
			require.Error(t, new(secretbox.Keyring).UnmarshalText([]byte(text)))
		})
	}
	_, err := secretbox.GenerateKey("not an id")
	require.Error(t, err)
}

func TestKeysAreNotPrinted(t *testing.T) {
	t.Parallel()
	key := "an example key of 32 bytes, yes!"
	ring := parse(t, "k2:"+base64.StdEncoding.EncodeToString([]byte(key)), generate(t, "k1"))
	hidden := struct{ unexported *secretbox.Keyring }{ring}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		require.Equal(t, "keyring(k2,k1)", fmt.Sprintf(verb, ring), verb)
		nested := fmt.Sprintf(verb, hidden)
		require.NotContains(t, nested, fmt.Sprintf("%x", key)[:8], verb)
		require.NotContains(t, nested, "97 110 32 101", verb)
	}
}

func FuzzParseKeyring(f *testing.F) {
	f.Add("k1:" + base64.StdEncoding.EncodeToString(make([]byte, 32)))
	f.Add("k1:,,k2")
	f.Fuzz(func(t *testing.T, text string) {
		ring, err := secretbox.ParseKeyring(text)
		if err != nil {
			return
		}
		id, sealed, err := ring.Seal([]byte("secret"), nil)
		require.NoError(t, err)
		opened, err := ring.Open(id, sealed, nil)
		require.NoError(t, err)
		require.Equal(t, "secret", string(opened))
	})
}

func FuzzOpen(f *testing.F) {
	ring, err := secretbox.ParseKeyring("k1:" + base64.StdEncoding.EncodeToString(make([]byte, 32)))
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte("0123456789abcdef0123456789abcdef"), []byte("aad"))
	f.Fuzz(func(t *testing.T, ciphertext, aad []byte) {
		_, err := ring.Open("k1", ciphertext, aad)
		require.ErrorIs(t, err, secretbox.ErrCorrupt)
	})
}

func Example() {
	oldKey, _ := secretbox.GenerateKey("2025")
	newKey, _ := secretbox.GenerateKey("2026")
	ring, err := secretbox.ParseKeyring(newKey + "," + oldKey)
	if err != nil {
		fmt.Println(err)
		return
	}
	place := []byte("tenant/endpoint")
	keyID, sealed, err := ring.Seal([]byte("whsec_…"), place)
	if err != nil {
		fmt.Println(err)
		return
	}
	opened, err := ring.Open(keyID, sealed, place)
	fmt.Println(keyID, string(opened), err)
	// Output: 2026 whsec_… <nil>
}
