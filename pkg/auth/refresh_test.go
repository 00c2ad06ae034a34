package auth_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/auth"
	"github.com/beaconpost/beaconpost/pkg/fault"
)

// The real thing once: a server, a rotation, many requests with the new key at the same time.
func TestRotationOverHTTP(t *testing.T) {
	t.Parallel()
	before, after := newEd(t, "2025"), newEd(t, "2026")
	var text atomic.Pointer[string]
	publish := func(s string) { text.Store(&s) }
	publish(jwksOf(t, before))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(*text.Load()))
	}))
	t.Cleanup(server.Close)
	v := verifier(t, auth.JWTConfig{JWKS: server.URL + "/jwks", MinRefreshInterval: time.Nanosecond})
	oldToken, newToken := before.sign(t, goodClaims()), after.sign(t, goodClaims())

	_, err := v.Verify(t.Context(), oldToken)
	require.NoError(t, err)
	_, err = v.Verify(t.Context(), newToken)
	requireFault(t, err, fault.KindUnauthenticated, auth.CodeInvalidCredentials)

	publish(jwksOf(t, after))
	var requests sync.WaitGroup
	for range 20 {
		requests.Go(func() {
			_, err := v.Verify(t.Context(), newToken)
			require.NoError(t, err)
		})
	}
	requests.Wait()
	_, err = v.Verify(t.Context(), oldToken)
	requireFault(t, err, fault.KindUnauthenticated, auth.CodeInvalidCredentials)
}

func TestBadAnswersKeepTheOldKeys(t *testing.T) {
	t.Parallel()
	s := newEd(t, "ed")
	answers := map[string]http.HandlerFunc{
		"500":            func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		"redirect":       func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) },
		"not JSON":       func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) },
		"no keys":        func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"keys":[]}`)) },
		"endless":        func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(strings.Repeat(" ", 2<<20))) },
		"cut connection": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	}
	for name, answer := range answers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var calls atomic.Int32
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if calls.Add(1) == 1 {
					_, _ = w.Write([]byte(jwksOf(t, s)))
					return
				}
				answer(w, r)
			}))
			t.Cleanup(server.Close)
			var failures atomic.Int32
			v := verifier(t, auth.JWTConfig{JWKS: server.URL + "/hunter2?key=hunter2", MinRefreshInterval: time.Nanosecond, OnRefresh: func(err error) {
				if err != nil {
					failures.Add(1)
					require.NotContains(t, err.Error(), "hunter2", "which is logged")
				}
			}})
			_, err := v.Verify(t.Context(), newEd(t, "unknown").sign(t, goodClaims()))
			requireFault(t, err, fault.KindUnauthenticated, auth.CodeInvalidCredentials)
			require.EqualValues(t, 1, failures.Load())
			_, err = v.Verify(t.Context(), s.sign(t, goodClaims()))
			require.NoError(t, err)
		})
	}
}

func TestUnreachableAtStart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newEd(t, "ed")
		var p provider
		v := verifier(t, p.config())
		defer v.Close()
		require.Error(t, v.Ready(t.Context()))
		_, err := v.Verify(t.Context(), s.sign(t, goodClaims()))
		requireFault(t, err, fault.KindUnavailable, fault.CodeUnavailable)
		require.Positive(t, fault.From(err).RetryAfter)

		p.publish(jwksOf(t, s))
		time.Sleep(3 * time.Second)
		require.NoError(t, v.Ready(t.Context()), "tried again soon, without being asked")
		_, err = v.Verify(t.Context(), s.sign(t, goodClaims()))
		require.NoError(t, err)
	})
}

func TestUnknownKeysCauseFewFetches(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newEd(t, "ed")
		unknown := newEd(t, "unknown").sign(t, with("exp", time.Now().Unix()+3600))
		var p provider
		p.publish(jwksOf(t, s))
		v := verifier(t, p.config())
		defer v.Close()

		for range 300 { // a minute
			_, err := v.Verify(t.Context(), unknown)
			requireFault(t, err, fault.KindUnauthenticated, auth.CodeInvalidCredentials)
			time.Sleep(200 * time.Millisecond)
		}
		require.EqualValues(t, 6, p.calls.Load(), "one in ten seconds")
	})
}

func TestKeysAreRefreshedInTheBackground(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		before, after := newEd(t, "2025"), newEd(t, "2026")
		var p provider
		p.publish(jwksOf(t, before, after))
		v := verifier(t, p.config())
		defer v.Close()
		token := before.sign(t, with("exp", time.Now().Unix()+36000))
		_, err := v.Verify(t.Context(), token)
		require.NoError(t, err)

		p.publish(jwksOf(t, after))
		time.Sleep(6 * time.Minute)
		_, err = v.Verify(t.Context(), token)
		requireFault(t, err, fault.KindUnauthenticated, auth.CodeInvalidCredentials)

		p.text.Store(nil)
		time.Sleep(time.Hour)
		_, err = v.Verify(t.Context(), after.sign(t, goodClaims()))
		require.NoError(t, err, "an outage of the provider keeps the keys")
	})
}

func TestRememberedTokensExpire(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newEd(t, "ed")
		var p provider
		p.publish(jwksOf(t, s))
		v := verifier(t, p.config())
		defer v.Close()
		token := s.sign(t, with("exp", time.Now().Unix()+10))
		for range 4 {
			_, err := v.Verify(t.Context(), token)
			require.NoError(t, err)
			time.Sleep(10 * time.Second)
		}
		_, err := v.Verify(t.Context(), token)
		requireFault(t, err, fault.KindUnauthenticated, auth.CodeExpiredCredentials)
	})
}

func TestFileIsReadAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		before, after := newEd(t, "2025"), newEd(t, "2026")
		path := jwksFile(t, jwksOf(t, before))
		failures := make(chan error, 10)
		v := verifier(t, auth.JWTConfig{JWKS: path, OnRefresh: func(err error) {
			if err != nil {
				failures <- err
			}
		}})
		defer v.Close()
		token := after.sign(t, goodClaims())

		replace(t, path, jwksOf(t, after))
		_, err := v.Verify(t.Context(), token)
		requireFault(t, err, fault.KindUnauthenticated, auth.CodeInvalidCredentials)
		time.Sleep(time.Second)
		_, err = v.Verify(t.Context(), token)
		require.NoError(t, err, "an unknown key is looked for after a second")

		replace(t, path, jwksOf(t, before, after))
		time.Sleep(4 * time.Second)
		_, err = v.Verify(t.Context(), before.sign(t, goodClaims()))
		require.NoError(t, err)

		require.Empty(t, failures)
		replace(t, path, "half a fi")
		time.Sleep(4 * time.Second)
		require.ErrorContains(t, <-failures, "parse jwks")
		_, err = v.Verify(t.Context(), after.sign(t, goodClaims()))
		require.NoError(t, err)
	})
}

// replace gives path another content at once, as Kubernetes does, with another time even if the clock is coarse.
func replace(t *testing.T, path, text string) {
	t.Helper()
	info, err := os.Stat(path)
	require.NoError(t, err)
	tmp := filepath.Join(t.TempDir(), "new")
	require.NoError(t, os.WriteFile(tmp, []byte(text), 0o600))
	later := info.ModTime().Add(time.Second)
	require.NoError(t, os.Chtimes(tmp, later, later))
	require.NoError(t, os.Rename(tmp, path))
}

func TestWaitingEndsWithTheRequest(t *testing.T) {
	t.Parallel()
	s := newEd(t, "ed")
	var calls atomic.Int32
	hang := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if calls.Add(1) > 1 {
			<-hang
		}
		_, _ = w.Write([]byte(jwksOf(t, s)))
	}))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(hang) })
	v := verifier(t, auth.JWTConfig{JWKS: server.URL, MinRefreshInterval: time.Nanosecond})

	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := v.Verify(ctx, newEd(t, "unknown").sign(t, goodClaims()))
	requireFault(t, err, fault.KindUnauthenticated, auth.CodeInvalidCredentials)
	_, err = v.Verify(t.Context(), s.sign(t, goodClaims()))
	require.NoError(t, err, "known keys do not wait")

	v.Close()
	_, err = v.Verify(t.Context(), newEd(t, "unknown").sign(t, goodClaims()))
	requireFault(t, err, fault.KindUnauthenticated, auth.CodeInvalidCredentials)
}
