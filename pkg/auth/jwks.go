package auth

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"errors"
	"fmt"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jwk"
)

const minRSABits = 2048

// asymmetric lists the algorithms that may be configured. HMAC is not among them: whoever can verify could sign too.
func asymmetric() []string {
	return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
}

// publicKey is one usable key of a JWKS.
type publicKey struct {
	id  string
	alg string // the only algorithm it is for; "" if the JWKS does not say
	raw any    // *rsa.PublicKey, *ecdsa.PublicKey or ed25519.PublicKey
}

// publicKeys is a JWKS as far as it is usable.
type publicKeys []publicKey

// parseJWKS reads a JWKS and keeps the public parts of the keys that can verify signatures here. Keys of other types and
// uses are left out; a set without a usable key is an error.
func parseJWKS(text []byte) (publicKeys, error) {
	set, err := jwk.Parse(text, jwk.WithIgnoreParseError(true))
	if err != nil {
		return nil, fmt.Errorf("parse jwks: %w", err)
	}
	var keys publicKeys
	for i := range set.Len() {
		if key, ok := set.Key(i); ok && (key.KeyUsage() == "" || key.KeyUsage() == string(jwk.ForSignature)) {
			keys = keys.with(key)
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("parse jwks: no usable signing key in it")
	}
	return keys, nil
}

func (k publicKeys) with(key jwk.Key) publicKeys {
	raw, err := jwk.PublicRawKeyOf(key)
	if err != nil || !strong(raw) {
		return k
	}
	return append(k, publicKey{id: key.KeyID(), alg: key.Algorithm().String(), raw: raw})
}

// strong leaves out symmetric keys, too, which have no type of their own.
func strong(raw any) bool {
	switch key := raw.(type) {
	case *rsa.PublicKey:
		return key.N.BitLen() >= minRSABits
	case *ecdsa.PublicKey, ed25519.PublicKey:
		return true
	}
	return false
}

// find gives the keys that a token with this header may have been signed with. A token that names no key is accepted only
// if a single key fits its algorithm.
func (k publicKeys) find(id string, alg jwa.SignatureAlgorithm) publicKeys {
	var found publicKeys
	for _, key := range k {
		if key.fits(alg) && (id == "" || key.id == id) {
			found = append(found, key)
		}
	}
	if id == "" && len(found) > 1 {
		return nil
	}
	return found
}

// fits reports whether the key may be used with alg: its own algorithm, if it has one, and its type and curve.
func (k publicKey) fits(alg jwa.SignatureAlgorithm) bool {
	if k.alg != "" && k.alg != alg.String() {
		return false
	}
	switch alg {
	case jwa.RS256, jwa.RS384, jwa.RS512, jwa.PS256, jwa.PS384, jwa.PS512:
		_, ok := k.raw.(*rsa.PublicKey)
		return ok
	case jwa.ES256:
		return k.onCurve("P-256")
	case jwa.ES384:
		return k.onCurve("P-384")
	case jwa.ES512:
		return k.onCurve("P-521")
	case jwa.EdDSA:
		_, ok := k.raw.(ed25519.PublicKey)
		return ok
	default:
		return false
	}
}

func (k publicKey) onCurve(name string) bool {
	key, ok := k.raw.(*ecdsa.PublicKey)
	return ok && key.Params().Name == name
}
