package up

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"github.com/beaconpost/beaconpost/pkg/auth"
	"github.com/beaconpost/beaconpost/services/beaconpost/internal/demo"
)

// ensureDemo gives the demo tenant's credentials: those of the last start if they still work, else those of a new tenant, made through
// the API like any other. The API answers already; it is only not announced as ready.
func (s *system) ensureDemo(ctx context.Context) (demo.File, error) {
	s.handler.set(s.routes(func(context.Context) error { return errors.New("starting") }))
	if err := s.awaitReady(ctx); err != nil {
		return demo.File{}, err
	}
	url := "http://" + dialable(s.public.Addr())
	file, err := demo.Read(s.dir)
	if err == nil {
		file.URL, file.Admin = url, s.adminAddrs
		client := demo.Client{URL: url, APIKey: file.APIKey}
		if client.Do(ctx, http.MethodGet, "/v1/endpoints?limit=1", nil, nil) == nil {
			return file, nil
		}
	}
	token, err := s.operatorToken()
	if err != nil {
		return demo.File{}, err
	}
	var created struct {
		ID     string `json:"id"`
		APIKey string `json:"api_key"`
	}
	client := demo.Client{URL: url, APIKey: token}
	if err := client.Do(ctx, http.MethodPost, "/v1/tenants", map[string]string{"name": "demo"}, &created); err != nil {
		return demo.File{}, err
	}
	return demo.File{URL: url, TenantID: created.ID, APIKey: created.APIKey, Admin: s.adminAddrs}, nil
}

// awaitReady waits until every service is ready, for example until partitions for today were made after a long stop.
func (s *system) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := s.ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the services: %w", err)
		case <-tick.C:
		}
	}
}

// operatorToken is signed by the local key, which the services accept unless they were told to trust another issuer.
func (s *system) operatorToken() (string, error) {
	if variable(s.environ, "BEACONPOST_AUTH_JWKS") != "" {
		return "", errors.New("BEACONPOST_AUTH_JWKS is set, so the local key is not trusted; unset it for the first start, which makes the demo tenant")
	}
	key, err := auth.LoadOrCreateLocalKey(filepath.Join(s.dir, LocalKeyFile))
	if err != nil {
		return "", err
	}
	return auth.Mint(key, auth.Claims{
		Scopes: auth.Scopes{auth.ScopeOperator}, Subject: "beaconpost up", TTL: time.Minute, Issuer: LocalIssuer, Audience: LocalAudience,
	})
}

// dialable turns "listen on everything" into an address that can be dialled.
func dialable(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}
