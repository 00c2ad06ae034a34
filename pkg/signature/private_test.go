package signature_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/signature"
)

// A pair of keys in the forms of the Standard Webhooks specification.
const (
	privateKey = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
	publicKey  = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
)

func TestPrivateKeys(t *testing.T) {
	t.Parallel()
	key := parse(t, privateKey)
	require.Equal(t, privateKey, key.Reveal())
	require.Equal(t, publicKey, signature.FormatPublic(key.Public()))
	seed, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(privateKey, "whsk_"))
	require.NoError(t, err)
	require.Equal(t, key, parse(t, "whsk_"+base64.StdEncoding.EncodeToString(seed[:32])), "the seed is enough")
	made := signature.NewPrivate()
	require.Equal(t, made, parse(t, made.Reveal()))
	require.NotEqual(t, made, signature.NewPrivate())
	require.Equal(t, "whsk_*** whsk_***", fmt.Sprintf("%v %s", key, key))
	require.Nil(t, parse(t, documented).Public())

	other := seed
	other[40] ^= 1
	for _, bad := range [][]byte{nil, seed[:31], seed[:33], seed[:63], other} {
		_, err := signature.ParseSecret("whsk_" + base64.StdEncoding.EncodeToString(bad))
		require.Error(t, err)
	}
}

// A receiver that knows the public key verifies what is signed with the private one, alone or beside shared secrets.
func TestSignaturesByPrivateKeys(t *testing.T) {
	t.Parallel()
	private, shared := signature.NewPrivate(), signature.NewSecret()
	at, body := time.Unix(1790000000, 0), []byte(`{"a":1}`)
	both := signature.Sign([]signature.Secret{private, shared}, eventID, at, body)
	first, second, found := strings.Cut(both, " ")
	require.True(t, found)
	require.Equal(t, signature.Sign([]signature.Secret{shared}, eventID, at, body), second)
	encoded, found := strings.CutPrefix(first, "v1a,")
	require.True(t, found)
	sum, err := base64.StdEncoding.DecodeString(encoded)
	require.NoError(t, err)
	require.True(t, ed25519.Verify(private.Public(), []byte(eventID+".1790000000."+string(body)), sum))
	require.False(t, ed25519.Verify(private.Public(), []byte(eventID+".1790000001."+string(body)), sum))
}
