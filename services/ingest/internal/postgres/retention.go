package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/beaconpost/beaconpost/pkg/postgres"
	"github.com/beaconpost/beaconpost/pkg/tenant"
)

const (
	selectPayloadRetention = `SELECT after_ms FROM payload_retention WHERE tenant_id = $1`
	putPayloadRetention    = `
INSERT INTO payload_retention (tenant_id, after_ms) VALUES ($1, $2)
ON CONFLICT (tenant_id) DO UPDATE SET after_ms = excluded.after_ms`
	deletePayloadRetention = `DELETE FROM payload_retention WHERE tenant_id = $1`
)

// PayloadRetention says for how long t's payloads are kept; set is false if for as long as their events.
func (s *Accounts) PayloadRetention(ctx context.Context, t tenant.ID) (after time.Duration, set bool, err error) {
	err = s.db.InTenant(ctx, t, func(ctx context.Context, q postgres.Querier) error {
		var ms int64
		err := q.QueryRow(ctx, selectPayloadRetention, t.UUID()).Scan(&ms)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		after, set = time.Duration(ms)*time.Millisecond, err == nil
		return err
	})
	return after, set, err
}

// SetPayloadRetention sets it; nil: payloads are kept for as long as their events.
func (s *Accounts) SetPayloadRetention(ctx context.Context, t tenant.ID, after *time.Duration) error {
	return s.db.InTenant(ctx, t, func(ctx context.Context, q postgres.Querier) (err error) {
		if after == nil {
			_, err = q.Exec(ctx, deletePayloadRetention, t.UUID())
		} else {
			_, err = q.Exec(ctx, putPayloadRetention, t.UUID(), after.Milliseconds())
		}
		return unknownTenant(err)
	})
}
