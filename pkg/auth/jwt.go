package auth

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jws"
	"github.com/lestrrat-go/jwx/v2/jwt"

	"github.com/beaconpost/beaconpost/pkg/fault"
)

const (
	maxTokenBytes  = 16 << 10
	verifiedTokens = 10_000 // remembered per verifier
	rememberedFor  = time.Minute
)

// JWT verifies tokens against the keys of a JWKS. The keys are kept fresh in the background; a failing refresh keeps the
// old ones. A token with an unknown key id causes a refresh, at most one in JWTConfig.MinRefreshInterval.
//
// A verified token is remembered for a while, because a signature costs a hundred times more than a look into a map. It
// makes no difference otherwise: new keys clear the memory, and the expiry is checked every time.
type JWT struct {
	cfg       JWTConfig
	source    source
	keys      atomic.Pointer[publicKeys] // nil until the first successful load
	verified  *cache[Principal]
	refresher *refresher
}

var _ Verifier = (*JWT)(nil)

// NewJWTVerifier loads the keys and starts refreshing them until Close. An unusable configuration or file is an error. A URL
// that does not answer is not: Ready reports it, and tokens get a fault of kind Unavailable until it does. ctx bounds the
// first load, which takes five seconds at most.
func NewJWTVerifier(ctx context.Context, cfg JWTConfig) (*JWT, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("configure jwt verifier: %w", err)
	}
	src, every, atMost, err := sourceOf(cfg)
	if err != nil {
		return nil, fmt.Errorf("configure jwt verifier: %w", err)
	}
	v := &JWT{cfg: cfg, source: src, verified: newCache[Principal](verifiedTokens)}
	v.refresher = &refresher{load: v.load, every: every, atMost: atMost}
	err = v.refresher.start(ctx)
	if _, isFile := src.(*fileSource); isFile && err != nil {
		v.Close()
		return nil, fmt.Errorf("start jwt verifier: %w", err)
	}
	return v, nil
}

// Close ends the refreshing and waits for it.
func (v *JWT) Close() { v.refresher.close() }

// Ready reports whether tokens can be verified, for a readiness check.
func (v *JWT) Ready(context.Context) error {
	if v.keys.Load() == nil {
		return errors.New("no jwks loaded yet")
	}
	return nil
}

// Verify checks a JWT in compact form.
func (v *JWT) Verify(ctx context.Context, token string) (Principal, error) {
	if len(token) > maxTokenBytes {
		return Principal{}, invalid("The token is too long.", nil)
	}
	hash := sha256.Sum256([]byte(token))
	if p, ok := v.verified.get(hash, rememberedFor); ok && time.Now().Before(p.ExpiresAt) {
		return p, nil
	}
	if err := v.Ready(ctx); err != nil {
		return Principal{}, unchecked(err)
	}
	epoch := v.verified.epoch()
	claims, err := v.claims(ctx, token)
	if err != nil {
		return Principal{}, err
	}
	p, err := v.principal(claims)
	if err == nil {
		v.verified.put(hash, p, epoch)
	}
	return p, err
}

// claims gives what a token says whose signature is good.
func (v *JWT) claims(ctx context.Context, token string) (jwt.Token, error) {
	payload, err := jws.Verify([]byte(token), jws.WithCompact(), jws.WithContext(ctx), jws.WithKeyProvider(jws.KeyProviderFunc(v.provide)))
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return nil, f
	}
	if err != nil {
		return nil, invalid("The token is not a JWT with a valid signature.", err)
	}
	claims := jwt.New()
	if err := json.Unmarshal(payload, claims); err != nil {
		return nil, invalid("The token's claims cannot be read.", err)
	}
	return claims, nil
}

// provide chooses the keys that a token's header may name. It alone decides which algorithm is used.
func (v *JWT) provide(ctx context.Context, sink jws.KeySink, sig *jws.Signature, _ *jws.Message) error {
	header := sig.ProtectedHeaders()
	alg := header.Algorithm()
	if !slices.Contains(v.cfg.Algorithms, alg.String()) {
		return invalid("The token's signature algorithm is not accepted.", nil)
	}
	if len(header.Critical()) > 0 {
		return invalid("The token has critical header fields that are not understood.", nil)
	}
	keys := v.find(ctx, header.KeyID(), alg)
	if len(keys) == 0 {
		return invalid("The token is signed with an unknown key.", fmt.Errorf("no key with id %q for %s", header.KeyID(), alg))
	}
	for _, key := range keys {
		sink.Key(alg, key.raw)
	}
	return nil
}

func (v *JWT) find(ctx context.Context, id string, alg jwa.SignatureAlgorithm) publicKeys {
	if keys := v.keys.Load().find(id, alg); len(keys) > 0 {
		return keys
	}
	v.refresher.demand(ctx)
	return v.keys.Load().find(id, alg)
}

// load replaces the keys, or keeps them if the source fails.
func (v *JWT) load(ctx context.Context) error {
	text, err := v.source.load(ctx)
	if errors.Is(err, errUnchanged) {
		err = nil
	} else if err == nil {
		var keys publicKeys
		if keys, err = parseJWKS(text); err == nil {
			v.keys.Store(&keys)
			v.verified.remove(func(Principal) bool { return true })
		}
	}
	v.cfg.OnRefresh(err)
	return err
}
