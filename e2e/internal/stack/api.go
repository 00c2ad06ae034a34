package stack

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/beaconpost/beaconpost/pkg/auth"
	"github.com/beaconpost/beaconpost/pkg/tenant"
)

// Build compiles the programs into dir. root is the repository.
func Build(ctx context.Context, root, dir string) (Binaries, error) {
	bin := Binaries{dir + "/beaconpost", dir + "/nats-server"}
	if err := Command(ctx, root+"/services/beaconpost", "go", "build", "-o", bin.Beaconpost, "./cmd/beaconpost"); err != nil {
		return bin, err
	}
	return bin, Command(ctx, root+"/e2e", "go", "build", "-o", bin.NATSServer, "github.com/nats-io/nats-server/v2")
}

// BuildRevision compiles the program as it was at a commit or tag into dir. root is the repository, with its history.
func BuildRevision(ctx context.Context, root, revision, dir string) (program string, err error) {
	source := filepath.Join(dir, "source")
	if program, err = filepath.Abs(filepath.Join(dir, "beaconpost")); err != nil {
		return "", err
	}
	archive, err := filepath.Abs(filepath.Join(dir, "source.tar")) // git runs elsewhere
	if err != nil {
		return "", err
	}
	for _, step := range [][]string{
		{root, "git", "archive", "--output", archive, revision},
		{".", "mkdir", "-p", source},
		{".", "tar", "-xf", archive, "-C", source},
		{filepath.Join(source, "services", "beaconpost"), "go", "build", "-o", program, "./cmd/beaconpost"},
	} {
		if err := Command(ctx, step[0], step[1], step[2:]...); err != nil {
			return "", fmt.Errorf("build %s: %w", revision, err)
		}
	}
	return program, nil
}

// OperatorToken mints a credential that may create tenants.
func (s *Stack) OperatorToken() (string, error) {
	return s.mint(auth.Claims{Scopes: auth.Scopes{auth.ScopeOperator}})
}

// TenantToken mints a credential of a tenant, with every scope.
func (s *Stack) TenantToken(id uuid.UUID) (string, error) {
	return s.mint(auth.Claims{Tenant: tenant.ID(id), Scopes: auth.AllTenantScopes()})
}

func (s *Stack) mint(claims auth.Claims) (string, error) {
	key, err := auth.LoadOrCreateLocalKey(s.keyFile)
	if err != nil {
		return "", err
	}
	claims.Subject, claims.TTL, claims.Issuer, claims.Audience = issuer, 4*time.Hour, issuer, "beaconpost"
	return auth.Mint(key, claims)
}

// FirstTenant makes the tenant that Tenant and APIKey are of.
func (s *Stack) FirstTenant(ctx context.Context) error {
	token, err := s.OperatorToken()
	if err != nil {
		return err
	}
	s.Tenant, s.APIKey, err = s.CreateTenant(ctx, token, "acme")
	return err
}

// CreateTenant makes a tenant and gives its id and its first API key.
func (s *Stack) CreateTenant(ctx context.Context, token, name string) (id, apiKey string, err error) {
	var created struct {
		ID     string `json:"id"`
		APIKey string `json:"api_key"`
	}
	err = s.Call(ctx, token, http.MethodPost, "/v1/tenants", map[string]string{"name": name}, &created)
	return created.ID, created.APIKey, err
}

// Call sends a request that must succeed.
func (s *Stack) Call(ctx context.Context, token, method, path string, body, into any) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return err
	}
	status, answer, err := s.Post(ctx, token, method, path, raw, "")
	if err != nil {
		return err
	}
	if status/100 != 2 {
		return fmt.Errorf("%s %s: %d %s", method, path, status, answer)
	}
	return json.Unmarshal(answer, into)
}

// base is where a path is served, as an Ingress would have it.
func (s *Stack) base(path string) string {
	for _, prefix := range []string{"/v1/monitors", "/v1/incidents", "/v1/maintenance-windows", "/v1/alert-", "/v1/heartbeats"} {
		if strings.HasPrefix(path, prefix) {
			return s.MonitorURL
		}
	}
	return s.APIURL
}

// Post sends a request and gives what was answered. key is its Idempotency-Key, "" for none.
func (s *Stack) Post(ctx context.Context, token, method, path string, body []byte, key string) (status int, answer []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, method, s.base(path)+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(resp.Body)
	return resp.StatusCode, answer, err
}
