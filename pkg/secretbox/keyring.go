// Package secretbox encrypts small secrets at rest with AES-256-GCM under a ring of named keys.
//
// It owns the keyring's text form, the choice of the key and the ciphertext's layout. It does not own where keys come from
// (an environment variable, see pkg/config), where ciphertexts are stored, or re-encryption after a rotation.
//
// To rotate, put a new key in front of the ring on every replica; remove the old one once nothing is stored under its id.
package secretbox

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
)

const keyBytes = 32

// ErrUnknownKey says that a ciphertext was sealed with a key that is not in the ring.
var ErrUnknownKey = errors.New("unknown key id")

// ErrCorrupt says that a ciphertext is damaged, or belongs to another key or other associated data.
var ErrCorrupt = errors.New("ciphertext does not match key or associated data")

// Keyring seals with its first key and opens with any. It is safe for concurrent use; formatting it shows key ids only.
type Keyring struct {
	ids   []string // in the order of the text; the first is primary
	boxes map[string]cipher.AEAD
}

// ParseKeyring reads "id:key,id:key": an id has 1 to 32 letters, digits, '-' or '_'; a key is the standard base64 of 32
// bytes. The first key is the primary. Its errors contain ids, never keys.
func ParseKeyring(text string) (*Keyring, error) {
	ring := &Keyring{boxes: map[string]cipher.AEAD{}}
	for i, entry := range strings.Split(text, ",") {
		if err := ring.add(strings.TrimSpace(entry)); err != nil {
			return nil, fmt.Errorf("parse keyring: entry %d: %w", i+1, err)
		}
	}
	return ring, nil
}

// UnmarshalText is ParseKeyring, for configuration.
func (r *Keyring) UnmarshalText(text []byte) error {
	parsed, err := ParseKeyring(string(text))
	if err != nil {
		return err
	}
	*r = *parsed
	return nil
}

// GenerateKey makes a random key and gives it as an entry for ParseKeyring. id must be one that ParseKeyring accepts.
func GenerateKey(id string) (string, error) {
	if !validID(id) {
		return "", errInvalidID()
	}
	key := make([]byte, keyBytes)
	rand.Read(key) // never returns an error
	return id + ":" + base64.StdEncoding.EncodeToString(key), nil
}

func (r *Keyring) add(entry string) error {
	id, encoded, found := strings.Cut(entry, ":")
	if !found || !validID(id) { // id is not shown: without a colon it may be the key
		return errInvalidID()
	}
	if _, twice := r.boxes[id]; twice {
		return fmt.Errorf("key id %q appears twice", id)
	}
	key, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || len(key) != keyBytes {
		return fmt.Errorf("key %q must be the standard base64 of %d bytes", id, keyBytes)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return fmt.Errorf("key %q: %w", id, err)
	}
	box, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return fmt.Errorf("key %q: %w", id, err)
	}
	r.ids, r.boxes[id] = append(r.ids, id), box
	return nil
}

func errInvalidID() error {
	return errors.New(`must be "id:key", the id of 1 to 32 letters, digits, '-' or '_'`)
}

func validID(id string) bool {
	const allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
	return len(id) >= 1 && len(id) <= 32 && strings.Trim(id, allowed) == ""
}

// Primary gives the id of the key that Seal uses.
func (r *Keyring) Primary() string { return r.ids[0] }

// String gives the ids of the keys, the primary first.
func (r *Keyring) String() string { return "keyring(" + strings.Join(r.ids, ",") + ")" }

// Format writes String for every verb.
func (r *Keyring) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, r.String()) }
