package auth

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// JWTConfig says which tokens are accepted. JWKS, Issuer and Audience are required; other zero fields take the default.
type JWTConfig struct {
	JWKS            string        `env:"JWKS" doc:"Public keys that sign JWTs: an http(s) URL or the path of a file."`
	Issuer          string        `env:"ISSUER" doc:"The only accepted iss claim."`
	Audience        string        `env:"AUDIENCE" doc:"Must be among the aud claims."`
	TenantClaim     string        `env:"TENANT_CLAIM" envDefault:"tenant_id" doc:"Claim with the tenant's id."`
	ScopesClaim     string        `env:"SCOPES_CLAIM" envDefault:"scope" doc:"Claim with the scopes: an array, or words separated by spaces."`
	Algorithms      []string      `env:"ALGORITHMS" envDefault:"RS256,ES256,EdDSA" doc:"Accepted signature algorithms; none and HMAC are never accepted."`
	Leeway          time.Duration `env:"LEEWAY" envDefault:"30s" doc:"Tolerated difference between clocks."`
	RefreshInterval time.Duration `env:"REFRESH_INTERVAL" envDefault:"5m" doc:"How often keys are fetched from a URL. A file is looked at every 3s."`

	// MinRefreshInterval is the least time between two fetches that tokens with unknown keys can cause. Default 10 s, for
	// a file 1 s.
	MinRefreshInterval time.Duration
	// Client fetches from a URL. The default has a timeout of 5 s and follows no redirects.
	Client *http.Client
	// OnRefresh hears the result of every look at the keys, for logs and metrics. It may be nil, and must not block.
	OnRefresh func(error)
}

func (c JWTConfig) withDefaults() JWTConfig {
	c.TenantClaim = orDefault(c.TenantClaim, "tenant_id")
	c.ScopesClaim = orDefault(c.ScopesClaim, "scope")
	c.Leeway = orDefault(c.Leeway, 30*time.Second)
	c.RefreshInterval = orDefault(c.RefreshInterval, 5*time.Minute)
	if len(c.Algorithms) == 0 {
		c.Algorithms = []string{"RS256", "ES256", "EdDSA"}
	}
	if c.Client == nil {
		c.Client = &http.Client{
			Timeout:       loadTimeout,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	if c.OnRefresh == nil {
		c.OnRefresh = func(error) {}
	}
	return c
}

// validate names every problem, in terms of the fields.
func (c JWTConfig) validate() error {
	var problems []error
	if c.JWKS == "" || c.Issuer == "" || c.Audience == "" {
		problems = append(problems, errors.New("JWKS, Issuer and Audience are required"))
	}
	if c.Leeway < 0 || c.RefreshInterval < 0 || c.MinRefreshInterval < 0 {
		problems = append(problems, errors.New("durations must not be negative"))
	}
	for _, alg := range c.Algorithms {
		if !slices.Contains(asymmetric(), alg) {
			problems = append(problems, fmt.Errorf("algorithm %q is not one of %v", alg, asymmetric()))
		}
	}
	return errors.Join(problems...)
}

func orDefault[T comparable](value, otherwise T) T {
	var zero T
	if value == zero {
		return otherwise
	}
	return value
}
