package beaconpost

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/beaconpost/beaconpost/pkg/auth"
	"github.com/beaconpost/beaconpost/pkg/config"
	"github.com/beaconpost/beaconpost/pkg/secretbox"
	"github.com/beaconpost/beaconpost/pkg/tenant"
	"github.com/beaconpost/beaconpost/services/beaconpost/internal/demo"
	"github.com/beaconpost/beaconpost/services/beaconpost/internal/up"
	"github.com/beaconpost/beaconpost/services/ingest"
	"github.com/beaconpost/beaconpost/services/monitor"
)

func tokenCommand() *cli.Command {
	return &cli.Command{
		Name: "token", Usage: "mint a JWT with the local key of a data directory",
		Description: "For development: `beaconpost up` accepts tokens of its own key. In production tokens come from your identity provider (BEACONPOST_AUTH_JWKS).",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "data-dir", Usage: "data directory of beaconpost up", Value: demo.DefaultDataDir()},
			&cli.StringFlag{Name: "tenant", Usage: "tenant's id; the demo tenant's unless given"},
			&cli.BoolFlag{Name: "operator", Usage: "a token for the operator's routes (tenants) instead of a tenant's"},
			&cli.StringSliceFlag{Name: "scope", Usage: "scope of the token, repeatable; all of the tenant's unless given"},
			&cli.StringFlag{Name: "subject", Usage: "whom the token is for", Value: "local"},
			&cli.DurationFlag{Name: "ttl", Usage: "how long the token is valid", Value: time.Hour},
		},
		Action: mint,
	}
}

func mint(_ context.Context, cmd *cli.Command) error {
	dir := cmd.String("data-dir")
	if cmd.Duration("ttl") <= 0 {
		return fmt.Errorf("--ttl: expected a time above 0, got %s", cmd.Duration("ttl"))
	}
	claims := auth.Claims{Subject: cmd.String("subject"), TTL: cmd.Duration("ttl"), Issuer: up.LocalIssuer, Audience: up.LocalAudience}
	var err error
	if cmd.Bool("operator") {
		if cmd.IsSet("tenant") || cmd.IsSet("scope") {
			return errors.New("--operator excludes --tenant and --scope")
		}
		claims.Scopes = auth.Scopes{auth.ScopeOperator}
	} else {
		if claims.Tenant, err = tenantOf(dir, cmd.String("tenant")); err != nil {
			return err
		}
		claims.Scopes = auth.AllTenantScopes()
		if words := cmd.StringSlice("scope"); len(words) > 0 {
			if claims.Scopes, err = auth.ParseScopes(words); err != nil {
				return fmt.Errorf("--scope: %w", err)
			}
			if claims.Scopes.Has(auth.ScopeOperator) {
				return errors.New("--scope: the operator's scope is not a tenant's; use --operator")
			}
		}
	}
	key, err := auth.LoadOrCreateLocalKey(filepath.Join(dir, up.LocalKeyFile))
	if err != nil {
		return err
	}
	token, err := auth.Mint(key, claims)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(cmd.Root().Writer, token)
	return err
}

func tenantOf(dir, text string) (tenant.ID, error) {
	if text == "" {
		file, err := demo.Read(dir)
		if err != nil {
			return tenant.Nil, fmt.Errorf("find demo tenant (or give --tenant): %w", err)
		}
		text = file.TenantID
	}
	id, err := tenant.Parse(text)
	if err != nil {
		return tenant.Nil, fmt.Errorf("--tenant: %w", err)
	}
	return id, nil
}

func keygenCommand() *cli.Command {
	return &cli.Command{
		Name: "keygen", Usage: "print a new key for BEACONPOST_SECRETS_KEYS",
		Flags: []cli.Flag{&cli.StringFlag{Name: "id", Usage: "name of the key, stored beside what it seals", Value: "k1"}},
		Action: func(_ context.Context, cmd *cli.Command) error {
			key, err := secretbox.GenerateKey(cmd.String("id"))
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.Root().Writer, key)
			return err
		},
	}
}

func secretsCommand() *cli.Command {
	return &cli.Command{
		Name: "secrets", Usage: "look after sealed secrets",
		Commands: []*cli.Command{{
			Name: "reseal", Usage: "seal every secret of endpoints and monitors with the first key of BEACONPOST_SECRETS_KEYS",
			Description: "After a new key was put in front: seals what older keys sealed, so that they can be taken out. Services may run meanwhile.",
			Flags: []cli.Flag{
				&cli.StringFlag{Name: "database-url", Sources: cli.EnvVars("BEACONPOST_DATABASE_URL"), Required: true},
				&cli.StringFlag{Name: "keys", Sources: cli.EnvVars("BEACONPOST_SECRETS_KEYS"), Required: true},
			},
			Action: func(ctx context.Context, cmd *cli.Command) error {
				database, keys := config.Secret(cmd.String("database-url")), config.Secret(cmd.String("keys"))
				n, err := ingest.Reseal(ctx, database, keys)
				if err != nil {
					return err
				}
				of, err := monitor.Reseal(ctx, database, keys)
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(cmd.Root().Writer, "sealed %d secrets again\n", n+of)
				return err
			},
		}},
	}
}
