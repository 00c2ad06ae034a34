package signature

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
)

// The size of a secret's key in bytes.
const (
	MinKeyBytes = 24
	MaxKeyBytes = 64
	newKeyBytes = 32
)

const (
	prefix   = "whsec_"
	redacted = "whsec_***"
)

// Secret is the key that an endpoint shares with its sender. Formatting and marshalling give "whsec_***"; only Reveal
// gives the secret. The zero Secret is no secret and signs nothing: Sign panics on it.
type Secret struct {
	key *string // raw bytes; a pointer to a string is what fmt shows as an address where it cannot call Format
}

// NewSecret makes a secret of 32 random bytes.
func NewSecret() Secret {
	key := make([]byte, newKeyBytes)
	rand.Read(key) // never returns an error
	return fromBytes(key)
}

// ParseSecret reads "whsec_" and the padded standard base64 of 24 to 64 bytes. Its errors do not contain the text.
func ParseSecret(text string) (Secret, error) {
	encoded, ok := strings.CutPrefix(text, prefix)
	if !ok {
		return Secret{}, errors.New("parse signing secret: must start with whsec_")
	}
	key, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || base64.StdEncoding.EncodeToString(key) != encoded {
		return Secret{}, errors.New("parse signing secret: must be standard base64, with padding, after whsec_")
	}
	if len(key) < MinKeyBytes || len(key) > MaxKeyBytes {
		return Secret{}, fmt.Errorf("parse signing secret: has %d bytes, must have %d to %d", len(key), MinKeyBytes, MaxKeyBytes)
	}
	return fromBytes(key), nil
}

// Reveal gives the secret's text form, which ParseSecret reads. It gives "" for the zero Secret.
func (s Secret) Reveal() string {
	if s.IsZero() {
		return ""
	}
	return prefix + base64.StdEncoding.EncodeToString(s.bytes())
}

// IsZero reports whether s is no secret.
func (s Secret) IsZero() bool { return s.key == nil }

// String gives "whsec_***".
func (s Secret) String() string { return redacted }

// Format writes "whsec_***" for every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText gives "whsec_***", for JSON and every other encoding.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

func (s Secret) bytes() []byte {
	if s.IsZero() {
		panic("signature: the zero Secret cannot sign")
	}
	return []byte(*s.key)
}

func fromBytes(key []byte) Secret {
	text := string(key)
	return Secret{key: &text}
}
