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
	TTL         time.Duration `env:"TTL" envDefault:"60s" doc:"How long an API key is remembered. Replicas hear of a revocation over NATS at once; this is for when a message is lost."`
	OfflineTTL  time.Duration `env:"OFFLINE_TTL" envDefault:"5s" doc:"The same while a replica has no connection to NATS, so that it would not hear."`
	NegativeTTL time.Duration `env:"NEGATIVE_TTL" envDefault:"1s" doc:"How long a replica may refuse a new API key that was tried before it existed."`
	Size        int           `env:"SIZE" envDefault:"100000" doc:"API keys remembered per replica."`

	// Informed says whether Forget is called now for keys that others change. nil: it never is.
	Informed func() bool
}

func (c CacheConfig) withDefaults() CacheConfig {
	if c.TTL <= 0 {
		c.TTL = time.Minute
	}
	if c.OfflineTTL <= 0 {
		c.OfflineTTL = 5 * time.Second
	}
	if c.Informed == nil {
		c.Informed = func() bool { return false }
	}
	if c.NegativeTTL <= 0 {
		c.NegativeTTL = time.Second
	}
	if c.Size <= 0 {
		c.Size = 100_000
	}
	return c
}

// APIKeys verifies API keys. A record is looked up once for concurrent requests and remembered, so a revocation takes effect at once where
// Forget is called, and elsewhere after at most CacheConfig.TTL, or OfflineTTL while nobody would call it. An expiry is exact.
type APIKeys struct {
	cfg     CacheConfig
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
		cfg:    cfg,
		lookup: lookup,
		found:  newCache[APIKeyRecord](cfg.Size),
		absent: newCache[struct{}](min(cfg.Size, 10_000)),
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

// ForgetAll drops everything. Call it when changes may have been missed.
func (k *APIKeys) ForgetAll() {
	k.found.remove(func(APIKeyRecord) bool { return true })
}

// ttl is how long a record counts now.
func (k *APIKeys) ttl() time.Duration {
	if k.cfg.Informed() {
		return k.cfg.TTL
	}
	return min(k.cfg.OfflineTTL, k.cfg.TTL)
}

func (k *APIKeys) record(ctx context.Context, hash [sha256.Size]byte) (APIKeyRecord, error) {
	if record, ok := k.found.get(hash, k.ttl()); ok {
		return record, nil
	}
	if _, ok := k.absent.get(hash, k.cfg.NegativeTTL); ok {
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
