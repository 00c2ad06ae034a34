package config

import (
	"fmt"
	"io"
)

// Secret is text that must not be shown. Formatting and marshalling give "***", or nothing if it is empty; only Reveal
// gives the text.
type Secret string

// Reveal gives the text. Call it where the secret is used, not where it is passed on.
func (s Secret) Reveal() string { return string(s) }

// String gives "***", or "" if s is empty.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "***"
}

// Format writes String for every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// MarshalText gives String, for JSON and every other encoding, zerolog's included.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
