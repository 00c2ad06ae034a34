package postgres

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/beaconpost/beaconpost/pkg/postgres"
	"github.com/beaconpost/beaconpost/pkg/tenant"
	"github.com/beaconpost/beaconpost/services/ingest/internal/endpoint"
)

const (
	selectExists = `SELECT EXISTS (SELECT FROM endpoints WHERE tenant_id = $1 AND id = $2)`
	selectStats  = `
SELECT hour, attempts_succeeded, attempts_failed, delivered, exhausted, attempt_counts, latency_counts
FROM endpoint_stats WHERE tenant_id = $1 AND endpoint_id = $2 AND hour >= $3 AND hour < $4 ORDER BY hour`
)

// Stats gives the hours of an endpoint of t in which something happened, in order. Those of a deleted endpoint can be read too.
func (s *Endpoints) Stats(ctx context.Context, t tenant.ID, id uuid.UUID, from, until time.Time) (hours []endpoint.Hour, err error) {
	err = s.db.InTenant(ctx, t, func(ctx context.Context, q postgres.Querier) error {
		var exists bool
		if err := q.QueryRow(ctx, selectExists, t.UUID(), id).Scan(&exists); err != nil {
			return err
		}
		if !exists {
			return endpointNotFound()
		}
		rows, err := q.Query(ctx, selectStats, t.UUID(), id, from, until)
		if err != nil {
			return err
		}
		hours, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (h endpoint.Hour, err error) {
			var attempts, latencies []int64
			err = row.Scan(postgres.Instant{Time: &h.Begin}, &h.Succeeded, &h.Failed, &h.Delivered, &h.Exhausted, &attempts, &latencies)
			h.Attempts.Merge(attempts)
			h.Latencies.Merge(latencies)
			return h, err
		})
		return err
	})
	return hours, err
}
