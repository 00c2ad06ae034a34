// Package servicetest gives tests of a whole service what it runs on: a database of its own, an embedded broker, keys, tokens, and a
// small HTTP client that speaks to the API as a user does.
package servicetest

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/auth"
	"github.com/beaconpost/beaconpost/pkg/config"
	"github.com/beaconpost/beaconpost/pkg/postgres/pgtest"
	"github.com/beaconpost/beaconpost/pkg/secretbox"
	"github.com/beaconpost/beaconpost/pkg/stream/natsembed"
	"github.com/beaconpost/beaconpost/pkg/stream/streamtest"
	"github.com/beaconpost/beaconpost/pkg/tenant"
)

const (
	issuer   = "servicetest"
	audience = "beaconpost"
)

// Bench is what one test's services share.
type Bench struct {
	Database *pgtest.Database
	NATS     *natsembed.Server
	Environ  []string // of the services

	t    testing.TB
	key  *auth.LocalKey
	mu   sync.Mutex
	conn *pgx.Conn // of the owner; nil until it is needed
}

// New prepares a bench. Everything ends with the test.
func New(t testing.TB) *Bench {
	t.Helper()
	b := &Bench{Database: pgtest.New(t), NATS: streamtest.New(t), t: t}
	path := filepath.Join(t.TempDir(), "local.jwk")
	var err error
	b.key, err = auth.LoadOrCreateLocalKey(path)
	require.NoError(t, err)
	keys, err := secretbox.GenerateKey("test")
	require.NoError(t, err)
	b.Environ = []string{
		"BEACONPOST_DATABASE_URL=" + b.Database.AppURL,
		"BEACONPOST_NATS_URL=" + b.NATS.URL(),
		"BEACONPOST_SECRETS_KEYS=" + keys,
		"BEACONPOST_AUTH_JWKS=" + auth.PublicPath(path),
		"BEACONPOST_AUTH_ISSUER=" + issuer,
		"BEACONPOST_AUTH_AUDIENCE=" + audience,
		"BEACONPOST_NETWORK_ALLOW_LOOPBACK=true",
		"BEACONPOST_LOG_LEVEL=error",
	}
	return b
}

// Load reads a service's configuration from the bench's environment and extra variables, which win.
func (b *Bench) Load(into any, extra ...string) {
	b.t.Helper()
	require.NoError(b.t, config.Load(append(b.Environ, extra...), into, []string{"BEACONPOST_*"}))
}

// Exec changes the database directly, past row-level security.
func (b *Bench) Exec(sql string, args ...any) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	_, err := b.connect().Exec(context.Background(), sql, args...)
	require.NoError(b.t, err)
}

// Rows asks the database directly, past row-level security, for rows of one text each.
func (b *Bench) Rows(sql string, args ...any) []string {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	rows, err := b.connect().Query(context.Background(), sql, args...)
	require.NoError(b.t, err)
	values, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(b.t, err)
	return values
}

// Query is Rows, a line each.
func (b *Bench) Query(sql string, args ...any) string {
	b.t.Helper()
	return strings.Join(b.Rows(sql, args...), "\n")
}

// connect gives the connection of Exec and Rows, a new one if Postgres ended the last. Its caller holds the lock.
func (b *Bench) connect() *pgx.Conn {
	b.t.Helper()
	if b.conn == nil || b.conn.IsClosed() {
		conn, err := pgx.Connect(context.Background(), b.Database.URL("postgres"))
		require.NoError(b.t, err)
		b.t.Cleanup(func() { _ = conn.Close(context.Background()) })
		b.conn = conn
	}
	return b.conn
}

// Operator gives a token with the operator's scope.
func (b *Bench) Operator() string { return b.mint(tenant.Nil, auth.Scopes{auth.ScopeOperator}) }

// Token gives a token of a tenant; without scopes it has all.
func (b *Bench) Token(t tenant.ID, scopes ...auth.Scope) string {
	if len(scopes) == 0 {
		scopes = auth.AllTenantScopes()
	}
	return b.mint(t, scopes)
}

func (b *Bench) mint(t tenant.ID, scopes auth.Scopes) string {
	b.t.Helper()
	token, err := auth.Mint(b.key, auth.Claims{Tenant: t, Scopes: scopes, Subject: "test", TTL: time.Hour, Issuer: issuer, Audience: audience})
	require.NoError(b.t, err)
	return token
}

// Client speaks to an API.
type Client struct {
	T     testing.TB
	URL   string
	Token string // "": no credential
}

// Answer is an HTTP answer, read to its end.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
	t      testing.TB
}

// Do sends a request. body is sent as it is if it is a string or []byte, else as JSON; nil sends none. headers are pairs.
func (c Client) Do(method, path string, body any, headers ...string) Answer {
	c.T.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, c.URL+path, reader(c.T, body))
	require.NoError(c.T, err)
	if c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.Token)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(c.T, err)
	defer func() { require.NoError(c.T, resp.Body.Close()) }()
	answer, err := io.ReadAll(resp.Body)
	require.NoError(c.T, err)
	return Answer{resp.StatusCode, resp.Header, answer, c.T}
}

func reader(t testing.TB, body any) io.Reader {
	t.Helper()
	switch b := body.(type) {
	case nil:
		return nil
	case string:
		return bytes.NewReader([]byte(b))
	case []byte:
		return bytes.NewReader(b)
	}
	raw, err := json.Marshal(body)
	require.NoError(t, err)
	return bytes.NewReader(raw)
}

// Problem is the part of an error's body that tests look at.
type Problem struct {
	Status int    `json:"status"`
	Code   string `json:"code"`
	Field  string `json:"field"`
	Detail string `json:"detail"`
}

// Want fails the test unless the status is this one, and reads the JSON body into into unless that is nil.
func (a Answer) Want(status int, into any) Answer {
	a.t.Helper()
	require.Equalf(a.t, status, a.Status, "body: %s", a.Body)
	if into != nil {
		require.NoErrorf(a.t, json.Unmarshal(a.Body, into), "body: %s", a.Body)
	}
	return a
}

// WantProblem fails the test unless the answer is problem+json with this status, code and field.
func (a Answer) WantProblem(status int, code, field string) Problem {
	a.t.Helper()
	var p Problem
	a.Want(status, &p)
	require.Equal(a.t, "application/problem+json", a.Header.Get("Content-Type"))
	require.Equalf(a.t, code, p.Code, "body: %s", a.Body)
	require.Equalf(a.t, field, p.Field, "body: %s", a.Body)
	require.Equal(a.t, status, p.Status)
	require.NotEmpty(a.t, p.Detail)
	return p
}
