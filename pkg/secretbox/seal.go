package secretbox

import "fmt"

// Overhead is how many bytes a ciphertext is longer than its plaintext: a random nonce in front and the tag behind.
const Overhead = 12 + 16

// Seal encrypts plaintext under the primary key, whose id must be stored beside the ciphertext. aad is authenticated but
// not part of the result: it binds the ciphertext to its place (say, the ids of its row), and Open needs the same.
// One key is good for 2³² seals.
func (r *Keyring) Seal(plaintext, aad []byte) (keyID string, ciphertext []byte, err error) {
	box, ok := r.boxes[r.Primary()]
	if !ok {
		return "", nil, fmt.Errorf("seal: %w", ErrUnknownKey)
	}
	return r.Primary(), box.Seal(nil, nil, plaintext, aad), nil
}

// Open decrypts what Seal made, with the same aad. Its errors are ErrUnknownKey and ErrCorrupt, wrapped.
func (r *Keyring) Open(keyID string, ciphertext, aad []byte) ([]byte, error) {
	box, ok := r.boxes[keyID]
	if !ok {
		return nil, fmt.Errorf("open: %w %q, the ring has %s", ErrUnknownKey, keyID, r)
	}
	plaintext, err := box.Open(nil, nil, ciphertext, aad)
	if err != nil {
		return nil, fmt.Errorf("open with key %q: %w", keyID, ErrCorrupt)
	}
	return plaintext, nil
}
