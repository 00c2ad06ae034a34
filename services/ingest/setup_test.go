package ingest_test

import (
	"context"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/pkg/service/servicetest"
	"github.com/beaconpost/beaconpost/pkg/tenant"
	"github.com/beaconpost/beaconpost/services/ingest"
)

type bundle struct {
	*servicetest.Bench
	t        *testing.T
	url      string
	service  *ingest.Service
	operator servicetest.Client
}

// setup runs the whole service on a database and broker of its own.
func setup(t *testing.T, extra ...string) *bundle {
	t.Helper()
	b := &bundle{Bench: servicetest.New(t), t: t}
	b.start(extra...)
	return b
}

func (b *bundle) start(extra ...string) {
	b.t.Helper()
	var cfg ingest.Config
	b.Load(&cfg, extra...)
	cfg.LogWriter, cfg.Version = b.t.Output(), "test"
	var err error
	b.service, err = ingest.New(b.t.Context(), cfg)
	require.NoError(b.t, err)
	server := httptest.NewServer(b.service.Handler())
	b.url = server.URL
	b.t.Cleanup(func() {
		server.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		require.NoError(b.t, b.service.Stop(ctx))
	})
	b.operator = b.client(b.Operator())
}

func (b *bundle) client(token string) servicetest.Client {
	return servicetest.Client{T: b.t, URL: b.url, Token: token}
}

type tenantView struct {
	ID     string `json:"id"`
	Name   string `json:"name"`
	APIKey string `json:"api_key"`
}

// tenant makes a tenant and a client with its first API key.
func (b *bundle) tenant(name string) (tenant.ID, servicetest.Client) {
	b.t.Helper()
	var created tenantView
	b.operator.Do("POST", "/v1/tenants", map[string]string{"name": name}).Want(201, &created)
	id, err := tenant.Parse(created.ID)
	require.NoError(b.t, err)
	return id, b.client(created.APIKey)
}

type endpointView struct {
	ID         string   `json:"id"`
	URL        string   `json:"url"`
	Status     string   `json:"status"`
	Secret     string   `json:"secret"`
	EventTypes []string `json:"event_types"`
	Timeout    string   `json:"timeout"`
	Retry      *struct {
		Schedule    []string `json:"schedule"`
		MaxAttempts int      `json:"max_attempts"`
		Preset      string   `json:"preset"`
		Base        string   `json:"base"`
		MaxAge      string   `json:"max_age"`
	} `json:"retry"`
}

func (b *bundle) endpoint(c servicetest.Client, body map[string]any) endpointView {
	b.t.Helper()
	if body["url"] == nil {
		body["url"] = "https://example.com/webhooks"
	}
	var created endpointView
	c.Do("POST", "/v1/endpoints", body).Want(201, &created)
	return created
}

func (b *bundle) event(c servicetest.Client, body any, headers ...string) string {
	b.t.Helper()
	var accepted struct{ ID, Status string }
	c.Do("POST", "/v1/events", body, headers...).Want(202, &accepted)
	require.Equal(b.t, "queued", accepted.Status)
	return accepted.ID
}

// sharedTempDir is a t.TempDir that the account that Postgres runs as can enter.
func sharedTempDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.Chmod(filepath.Dir(dir), 0o755))
	return dir
}
