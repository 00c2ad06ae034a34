package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/beaconpost/beaconpost/pkg/postgres"
	"github.com/beaconpost/beaconpost/services/delivery/internal/health"
)

const countBreakers = `SELECT state, count(*) FROM endpoint_health GROUP BY state`

// Breakers counts the endpoints in trouble by state, of all tenants. Only these have a row.
func (s *Store) Breakers(ctx context.Context) (map[health.State]int, error) {
	counts := map[health.State]int{}
	err := s.db.As(ctx, postgres.RoleDelivery, func(ctx context.Context, q postgres.Querier) error {
		rows, err := q.Query(ctx, countBreakers)
		if err != nil {
			return err
		}
		var state health.State
		var n int
		_, err = pgx.ForEachRow(rows, []any{&state, &n}, func() error {
			counts[state] = n
			return nil
		})
		return err
	})
	return counts, err
}
