package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/beaconpost/beaconpost/pkg/fault"
	"github.com/beaconpost/beaconpost/pkg/postgres"
	"github.com/beaconpost/beaconpost/pkg/signature"
	"github.com/beaconpost/beaconpost/pkg/tenant"
	"github.com/beaconpost/beaconpost/services/ingest/internal/endpoint"
)

const insertSecret = `INSERT INTO endpoint_secrets (tenant_id, id, endpoint_id, key_id, ciphertext, public_key) VALUES ($1, $2, $3, $4, $5, $6)`

func (s *Endpoints) insertSecret(ctx context.Context, q postgres.Querier, t tenant.ID, endpointID uuid.UUID, secret endpoint.Secret) error {
	keyID, ciphertext, err := s.ring.Seal([]byte(secret.Value.Reveal()), postgres.SecretAAD(t, endpointID, secret.ID))
	if err != nil {
		return fmt.Errorf("seal secret: %w", err)
	}
	_, err = q.Exec(ctx, insertSecret, t.UUID(), secret.ID, endpointID, keyID, ciphertext, []byte(secret.Value.Public()))
	return err
}

const selectSecrets = `
SELECT id, key_id, ciphertext, created_at, expires_at FROM endpoint_secrets
WHERE tenant_id = $1 AND endpoint_id = $2 AND (expires_at IS NULL OR expires_at > now()) ORDER BY expires_at DESC NULLS FIRST, id DESC`

// Secrets gives the secrets that deliveries are signed with now, the current one first.
func (s *Endpoints) Secrets(ctx context.Context, t tenant.ID, id uuid.UUID) ([]endpoint.Secret, error) {
	var secrets []endpoint.Secret
	err := s.db.InTenant(ctx, t, func(ctx context.Context, q postgres.Querier) error {
		if _, err := getEndpoint(ctx, q, selectEndpoint, t, id); err != nil {
			return err
		}
		rows, err := q.Query(ctx, selectSecrets, t.UUID(), id)
		if err != nil {
			return err
		}
		secrets, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (endpoint.Secret, error) { return s.scanSecret(row, t, id) })
		return err
	})
	return secrets, err
}

func (s *Endpoints) scanSecret(row pgx.CollectableRow, t tenant.ID, endpointID uuid.UUID) (endpoint.Secret, error) {
	var secret endpoint.Secret
	var keyID string
	var ciphertext []byte
	var expires *time.Time
	if err := row.Scan(&secret.ID, &keyID, &ciphertext, &secret.CreatedAt, &expires); err != nil {
		return secret, err
	}
	if expires != nil {
		secret.ExpiresAt = *expires
	}
	plain, err := s.ring.Open(keyID, ciphertext, postgres.SecretAAD(t, endpointID, secret.ID))
	if err != nil {
		return secret, fmt.Errorf("open secret %s: %w", secret.ID, err)
	}
	secret.Value, err = signature.ParseSecret(string(plain))
	return secret, err
}

const (
	// No secret lives longer than this rotation's overlap, and none longer than it had to live before: so a key that leaked ends with an overlap of 0.
	expireSecrets = `
UPDATE endpoint_secrets SET expires_at = least(expires_at, now() + $3::interval)
WHERE tenant_id = $1 AND endpoint_id = $2 AND (expires_at IS NULL OR expires_at > now() + $3::interval)`
	// Every attempt is signed with all of them: beside the new one at most so many.
	expireOldest = `
UPDATE endpoint_secrets SET expires_at = now() WHERE tenant_id = $1 AND id IN (
    SELECT id FROM endpoint_secrets WHERE tenant_id = $1 AND endpoint_id = $2 AND expires_at > now() ORDER BY id DESC OFFSET $3)`
	expiringMost  = 2
	expireAllKeys = `UPDATE endpoint_secrets SET expires_at = now() WHERE tenant_id = $1 AND endpoint_id = $2 AND (expires_at IS NULL OR expires_at > now())`
)

// Rotate makes secret the current one; those before, the two newest at most, are used beside it for overlap.
func (s *Endpoints) Rotate(ctx context.Context, t tenant.ID, id uuid.UUID, secret endpoint.Secret, overlap time.Duration) error {
	return s.db.InTenant(ctx, t, func(ctx context.Context, q postgres.Querier) error {
		// The lock makes a second rotation wait instead of failing on the index that allows one current secret.
		if _, err := getEndpoint(ctx, q, lockEndpoint, t, id); err != nil {
			return err
		}
		if _, err := q.Exec(ctx, expireSecrets, t.UUID(), id, overlap); err != nil {
			return err
		}
		if _, err := q.Exec(ctx, expireOldest, t.UUID(), id, expiringMost); err != nil {
			return err
		}
		return s.insertSecret(ctx, q, t, id, secret)
	})
}

const selectPublicKeys = `
SELECT s.id, s.public_key FROM endpoint_secrets s
WHERE s.endpoint_id = $1 AND s.public_key IS NOT NULL AND (s.expires_at IS NULL OR s.expires_at > now()) ORDER BY s.expires_at DESC NULLS FIRST, s.id DESC`

// PublicKeys gives the public keys that an endpoint's webhooks can be verified with now, the current one first, to whoever asks.
func (s *Endpoints) PublicKeys(ctx context.Context, id uuid.UUID) (keys []endpoint.PublicKey, err error) {
	err = s.db.As(ctx, postgres.RoleIngest, func(ctx context.Context, q postgres.Querier) error {
		rows, err := q.Query(ctx, selectPublicKeys, id)
		if err != nil {
			return err
		}
		keys, err = pgx.CollectRows(rows, pgx.RowToStructByPos[endpoint.PublicKey])
		return err
	})
	return keys, err
}

const (
	selectStale = `
SELECT tenant_id, endpoint_id, id, key_id, ciphertext FROM endpoint_secrets WHERE key_id <> $1 AND id > $2 ORDER BY id LIMIT 500 FOR UPDATE SKIP LOCKED`
	resealSecret = `UPDATE endpoint_secrets SET key_id = $3, ciphertext = $4 WHERE tenant_id = $1 AND id = $2`
)

// Reseal seals all secrets that an older key of the ring sealed again with the primary key and says how many they were. It works in
// batches: an error leaves what was done before it.
func (s *Endpoints) Reseal(ctx context.Context) (int, error) {
	total, after := 0, uuid.Nil
	for {
		n := 0
		err := s.db.As(ctx, postgres.RoleIngest, func(ctx context.Context, q postgres.Querier) (err error) {
			n, after, err = s.resealBatch(ctx, q, after)
			return err
		})
		if err != nil || n == 0 {
			return total, err
		}
		total += n
	}
}

type sealedSecret struct {
	Tenant, Endpoint, ID uuid.UUID
	KeyID                string
	Ciphertext           []byte
}

func (s *Endpoints) resealBatch(ctx context.Context, q postgres.Querier, after uuid.UUID) (int, uuid.UUID, error) {
	rows, err := q.Query(ctx, selectStale, s.ring.Primary(), after)
	if err != nil {
		return 0, after, err
	}
	stale, err := pgx.CollectRows(rows, pgx.RowToStructByPos[sealedSecret])
	if err != nil {
		return 0, after, err
	}
	for _, old := range stale {
		aad := postgres.SecretAAD(tenant.ID(old.Tenant), old.Endpoint, old.ID)
		plain, err := s.ring.Open(old.KeyID, old.Ciphertext, aad)
		if err != nil {
			return 0, after, fmt.Errorf("open secret %s: %w", old.ID, err)
		}
		keyID, ciphertext, err := s.ring.Seal(plain, aad)
		if err != nil {
			return 0, after, fmt.Errorf("seal secret %s: %w", old.ID, err)
		}
		if _, err := q.Exec(ctx, resealSecret, old.Tenant, old.ID, keyID, ciphertext); err != nil {
			return 0, after, err
		}
		after = old.ID
	}
	return len(stale), after, nil
}

func isNoRows(err error) bool { return errors.Is(err, pgx.ErrNoRows) }

// unknownTenant tells a credential for a tenant that does not exist from other errors of an insert.
func unknownTenant(err error) error {
	for _, name := range []string{"endpoints_tenant_id_fkey", "projects_tenant_id_fkey", "api_keys_tenant_id_fkey", "payload_retention_tenant_id_fkey"} {
		if postgres.IsConstraint(err, name) {
			return fault.Forbidden("unknown_tenant", "The credential is for a tenant that does not exist.")
		}
	}
	return err
}
