package postgres

import (
	"context"
	"slices"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/beaconpost/beaconpost/pkg/postgres"
	"github.com/beaconpost/beaconpost/pkg/tenant"
	"github.com/beaconpost/beaconpost/services/delivery/internal/delivery"
)

// A token bucket for each endpoint with a rate, by the database's clock, so that replicas share it. In the order of the key: no two replicas can deadlock.
const (
	makeBuckets = `
INSERT INTO endpoint_rates (tenant_id, endpoint_id, tokens, updated_at)
SELECT tenant_id, endpoint_id, burst, clock_timestamp() FROM unnest($1::uuid[], $2::uuid[], $3::float8[], $4::int[], $5::int[]) AS m (tenant_id, endpoint_id, rate, burst, want)
ORDER BY tenant_id, endpoint_id ON CONFLICT DO NOTHING`
	takeTokens = `
WITH filled AS MATERIALIZED (
    SELECT r.tenant_id, r.endpoint_id, m.want,
        least(m.burst, r.tokens + greatest(extract(epoch FROM clock_timestamp() - r.updated_at)::float8, 0) * m.rate) AS tokens
    FROM endpoint_rates r JOIN unnest($1::uuid[], $2::uuid[], $3::float8[], $4::int[], $5::int[]) AS m (tenant_id, endpoint_id, rate, burst, want)
        ON r.tenant_id = m.tenant_id AND r.endpoint_id = m.endpoint_id
    ORDER BY r.tenant_id, r.endpoint_id FOR UPDATE OF r
)
UPDATE endpoint_rates r SET tokens = f.tokens - least(f.want, floor(f.tokens)), updated_at = clock_timestamp()
FROM filled f WHERE r.tenant_id = f.tenant_id AND r.endpoint_id = f.endpoint_id
RETURNING r.tenant_id, r.endpoint_id, least(f.want, floor(f.tokens))::int, f.tokens - floor(f.tokens)`
)

// Take implements delivery.Store.
func (s *Store) Take(ctx context.Context, wants []delivery.Want) ([]delivery.Grant, error) {
	n := len(wants)
	rates, bursts := make([]float64, n), make([]int, n)
	for i, w := range wants {
		rates[i], bursts[i] = w.Rate.PerSecond, w.Rate.Burst
	}
	args := []any{
		postgres.UUIDs(n, func(i int) uuid.UUID { return wants[i].Endpoint.Tenant.UUID() }), postgres.UUIDs(n, func(i int) uuid.UUID { return wants[i].Endpoint.ID }),
		rates, postgres.Ints(n, func(i int) int { return bursts[i] }), postgres.Ints(n, func(i int) int { return wants[i].N }),
	}
	grants := make([]delivery.Grant, n)
	p := &postgres.Pipeline{}
	p.Role(postgres.RoleDelivery)
	p.Queue(makeBuckets, nil, args...)
	p.Queue(takeTokens, func(rows pgx.Rows) error {
		for rows.Next() {
			var t, id uuid.UUID
			var g delivery.Grant
			if err := rows.Scan(&t, &id, &g.N, &g.Rest); err != nil {
				return err
			}
			ref := delivery.Ref{Tenant: tenant.ID(t), ID: id}
			if i := slices.IndexFunc(wants, func(w delivery.Want) bool { return w.Endpoint == ref }); i >= 0 {
				grants[i] = g
			}
		}
		return rows.Err()
	}, args...)
	return grants, s.db.Run(ctx, p)
}
