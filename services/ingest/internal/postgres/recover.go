package postgres

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/beaconpost/beaconpost/pkg/postgres"
	"github.com/beaconpost/beaconpost/pkg/tenant"
	"github.com/beaconpost/beaconpost/pkg/uuid7"
	"github.com/beaconpost/beaconpost/services/ingest/internal/endpoint"
)

const (
	countExhausted = `
SELECT count(*) FROM (SELECT FROM deliveries WHERE tenant_id = $1 AND endpoint_id = $2 AND status = 'exhausted' AND id >= $3 AND id < $4 LIMIT $5) d`
	openForRecovery = `UPDATE endpoints SET breaker = 'draining' WHERE tenant_id = $1 AND id = $2 AND status = 'enabled' AND breaker = 'closed'`
	// An open breaker stays open: its probes are made with what is recovered. A second request before the first is through widens it.
	askForRecovery = `
INSERT INTO endpoint_health AS h (tenant_id, endpoint_id, state, reason, recover_from, recover_until, look_at) VALUES ($1, $2, 'draining', 'recover', $3, $4, now())
ON CONFLICT (tenant_id, endpoint_id) DO UPDATE SET
    state = CASE WHEN h.state IN ('open', 'draining') THEN h.state ELSE 'draining' END, reason = CASE WHEN h.state IN ('open', 'draining') THEN h.reason ELSE 'recover' END,
    since = CASE WHEN h.state IN ('open', 'draining') THEN h.since ELSE now() END, failures = CASE WHEN h.state IN ('open', 'draining') THEN h.failures ELSE 0 END, recovered = CASE WHEN h.recover_from IS NULL THEN 0 ELSE h.recovered END,
    recover_from = least(h.recover_from, excluded.recover_from), recover_until = greatest(h.recover_until, excluded.recover_until), look_at = now()`
)

// Recover asks delivery to take up again the exhausted deliveries of events from since on, and says how many there are, counted up to
// endpoint.ParkedMost. The request is a mark in the endpoint's health: whoever works on it may die at any time.
func (s *Endpoints) Recover(ctx context.Context, t tenant.ID, id uuid.UUID, since, until time.Time) (found int, e endpoint.Endpoint, err error) {
	from, to := uuid7.Floor(since), uuid7.Floor(until)
	err = s.db.InTenant(ctx, t, func(ctx context.Context, q postgres.Querier) error {
		if _, err := getEndpoint(ctx, q, lockEndpoint, t, id); err != nil {
			return err
		}
		if err := q.QueryRow(ctx, countExhausted, t.UUID(), id, from, to, endpoint.ParkedMost).Scan(&found); err != nil {
			return err
		}
		if _, err := q.Exec(ctx, askForRecovery, t.UUID(), id, from, to); err != nil {
			return err
		}
		if _, err := q.Exec(ctx, openForRecovery, t.UUID(), id); err != nil {
			return err
		}
		e, err = getEndpoint(ctx, q, selectEndpoint, t, id)
		return err
	})
	return found, e, err
}
