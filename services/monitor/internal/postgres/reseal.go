package postgres

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/beaconpost/beaconpost/pkg/postgres"
	"github.com/beaconpost/beaconpost/pkg/tenant"
)

const (
	selectStale = `SELECT tenant_id, id, sealed_key_id, sealed FROM monitors WHERE sealed_key_id <> $1 AND id > $2 ORDER BY id LIMIT 500 FOR UPDATE`
	resealOne   = `UPDATE monitors SET sealed_key_id = $3, sealed = $4 WHERE tenant_id = $1 AND id = $2`
)

// Reseal seals the secrets of monitors that an older key of the ring sealed again with the primary key, and says how many. An error leaves what was done before it.
func (s *Store) Reseal(ctx context.Context) (total int, err error) {
	for after := uuid.Nil; ; {
		n := 0
		err := s.db.As(ctx, postgres.RoleMonitor, func(ctx context.Context, q postgres.Querier) (err error) {
			n, after, err = s.resealSome(ctx, q, after)
			return err
		})
		if err != nil || n == 0 {
			return total, err
		}
		total += n
	}
}

func (s *Store) resealSome(ctx context.Context, q postgres.Querier, after uuid.UUID) (int, uuid.UUID, error) {
	type sealed struct {
		Owner, ID uuid.UUID
		KeyID     string
		Secrets   []byte
	}
	rows, err := q.Query(ctx, selectStale, s.ring.Primary(), after)
	if err != nil {
		return 0, after, err
	}
	stale, err := pgx.CollectRows(rows, pgx.RowToStructByPos[sealed])
	if err != nil {
		return 0, after, err
	}
	for _, old := range stale {
		aad := postgres.SecretAAD(tenant.ID(old.Owner), old.ID, old.ID)
		plain, err := s.ring.Open(old.KeyID, old.Secrets, aad)
		if err != nil {
			return 0, after, fmt.Errorf("open secrets of monitor %s: %w", old.ID, err)
		}
		keyID, again, err := s.ring.Seal(plain, aad)
		if err != nil {
			return 0, after, fmt.Errorf("seal secrets of monitor %s: %w", old.ID, err)
		}
		if _, err := q.Exec(ctx, resealOne, old.Owner, old.ID, keyID, again); err != nil {
			return 0, after, err
		}
		after = old.ID
	}
	return len(stale), after, nil
}
