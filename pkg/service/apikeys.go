package service

import (
	"context"
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

// LookupAPIKey implements auth.APIKeyLookup. It is one round trip: every request of a tenant waits for it once a minute, also while Postgres is slow.
func (k *apiKeys) LookupAPIKey(ctx context.Context, hash []byte) (auth.APIKeyRecord, error) {
	var record auth.APIKeyRecord
	found := false
	p := &postgres.Pipeline{}
	p.Role(k.role)
	p.Queue(selectKey, func(rows pgx.Rows) error {
		for rows.Next() {
			var t, id uuid.UUID
			var scopes []string
			var expires, revoked *time.Time
			if err := rows.Scan(&t, &id, &scopes, &expires, &revoked); err != nil {
				return err
			}
			found, record = true, auth.APIKeyRecord{ID: id.String(), Tenant: tenant.ID(t), Scopes: auth.KnownScopes(scopes)}
			if expires != nil {
				record.ExpiresAt = *expires
			}
			if revoked != nil {
				record.RevokedAt = *revoked
			}
		}
		return rows.Err()
	}, hash)
	err := k.db.Run(ctx, p)
	if err == nil && !found {
		err = fault.NotFound("api_key_not_found", "There is no such API key.")
	}
	return record, err
}
