package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"math/big"
	"strings"
	"time"

	"github.com/beaconpost/beaconpost/pkg/tenant"
)

// An API key is "bp_" and 192 random bits in base62, always 33 digits.
const (
	apiKeyPrefix = "bp_"
	apiKeyBytes  = 24
	apiKeyDigits = 33
	shownDigits  = 6
)

// NewAPIKey makes an API key. key is shown once to its owner and stored nowhere; hash is stored; prefix is the start of
// key, with which its owner can recognise it in a list.
func NewAPIKey() (key string, hash []byte, prefix string) {
	random := make([]byte, apiKeyBytes)
	rand.Read(random) // never returns an error
	digits := new(big.Int).SetBytes(random).Text(62)
	key = apiKeyPrefix + strings.Repeat("0", apiKeyDigits-len(digits)) + digits
	return key, HashAPIKey(key), key[:len(apiKeyPrefix)+shownDigits]
}

// HashAPIKey gives the SHA-256 of key. A slow hash would add nothing: 192 random bits cannot be guessed.
func HashAPIKey(key string) []byte {
	sum := sha256.Sum256([]byte(key))
	return sum[:]
}

// LooksLikeAPIKey reports whether token starts as API keys do (and no JWT does).
func LooksLikeAPIKey(token string) bool { return strings.HasPrefix(token, apiKeyPrefix) }

// wellFormed reports whether NewAPIKey could have made token, so that garbage costs no query.
func wellFormed(token string) bool {
	const digits = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	random, ok := strings.CutPrefix(token, apiKeyPrefix)
	return ok && len(random) == apiKeyDigits && strings.Trim(random, digits) == ""
}

// APIKeyRecord is what is stored about an API key.
type APIKeyRecord struct {
	ID        string
	Tenant    tenant.ID
	Scopes    Scopes
	ExpiresAt time.Time // zero if it does not expire
	RevokedAt time.Time // zero if it is not revoked
}

// principal judges the record at the time now.
func (k APIKeyRecord) principal(now time.Time) (Principal, error) {
	switch {
	case !k.RevokedAt.IsZero() && !now.Before(k.RevokedAt):
		return Principal{}, invalid("The API key was revoked.", nil)
	case !k.ExpiresAt.IsZero() && !now.Before(k.ExpiresAt):
		return Principal{}, expired("The API key has expired.")
	}
	return Principal{
		Tenant: k.Tenant, Scopes: k.Scopes, CredentialID: k.ID, Kind: KindAPIKey, ExpiresAt: k.ExpiresAt,
	}, nil
}

// APIKeyLookup reads stored API keys.
type APIKeyLookup interface {
	// LookupAPIKey finds the key with this hash, revoked and expired ones included. A fault of kind NotFound says that
	// there is none; any other error, that the store cannot be asked.
	LookupAPIKey(ctx context.Context, hash []byte) (APIKeyRecord, error)
}
