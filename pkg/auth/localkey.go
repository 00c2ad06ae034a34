package auth

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jwk"
)

// LocalKey signs tokens where there is no identity provider: on a developer's machine, in tests, for operators of a small
// installation.
type LocalKey struct {
	private jwk.Key
}

// GenerateLocalKey makes an Ed25519 key. Its key id is its RFC 7638 thumbprint.
func GenerateLocalKey() (*LocalKey, error) {
	_, raw, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate local key: %w", err)
	}
	key, err := jwk.FromRaw(raw)
	if err != nil {
		return nil, fmt.Errorf("generate local key: %w", err)
	}
	thumbprint, err := key.Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("generate local key: %w", err)
	}
	err = errors.Join(
		key.Set(jwk.KeyIDKey, base64.RawURLEncoding.EncodeToString(thumbprint)),
		key.Set(jwk.AlgorithmKey, jwa.EdDSA),
		key.Set(jwk.KeyUsageKey, jwk.ForSignature),
	)
	if err != nil {
		return nil, fmt.Errorf("generate local key: %w", err)
	}
	return &LocalKey{private: key}, nil
}

// PublicJWKS gives the JWKS, for JWTConfig.JWKS, that verifies what the key signs.
func (k *LocalKey) PublicJWKS() ([]byte, error) {
	public, err := k.private.PublicKey()
	if err != nil {
		return nil, fmt.Errorf("make public jwks: %w", err)
	}
	text, err := json.Marshal(map[string][]jwk.Key{"keys": {public}})
	if err != nil {
		return nil, fmt.Errorf("make public jwks: %w", err)
	}
	return text, nil
}

// PublicPath gives the path of the public JWKS that LoadOrCreateLocalKey writes beside the private key at path:
// "local.jwk" has "local.jwks.json".
func PublicPath(path string) string {
	return strings.TrimSuffix(path, filepath.Ext(path)) + ".jwks.json"
}

// LoadOrCreateLocalKey reads the private JWK at path, or makes one: mode 0600, in a directory that must exist. The public
// JWKS is written to PublicPath(path), mode 0644, if it differs. Both are written atomically, and of several processes
// that start at the same time one makes the key and all use it. A private key that everybody may read is refused.
func LoadOrCreateLocalKey(path string) (*LocalKey, error) {
	key, err := loadLocalKey(path)
	if errors.Is(err, fs.ErrNotExist) {
		key, err = createLocalKey(path)
	}
	if err != nil {
		return nil, err
	}
	public, err := key.PublicJWKS()
	if err != nil {
		return nil, err
	}
	if present, err := os.ReadFile(PublicPath(path)); err == nil && bytes.Equal(present, public) {
		return key, nil
	}
	if err := writeFile(PublicPath(path), public, 0o644, os.Rename); err != nil {
		return nil, fmt.Errorf("write public jwks: %w", err)
	}
	return key, nil
}

func loadLocalKey(path string) (*LocalKey, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("load local key: %w", err)
	}
	if info.Mode().Perm()&0o007 != 0 {
		return nil, fmt.Errorf("load local key: everybody may read or write %s; chmod 600 it, or delete it if it may have leaked", path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("load local key: %w", err)
	}
	key, err := jwk.ParseKey(text)
	if err != nil {
		return nil, fmt.Errorf("load local key: %s is not a jwk: %w", path, err)
	}
	var raw any
	err = key.Raw(&raw)
	if _, ok := raw.(ed25519.PrivateKey); !ok || err != nil || key.KeyID() == "" {
		return nil, fmt.Errorf("load local key: %s is not an Ed25519 private key with a kid", path)
	}
	return &LocalKey{private: key}, nil
}

func createLocalKey(path string) (*LocalKey, error) {
	key, err := GenerateLocalKey()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(key.private)
	if err != nil {
		return nil, fmt.Errorf("create local key: %w", err)
	}
	err = writeFile(path, text, 0o600, os.Link) // a link, unlike a rename, fails if another process was faster
	if errors.Is(err, fs.ErrExist) {
		return loadLocalKey(path)
	}
	if err != nil {
		return nil, fmt.Errorf("create local key: %w", err)
	}
	return key, nil
}
