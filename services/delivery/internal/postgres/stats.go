package postgres

import (
	"context"
	"slices"
	"time"

	"github.com/beaconpost/beaconpost/pkg/postgres"
	"github.com/beaconpost/beaconpost/services/delivery/internal/health"
	"github.com/beaconpost/beaconpost/services/delivery/internal/stats"
)

var _ stats.Store = (*Store)(nil)

const addStats = `
INSERT INTO endpoint_stats AS s (tenant_id, endpoint_id, hour, attempts_succeeded, attempts_failed, delivered, exhausted, attempt_counts, latency_counts)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT (tenant_id, endpoint_id, hour) DO UPDATE SET
    attempts_succeeded = s.attempts_succeeded + excluded.attempts_succeeded, attempts_failed = s.attempts_failed + excluded.attempts_failed,
    delivered = s.delivered + excluded.delivered, exhausted = s.exhausted + excluded.exhausted,
    attempt_counts = beaconpost_add_counts(s.attempt_counts, excluded.attempt_counts), latency_counts = beaconpost_add_counts(s.latency_counts, excluded.latency_counts)`

// AddStats implements stats.Store. In the order of the key, so that replicas cannot deadlock.
func (s *Store) AddStats(ctx context.Context, counts map[stats.Key]*stats.Counts) error {
	keys := make([]stats.Key, 0, len(counts))
	for key := range counts {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b stats.Key) int {
		if c := compareKeys(health.Key{Tenant: a.Tenant, Endpoint: a.Endpoint}, health.Key{Tenant: b.Tenant, Endpoint: b.Endpoint}); c != 0 {
			return c
		}
		return a.Hour.Compare(b.Hour)
	})
	p := &postgres.Pipeline{}
	p.Role(postgres.RoleDelivery)
	for _, key := range keys {
		n := counts[key]
		p.Queue(addStats, nil, key.Tenant.UUID(), key.Endpoint, key.Hour, n.Succeeded, n.Failed, n.Delivered, n.Exhausted, trimmed(n.Attempts[:]), trimmed(n.Latencies[:]))
	}
	return s.relaxed.Run(ctx, p)
}

// trimmed leaves out the zeros at the end.
func trimmed(counts []int64) []int64 {
	for len(counts) > 0 && counts[len(counts)-1] == 0 {
		counts = counts[:len(counts)-1]
	}
	return counts
}

const expireStats = `DELETE FROM endpoint_stats WHERE hour < now() - $1::interval`

// ExpireStats drops counts of hours that long ago.
func (s *Store) ExpireStats(ctx context.Context, age time.Duration) error {
	return s.db.As(ctx, postgres.RoleDelivery, func(ctx context.Context, q postgres.Querier) error {
		_, err := q.Exec(ctx, expireStats, age)
		return err
	})
}
