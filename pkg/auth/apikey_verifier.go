package auth

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/beaconpost/beaconpost/pkg/fault"
)

// lookupTimeout bounds a lookup, which does not end with the request that started it: others wait for it too.
const lookupTimeout = 3 * time.Second

// CacheConfig bounds the cache of an APIKeys. Zero fields take the default.
type CacheConfig struct {
	TTL         time.Duration `env:"TTL" envDefault:"5s" doc:"How long a replica may accept an API key after its revocation."`
	NegativeTTL time.Duration `env:"NEGATIVE_TTL" envDefault:"1s" doc:"How long a replica may refuse a new API key that was tried before it existed."`
	Size        int           `env:"SIZE" envDefault:"10000" doc:"API keys remembered per replica."`
}

func (c CacheConfig) withDefaults() CacheConfig {
	if c.TTL <= 0 {
		c.TTL = 5 * time.Second
	}
	if c.NegativeTTL <= 0 {
		c.NegativeTTL = time.Second
	}
	if c.Size <= 0 {
		c.Size = 10_000
	}
	return c
}

// APIKeys verifies API keys. A record is looked up once for concurrent requests and remembered for a few seconds, so a
// revocation takes effect after at most CacheConfig.TTL, at once in the process that calls Forget. An expiry is exact.
type APIKeys struct {
	lookup  APIKeyLookup
	found   *cache[APIKeyRecord]
	absent  *cache[struct{}] // apart, so that guesses do not push out good keys
	flights singleflight.Group
}

var _ Verifier = (*APIKeys)(nil)

// NewAPIKeyVerifier gives a verifier that asks lookup. It owns no goroutine.
func NewAPIKeyVerifier(lookup APIKeyLookup, cfg CacheConfig) *APIKeys {
	cfg = cfg.withDefaults()
	return &APIKeys{
		lookup: lookup,
		found:  newCache[APIKeyRecord](cfg.Size, cfg.TTL),
		absent: newCache[struct{}](cfg.Size, cfg.NegativeTTL),
	}
}

// Verify checks an API key.
func (k *APIKeys) Verify(ctx context.Context, token string) (Principal, error) {
	if !wellFormed(token) {
		return Principal{}, unknownAPIKey()
	}
	hash := sha256.Sum256([]byte(token))
	record, err := k.record(ctx, hash)
	if err != nil {
		return Principal{}, err
	}
	return record.principal(time.Now())
}

// Forget drops what is remembered of the API key with this id. Call it after the key was changed.
func (k *APIKeys) Forget(id string) {
	k.found.remove(func(r APIKeyRecord) bool { return r.ID == id })
}

func (k *APIKeys) record(ctx context.Context, hash [sha256.Size]byte) (APIKeyRecord, error) {
	if record, ok := k.found.get(hash); ok {
		return record, nil
	}
	if _, ok := k.absent.get(hash); ok {
		return APIKeyRecord{}, unknownAPIKey()
	}
	epoch := k.found.epoch() // part of the name: who comes after a Forget does not join a lookup from before it
	flight := string(binary.BigEndian.AppendUint64(hash[:], epoch))
	shared, err, _ := k.flights.Do(flight, func() (any, error) { return k.ask(ctx, hash, epoch) })
	if err != nil {
		return APIKeyRecord{}, err
	}
	record, ok := shared.(APIKeyRecord)
	if !ok {
		return APIKeyRecord{}, fault.Internal(errors.New("verify api key: lookup gave no record"))
	}
	return record, nil
}

// ask looks the key up and remembers the answer, unless Forget was called meanwhile.
func (k *APIKeys) ask(ctx context.Context, hash [sha256.Size]byte, epoch uint64) (APIKeyRecord, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookupTimeout)
	defer cancel()
	record, err := k.lookup.LookupAPIKey(ctx, hash[:])
	switch {
	case err == nil:
		k.found.put(hash, record, epoch)
		return record, nil
	case fault.KindOf(err) == fault.KindNotFound:
		k.absent.put(hash, struct{}{}, k.absent.epoch())
		return APIKeyRecord{}, unknownAPIKey()
	default:
		return APIKeyRecord{}, unchecked(err)
	}
}

func unknownAPIKey() error { return invalid("The API key is not known.", nil) }
