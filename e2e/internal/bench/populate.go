package bench

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

const callers = 16 // concurrent calls of the API while populating

// populate makes tenants with endpoints through the API, in place of the first one. Each endpoint of a tenant listens to an event type of its
// own, so that an event is one delivery here too.
func (r *rig) populate(ctx context.Context, tenants, endpoints int) error {
	r.say("%d tenants with %d endpoints each", tenants, endpoints)
	token, err := r.OperatorToken()
	if err != nil {
		return err
	}
	r.types = nil
	for i := range endpoints {
		r.types = append(r.types, fmt.Sprintf("order.type%d", i))
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	keys := make([]string, tenants)
	work := make(chan int)
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for n := range work {
				var err error
				if keys[n], err = r.populateOne(ctx, token, n); err != nil {
					cancel(err)
				}
			}
		})
	}
	for n := range tenants {
		select {
		case work <- n:
		case <-ctx.Done():
		}
	}
	close(work)
	wg.Wait()
	r.keys = keys
	return context.Cause(ctx)
}

func (r *rig) populateOne(ctx context.Context, token string, n int) (key string, err error) {
	if _, key, err = r.CreateTenant(ctx, token, fmt.Sprintf("tenant %d", n)); err != nil {
		return "", err
	}
	for _, t := range r.types {
		if err := r.createEndpoint(ctx, key, []string{t}); err != nil {
			return "", err
		}
	}
	return key, nil
}

// A past day as it looks when all of it was delivered: events, deliveries, attempts of random endpoints. $1 is the day, $2 the number of events.
// The ids are UUIDv7 of random milliseconds of the day.
const seedDay = `
WITH endpoints AS MATERIALIZED (
    SELECT array_agg(tenant_id) AS tenants, array_agg(id) AS ids, count(*)::int AS n FROM endpoints
), input AS MATERIALIZED (
    SELECT e.tenants[k] AS tenant_id, e.ids[k] AS endpoint_id, ms,
        (lpad(to_hex(ms), 12, '0') || '7' || substr(h1, 1, 3) || '8' || substr(h1, 4, 15))::uuid AS event_id,
        (lpad(to_hex(ms), 12, '0') || '7' || substr(h2, 1, 3) || '8' || substr(h2, 4, 15))::uuid AS delivery_id,
        (lpad(to_hex(ms + 3), 12, '0') || '7' || substr(h2, 1, 3) || '9' || substr(h1, 4, 15))::uuid AS attempt_id
    FROM endpoints e, LATERAL (
        SELECT 1 + floor(random() * e.n)::int AS k, (extract(epoch FROM $1::date) * 1000)::bigint + floor(random() * 86390000)::bigint AS ms,
            md5(random()::text) AS h1, md5(random()::text) AS h2
        FROM generate_series(1, $2) g
    ) x
), events AS (
    INSERT INTO webhook_events (tenant_id, id, event_type, payload, recorded_at, fanout)
    SELECT tenant_id, event_id, 'order.paid', convert_to(repeat('{"order":"12345678"}', 12), 'UTF8'), to_timestamp(ms / 1000.0), 1 FROM input
), deliveries AS (
    INSERT INTO deliveries (tenant_id, id, event_id, endpoint_id, status, attempts, next_attempt_at, last_status, completed_at)
    SELECT tenant_id, delivery_id, event_id, endpoint_id, 'delivered', 1, 'infinity', 200, to_timestamp(ms / 1000.0) FROM input
)
INSERT INTO delivery_attempts (tenant_id, id, delivery_id, number, started_at, duration_us, status_code, response_truncated, recorded_at)
SELECT tenant_id, attempt_id, delivery_id, 1, to_timestamp(ms / 1000.0), 2000, 200, false, to_timestamp((ms + 3) / 1000.0) FROM input`

// seed stores events of the past days, as many on each, straight in the database.
func (r *rig) seed(ctx context.Context, events, days int) error {
	r.say("%d past events over %d days", events, days)
	conn, err := pgx.Connect(ctx, r.DatabaseURL())
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // the session's settings end with it
	today := time.Now().UTC().Truncate(24 * time.Hour)
	first := today.AddDate(0, 0, -days)
	if _, err := conn.Exec(ctx, `SET synchronous_commit = off`); err != nil {
		return err
	}
	if _, err := conn.Exec(ctx, `SELECT beaconpost_ensure_partitions($1::date, $2::date)`, first, today); err != nil {
		return fmt.Errorf("create past partitions: %w", err)
	}
	for day := first; day.Before(today); day = day.AddDate(0, 0, 1) {
		if _, err := conn.Exec(ctx, seedDay, day, events/days); err != nil {
			return fmt.Errorf("seed %s: %w", day.Format(time.DateOnly), err)
		}
	}
	if _, err := conn.Exec(ctx, `VACUUM (ANALYZE) webhook_events, deliveries, delivery_attempts`); err != nil {
		return err
	}
	_, err = conn.Exec(ctx, `CHECKPOINT`)
	return err
}
