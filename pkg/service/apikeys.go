package service

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/beaconpost/beaconpost/pkg/auth"
	"github.com/beaconpost/beaconpost/pkg/fault"
	"github.com/beaconpost/beaconpost/pkg/postgres"
	"github.com/beaconpost/beaconpost/pkg/tenant"
)

var _ auth.APIKeyLookup = (*apiKeys)(nil)

// apiKeys finds keys by their hash across tenants: whose key it is is what is asked. The role may read nothing else of them.
type apiKeys struct {
	db   *postgres.DB
	role postgres.Role
}

const selectKey = `SELECT tenant_id, id, scopes, expires_at, revoked_at FROM api_keys WHERE key_hash = $1`

// LookupAPIKey implements auth.APIKeyLookup.
func (k *apiKeys) LookupAPIKey(ctx context.Context, hash []byte) (auth.APIKeyRecord, error) {
	var record auth.APIKeyRecord
	err := k.db.As(ctx, k.role, func(ctx context.Context, q postgres.Querier) error {
		var t, id uuid.UUID
		var scopes []string
		var expires, revoked *time.Time
		err := q.QueryRow(ctx, selectKey, hash).Scan(&t, &id, &scopes, &expires, &revoked)
		if errors.Is(err, pgx.ErrNoRows) {
			return fault.NotFound("api_key_not_found", "There is no such API key.")
		}
		record = auth.APIKeyRecord{ID: id.String(), Tenant: tenant.ID(t), Scopes: auth.KnownScopes(scopes)}
		if expires != nil {
			record.ExpiresAt = *expires
		}
		if revoked != nil {
			record.RevokedAt = *revoked
		}
		return err
	})
	return record, err
}
