package auth_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/auth"
	"github.com/beaconpost/beaconpost/pkg/config"
	"github.com/beaconpost/beaconpost/pkg/fault"
)

// store is an APIKeyLookup in memory. Each lookup takes a millisecond.
type store struct {
	mu    sync.Mutex
	keys  map[string]auth.APIKeyRecord
	down  error
	calls atomic.Int32
}

func (s *store) LookupAPIKey(ctx context.Context, hash []byte) (auth.APIKeyRecord, error) {
	s.calls.Add(1)
	s.mu.Lock()
	record, ok := s.keys[string(hash)]
	down := s.down
	s.mu.Unlock()
	select {
	case <-time.After(time.Millisecond):
	case <-ctx.Done():
		return auth.APIKeyRecord{}, ctx.Err()
	}
	if down != nil {
		return auth.APIKeyRecord{}, down
	}
	if !ok {
		return auth.APIKeyRecord{}, fault.NotFound("api_key_not_found", "no such key")
	}
	return record, nil
}

func (s *store) set(key string, record auth.APIKeyRecord) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keys == nil {
		s.keys = map[string]auth.APIKeyRecord{}
	}
	s.keys[string(auth.HashAPIKey(key))] = record
}

func (s *store) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = err
}

func TestNewAPIKey(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 1000 {
		key, hash, prefix := auth.NewAPIKey()
		require.Regexp(t, `^bp_[0-9A-Za-z]{33}$`, key)
		require.Equal(t, auth.HashAPIKey(key), hash)
		require.Len(t, hash, 32)
		require.Len(t, prefix, 9)
		require.True(t, strings.HasPrefix(key, prefix))
		require.True(t, auth.LooksLikeAPIKey(key))
		require.False(t, seen[key])
		seen[key] = true
	}
	require.False(t, auth.LooksLikeAPIKey("eyJhbGciOi"))
	require.False(t, auth.LooksLikeAPIKey(""))
}

func TestAPIKeyJudged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		tests := []struct {
			name   string
			record auth.APIKeyRecord
			code   fault.Code // "" is accepted
		}{
			{"plain", auth.APIKeyRecord{}, ""},
			{"expires later", auth.APIKeyRecord{ExpiresAt: now.Add(time.Hour)}, ""},
			{"expired", auth.APIKeyRecord{ExpiresAt: now}, auth.CodeExpiredCredentials},
			{"revoked", auth.APIKeyRecord{RevokedAt: now}, auth.CodeInvalidCredentials},
			{"revoked and expired", auth.APIKeyRecord{RevokedAt: now, ExpiresAt: now}, auth.CodeInvalidCredentials},
			{"to be revoked later", auth.APIKeyRecord{RevokedAt: now.Add(time.Hour)}, ""},
		}
		for _, tt := range tests {
			var s store
			key, _, _ := auth.NewAPIKey()
			tt.record.ID, tt.record.Tenant, tt.record.Scopes = "key-1", parseTenant(t), auth.Scopes{auth.ScopeEventsWrite}
			s.set(key, tt.record)
			p, err := auth.NewAPIKeyVerifier(&s, auth.CacheConfig{}).Verify(t.Context(), key)
			if tt.code != "" {
				requireFault(t, err, fault.KindUnauthenticated, tt.code)
				continue
			}
			require.NoError(t, err, tt.name)
			require.Equal(t, auth.Principal{
				Tenant: parseTenant(t), Scopes: auth.Scopes{auth.ScopeEventsWrite}, CredentialID: "key-1",
				Kind: auth.KindAPIKey, ExpiresAt: tt.record.ExpiresAt,
			}, p, tt.name)
		}
	})
}

func TestGarbageIsNotLookedUp(t *testing.T) {
	t.Parallel()
	var s store
	v := auth.NewAPIKeyVerifier(&s, auth.CacheConfig{})
	key, _, _ := auth.NewAPIKey()
	for _, token := range []string{"", "bp_", key[:35], key + "0", "BP_" + key[3:], "bp_" + strings.Repeat("-", 33), "bp_" + strings.Repeat("é", 33), key[3:]} {
		_, err := v.Verify(t.Context(), token)
		requireFault(t, err, fault.KindUnauthenticated, auth.CodeInvalidCredentials)
	}
	require.Zero(t, s.calls.Load())
}

func TestAPIKeyCache(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var s store
		key, _, _ := auth.NewAPIKey()
		informed := false
		v := auth.NewAPIKeyVerifier(&s, auth.CacheConfig{Informed: func() bool { return informed }})
		verify := func() error { _, err := v.Verify(t.Context(), key); return err }

		requireFault(t, verify(), fault.KindUnauthenticated, auth.CodeInvalidCredentials)
		s.set(key, auth.APIKeyRecord{ID: "k"})
		require.Error(t, verify(), "absence is remembered")
		time.Sleep(time.Second)
		require.NoError(t, verify(), "for a second")
		require.EqualValues(t, 2, s.calls.Load())

		s.set(key, auth.APIKeyRecord{ID: "k", RevokedAt: time.Now()})
		require.NoError(t, verify(), "a key is remembered")
		require.EqualValues(t, 2, s.calls.Load())
		time.Sleep(5 * time.Second)
		require.Error(t, verify(), "for five seconds, since nobody would tell of a revocation")

		s.set(key, auth.APIKeyRecord{ID: "k"})
		v.ForgetAll()
		require.NoError(t, verify())
		s.set(key, auth.APIKeyRecord{ID: "k", RevokedAt: time.Now()})
		informed = true
		time.Sleep(59 * time.Second)
		require.NoError(t, verify(), "for a minute, since somebody would")
		informed = false
		require.Error(t, verify(), "which it is too old for when nobody would any more")
		informed = true

		s.set(key, auth.APIKeyRecord{ID: "k"})
		v.Forget("other")
		require.Error(t, verify())
		v.Forget("k")
		require.NoError(t, verify(), "or until it is forgotten")

		s.set(key, auth.APIKeyRecord{ID: "k", ExpiresAt: time.Now().Add(time.Second)})
		v.Forget("k")
		require.NoError(t, verify())
		calls := s.calls.Load()
		time.Sleep(time.Second)
		requireFault(t, verify(), fault.KindUnauthenticated, auth.CodeExpiredCredentials)
		require.Equal(t, calls, s.calls.Load(), "an expiry needs no lookup")
	})
}

func TestForgetDuringALookup(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var s store
		key, _, _ := auth.NewAPIKey()
		s.set(key, auth.APIKeyRecord{ID: "k"})
		v := auth.NewAPIKeyVerifier(&s, auth.CacheConfig{})

		first := make(chan error)
		go func() { _, err := v.Verify(t.Context(), key); first <- err }()
		synctest.Wait() // the lookup has read the old record
		s.set(key, auth.APIKeyRecord{ID: "k", RevokedAt: time.Now()})
		v.Forget("k")

		_, err := v.Verify(t.Context(), key)
		require.Error(t, err, "does not join the lookup from before")
		require.NoError(t, <-first)
		_, err = v.Verify(t.Context(), key)
		require.Error(t, err, "what that lookup found is not remembered")
	})
}

func TestConcurrentRequestsShareALookup(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var s store
		key, _, _ := auth.NewAPIKey()
		s.set(key, auth.APIKeyRecord{ID: "k"})
		v := auth.NewAPIKeyVerifier(&s, auth.CacheConfig{})
		impatient, cancel := context.WithCancel(t.Context())
		var requests sync.WaitGroup
		requests.Go(func() { _, _ = v.Verify(impatient, key) })
		synctest.Wait()
		for range 50 {
			requests.Go(func() {
				_, err := v.Verify(t.Context(), key)
				require.NoError(t, err, "the first request's end is not everybody's")
			})
		}
		synctest.Wait()
		cancel()
		requests.Wait()
		require.EqualValues(t, 1, s.calls.Load())
	})
}

func TestStoreIsDown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var s store
		key, _, _ := auth.NewAPIKey()
		s.set(key, auth.APIKeyRecord{ID: "k"})
		v := auth.NewAPIKeyVerifier(&s, auth.CacheConfig{})
		own := fault.Unavailable(errors.New("refused"), time.Minute, "The database is away.")
		for _, down := range []error{errors.New("connection refused"), own, context.DeadlineExceeded} {
			s.fail(down)
			_, err := v.Verify(t.Context(), key)
			requireFault(t, err, fault.KindUnavailable, fault.CodeUnavailable)
			require.ErrorIs(t, err, down)
			require.Positive(t, fault.From(err).RetryAfter)
		}
		s.fail(nil)
		_, err := v.Verify(t.Context(), key)
		require.NoError(t, err, "an outage is not remembered")
	})
}

func TestCacheIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var s store
		v := auth.NewAPIKeyVerifier(&s, auth.CacheConfig{Size: 4})
		keys := make([]string, 100)
		for i := range keys {
			keys[i], _, _ = auth.NewAPIKey()
			s.set(keys[i], auth.APIKeyRecord{ID: "k"})
			_, err := v.Verify(t.Context(), keys[i])
			require.NoError(t, err)
		}
		for range 10 { // guesses have a memory of their own
			guess, _, _ := auth.NewAPIKey()
			_, err := v.Verify(t.Context(), guess)
			require.Error(t, err)
		}
		calls := s.calls.Load()
		for _, key := range keys[98:] {
			_, err := v.Verify(t.Context(), key)
			require.NoError(t, err)
		}
		require.Equal(t, calls, s.calls.Load(), "the latest are remembered")
		_, err := v.Verify(t.Context(), keys[0])
		require.NoError(t, err)
		require.Equal(t, calls+1, s.calls.Load(), "the oldest are not")
	})
}

func TestAPIKeysUnderLoad(t *testing.T) {
	t.Parallel()
	var s store
	keys := make([]string, 20)
	for i := range keys {
		keys[i], _, _ = auth.NewAPIKey()
		s.set(keys[i], auth.APIKeyRecord{ID: keys[i]})
	}
	v := auth.NewAPIKeyVerifier(&s, auth.CacheConfig{Size: 10, TTL: time.Millisecond})
	var workers sync.WaitGroup
	for w := range 8 {
		workers.Go(func() {
			for i := range 200 {
				key := keys[(w+i)%len(keys)]
				p, err := v.Verify(t.Context(), key)
				require.NoError(t, err)
				require.Equal(t, key, p.CredentialID, "never another key's record")
				if i%10 == 0 {
					v.Forget(key)
				}
			}
		})
	}
	workers.Wait()
}

// The defaults in the tags, which end up in documentation, are the defaults in the code.
func TestDocumentedDefaults(t *testing.T) {
	t.Parallel()
	defaults := map[string]string{}
	var cfg struct {
		JWT   auth.JWTConfig   `envPrefix:"JWT_"`
		Cache auth.CacheConfig `envPrefix:"CACHE_"`
	}
	for _, v := range config.Describe(&cfg) {
		defaults[v.Name] = v.Default
		require.NotEmpty(t, v.Doc)
	}
	require.Equal(t, map[string]string{
		"BEACONPOST_JWT_JWKS": "", "BEACONPOST_JWT_ISSUER": "", "BEACONPOST_JWT_AUDIENCE": "", "BEACONPOST_JWT_TENANT_CLAIM": "tenant_id",
		"BEACONPOST_JWT_SCOPES_CLAIM": "scope", "BEACONPOST_JWT_ALGORITHMS": "RS256,ES256,EdDSA", "BEACONPOST_JWT_LEEWAY": "30s",
		"BEACONPOST_JWT_REFRESH_INTERVAL": "5m", "BEACONPOST_CACHE_TTL": "60s", "BEACONPOST_CACHE_OFFLINE_TTL": "5s", "BEACONPOST_CACHE_NEGATIVE_TTL": "1s", "BEACONPOST_CACHE_SIZE": "100000",
	}, defaults)
}

func BenchmarkAPIKey(b *testing.B) {
	var s store
	key, _, _ := auth.NewAPIKey()
	s.set(key, auth.APIKeyRecord{ID: "k"})
	v := auth.NewAPIKeyVerifier(&s, auth.CacheConfig{})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := v.Verify(b.Context(), key); err != nil {
				b.Error(err)
			}
		}
	})
}
