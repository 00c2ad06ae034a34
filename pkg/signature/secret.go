package signature

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
)

// The size of a shared secret's key in bytes.
const (
	MinKeyBytes = 24
	MaxKeyBytes = 64
	newKeyBytes = 32
)

const (
	prefixShared  = "whsec_"
	prefixPrivate = "whsk_"
	prefixPublic  = "whpk_"
)

// Secret is what a sender signs with: a key that it shares with the endpoint (scheme v1, HMAC-SHA256) or its own private key (scheme v1a, ed25519).
// Formatting and marshalling give "whsec_***" or "whsk_***"; only Reveal gives the secret. The zero Secret is no secret and signs nothing: Sign panics on it.
type Secret struct {
	key     *string // raw bytes; a pointer to a string is what fmt shows as an address where it cannot call Format
	private bool    // an ed25519 key of 64 bytes
}

// NewSecret makes a shared secret of 32 random bytes.
func NewSecret() Secret {
	key := make([]byte, newKeyBytes)
	rand.Read(key) // never returns an error
	return fromBytes(key, false)
}

// NewPrivate makes a private key.
func NewPrivate() Secret {
	seed := make([]byte, ed25519.SeedSize)
	rand.Read(seed) // never returns an error
	return fromBytes(ed25519.NewKeyFromSeed(seed), true)
}

// ParseSecret reads "whsec_" and the padded standard base64 of 24 to 64 bytes, or "whsk_" and that of an ed25519 private key: its seed of 32 bytes, or seed
// and public key. Its errors do not contain the text.
func ParseSecret(text string) (Secret, error) {
	encoded, shared := strings.CutPrefix(text, prefixShared)
	if !shared {
		var private bool
		if encoded, private = strings.CutPrefix(text, prefixPrivate); !private {
			return Secret{}, errors.New("parse signing secret: must start with whsec_, or with whsk_ for an ed25519 key")
		}
	}
	key, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || base64.StdEncoding.EncodeToString(key) != encoded {
		return Secret{}, errors.New("parse signing secret: must be standard base64, with padding, after the prefix")
	}
	if !shared {
		return parsePrivate(key)
	}
	if len(key) < MinKeyBytes || len(key) > MaxKeyBytes {
		return Secret{}, fmt.Errorf("parse signing secret: has %d bytes, must have %d to %d", len(key), MinKeyBytes, MaxKeyBytes)
	}
	return fromBytes(key, false), nil
}

func parsePrivate(key []byte) (Secret, error) {
	if len(key) != ed25519.SeedSize && len(key) != ed25519.PrivateKeySize {
		return Secret{}, fmt.Errorf("parse signing key: has %d bytes, must have %d (the seed) or %d", len(key), ed25519.SeedSize, ed25519.PrivateKeySize)
	}
	whole := ed25519.NewKeyFromSeed(key[:ed25519.SeedSize])
	if len(key) == ed25519.PrivateKeySize && string(whole) != string(key) {
		return Secret{}, errors.New("parse signing key: its second half is not the public key of its first")
	}
	return fromBytes(whole, true), nil
}

// Reveal gives the secret's text form, which ParseSecret reads. It gives "" for the zero Secret.
func (s Secret) Reveal() string {
	if s.IsZero() {
		return ""
	}
	return s.prefix() + base64.StdEncoding.EncodeToString(s.bytes())
}

func (s Secret) prefix() string {
	if s.private {
		return prefixPrivate
	}
	return prefixShared
}

// IsZero reports whether s is no secret.
func (s Secret) IsZero() bool { return s.key == nil }

// Public gives the public key of a private one; nil of a shared secret.
func (s Secret) Public() ed25519.PublicKey {
	if !s.private {
		return nil
	}
	return ed25519.PublicKey(s.bytes()[ed25519.SeedSize:])
}

// FormatPublic gives the text form of a public key, "whpk_" and base64.
func FormatPublic(key ed25519.PublicKey) string {
	return prefixPublic + base64.StdEncoding.EncodeToString(key)
}

// String gives "whsec_***" or "whsk_***".
func (s Secret) String() string { return s.prefix() + "***" }

// Format writes what String gives for every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// MarshalText gives what String gives, for JSON and every other encoding.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

func (s Secret) bytes() []byte {
	if s.IsZero() {
		panic("signature: the zero Secret cannot sign")
	}
	return []byte(*s.key)
}

func fromBytes(key []byte, private bool) Secret {
	text := string(key)
	return Secret{key: &text, private: private}
}
