package postgres

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/beaconpost/beaconpost/pkg/fault"
	"github.com/beaconpost/beaconpost/pkg/postgres"
	"github.com/beaconpost/beaconpost/pkg/tenant"
	"github.com/beaconpost/beaconpost/services/ingest/internal/event"
)

// group is the part of a flush that belongs to one tenant.
type group struct {
	tenant  tenant.ID
	entries []*entry
	routes  *event.Routes
	cached  bool // routes were not read for this attempt

	current  bool               // after insert: the routes were still right, what could be inserted was
	inserted map[uuid.UUID]bool // after insert: ids of the events of the whole flush that are stored
}

// byTenant groups entries that are sorted by tenant.
func byTenant(entries []*entry) []*group {
	var groups []*group
	for _, e := range entries {
		if n := len(groups); n == 0 || groups[n-1].tenant != e.submission.Tenant {
			groups = append(groups, &group{tenant: e.submission.Tenant})
		}
		g := groups[len(groups)-1]
		g.entries = append(g.entries, e)
	}
	return groups
}

// Everything in a flush goes in by one statement, whatever number of tenants it is for. The guard makes the cached routes safe without any
// invalidation: of a tenant whose routing_version has moved on, nothing is inserted. An event whose idempotency key exists is left out with
// its deliveries. Keys are inserted in their order, so that two flushes cannot deadlock over them. IS TRUE keeps the look-ups hashed: as joins they
// would be planned for a few rows and be quadratic.
const appendEvents = `
WITH guard AS MATERIALIZED (
    SELECT g.id FROM unnest($1::uuid[], $2::bigint[]) AS g (id, version)
    CROSS JOIN LATERAL (SELECT FROM tenants t WHERE t.id = g.id AND t.routing_version = g.version OFFSET 0) t
), keys AS (
    INSERT INTO idempotency_keys (tenant_id, key, body_hash, event_id)
    SELECT k.tenant_id, k.key, k.body_hash, k.id
    FROM unnest($3::uuid[], $4::uuid[], $5::text[], $6::bytea[]) WITH ORDINALITY AS k (tenant_id, id, key, body_hash, n)
    WHERE k.key IS NOT NULL AND (k.tenant_id IN (SELECT id FROM guard)) IS TRUE ORDER BY k.n
    ON CONFLICT (tenant_id, key) DO NOTHING
    RETURNING event_id
), stored AS MATERIALIZED (
    SELECT e.id FROM unnest($3::uuid[], $4::uuid[], $5::text[]) AS e (tenant_id, id, key)
    WHERE (e.tenant_id IN (SELECT id FROM guard)) IS TRUE AND (e.key IS NULL OR e.id IN (SELECT event_id FROM keys))
), events AS (
    INSERT INTO webhook_events (tenant_id, id, project_id, endpoint_id, event_type, payload, fanout)
    SELECT e.tenant_id, e.id, e.project_id, e.endpoint_id, e.event_type, e.payload, e.fanout
    FROM unnest($3::uuid[], $4::uuid[], $7::uuid[], $8::uuid[], $9::text[], $10::bytea[], $17::int[])
        AS e (tenant_id, id, project_id, endpoint_id, event_type, payload, fanout)
    WHERE (e.id IN (SELECT id FROM stored)) IS TRUE
), fanout AS (
    INSERT INTO deliveries (tenant_id, id, event_id, endpoint_id, next_attempt_at, traceparent)
    SELECT d.tenant_id, d.id, d.event_id, d.endpoint_id, d.due, d.traceparent
    FROM unnest($11::uuid[], $12::uuid[], $13::uuid[], $14::uuid[], $15::timestamptz[], $16::text[])
        AS d (tenant_id, id, event_id, endpoint_id, due, traceparent)
    WHERE (d.event_id IN (SELECT id FROM stored)) IS TRUE
)
SELECT ARRAY(SELECT id FROM guard), ARRAY(SELECT id FROM stored)`

// insert runs the whole flush as one transaction in one round trip, and notes in the groups what it did.
func (a *Appender) insert(ctx context.Context, groups []*group) error {
	tenants := make([]tenant.ID, len(groups))
	for i, g := range groups {
		tenants[i] = g.tenant
	}
	var current, inserted []uuid.UUID
	p := &postgres.Pipeline{}
	p.Tenants(tenants)
	p.Queue(appendEvents, func(rows pgx.Rows) error {
		for rows.Next() {
			if err := rows.Scan(&current, &inserted); err != nil {
				return err
			}
		}
		return rows.Err()
	}, appendArgs(groups)...)
	if err := a.db.Run(ctx, p); err != nil {
		return err
	}
	still, stored := setOf(current), setOf(inserted)
	for _, g := range groups {
		g.current, g.inserted = still[g.tenant.UUID()], stored
	}
	return nil
}

func setOf(ids []uuid.UUID) map[uuid.UUID]bool {
	set := make(map[uuid.UUID]bool, len(ids))
	for _, id := range ids {
		set[id] = true
	}
	return set
}

func appendArgs(groups []*group) []any {
	var entries []*entry
	var deliveries []*event.Delivery
	for _, g := range groups {
		entries = append(entries, g.entries...)
		for _, e := range g.entries {
			for i := range e.deliveries {
				deliveries = append(deliveries, &e.deliveries[i])
			}
		}
	}
	n, fanout := len(entries), len(deliveries)
	at := func(i int) *event.Submission { return &entries[i].submission }
	return []any{
		postgres.UUIDs(len(groups), func(i int) uuid.UUID { return groups[i].tenant.UUID() }),
		postgres.BigInts(len(groups), func(i int) int64 { return groups[i].routes.Version }),
		postgres.UUIDs(n, func(i int) uuid.UUID { return at(i).Tenant.UUID() }),
		postgres.UUIDs(n, func(i int) uuid.UUID { return at(i).Event.ID }),
		postgres.NullTexts(n, func(i int) string { return at(i).IdempotencyKey }),
		postgres.NullBytes(n, func(i int) []byte { return hashOf(at(i)) }),
		postgres.NullUUIDs(n, func(i int) *uuid.UUID { return at(i).Event.ProjectID }),
		postgres.NullUUIDs(n, func(i int) *uuid.UUID { return at(i).Event.EndpointID }),
		postgres.Texts(n, func(i int) string { return at(i).Event.Type }),
		postgres.NullBytes(n, func(i int) []byte { return at(i).Event.Payload }),
		postgres.UUIDs(fanout, func(i int) uuid.UUID { return deliveries[i].Tenant.UUID() }),
		postgres.UUIDs(fanout, func(i int) uuid.UUID { return deliveries[i].ID }),
		postgres.UUIDs(fanout, func(i int) uuid.UUID { return deliveries[i].EventID }),
		postgres.UUIDs(fanout, func(i int) uuid.UUID { return deliveries[i].EndpointID }),
		postgres.Times(fanout, func(i int) time.Time { return deliveries[i].DueAt }),
		postgres.NullTexts(fanout, func(i int) string { return deliveries[i].Traceparent }),
		postgres.Ints(n, func(i int) int { return len(entries[i].deliveries) }),
	}
}

// hashOf gives what an idempotency key stands for; nil without a key.
func hashOf(s *event.Submission) []byte {
	if s.IdempotencyKey == "" {
		return nil
	}
	return s.BodyHash[:]
}

// settleInserted answers the entries whose events are stored and says how many are left: those whose key was seen before.
func (g *group) settleInserted(m *Metrics) int {
	left := g.entries[:0]
	for _, e := range g.entries {
		if !g.inserted[e.submission.Event.ID] {
			left = append(left, e)
			continue
		}
		m.accepted.Inc()
		m.created(e.deliveries)
		e.settle(event.Receipt{ID: e.submission.Event.ID}, nil)
	}
	g.entries = left
	return len(left)
}

const findKeys = `SELECT key, event_id, body_hash FROM idempotency_keys WHERE tenant_id = $1 AND key = ANY ($2)`

type firstUse struct {
	eventID  uuid.UUID
	bodyHash []byte
}

// settleReplayed answers entries whose idempotency key was used before: with the first event's id if the body is the same.
func (a *Appender) settleReplayed(ctx context.Context, groups []*group) {
	if len(groups) == 0 {
		return
	}
	p := &postgres.Pipeline{}
	found := make([]map[string]firstUse, len(groups))
	for i, g := range groups {
		found[i] = map[string]firstUse{}
		keys := make([]string, len(g.entries))
		for j, e := range g.entries {
			keys[j] = e.submission.IdempotencyKey
		}
		p.Tenant(g.tenant)
		p.Queue(findKeys, func(rows pgx.Rows) error { return readKeys(rows, found[i]) }, g.tenant.UUID(), keys)
	}
	err := a.db.Run(ctx, p)
	for i, g := range groups {
		for _, e := range g.entries {
			if err != nil {
				e.fail(err)
				continue
			}
			a.metrics.replayed.Inc()
			e.settle(replay(e.submission, found[i]))
		}
	}
}

func readKeys(rows pgx.Rows, into map[string]firstUse) error {
	for rows.Next() {
		var key string
		var use firstUse
		if err := rows.Scan(&key, &use.eventID, &use.bodyHash); err != nil {
			return err
		}
		into[key] = use
	}
	return rows.Err()
}

func replay(s event.Submission, found map[string]firstUse) (event.Receipt, error) {
	use, ok := found[s.IdempotencyKey]
	if !ok { // it expired between the two statements
		return event.Receipt{}, fault.Unavailable(errors.New("idempotency key expired during the request"), time.Second,
			"The idempotency key expired during the request. Nothing was stored; repeat the request.")
	}
	if !bytes.Equal(use.bodyHash, s.BodyHash[:]) {
		err := fault.Conflict("idempotency_key_reused", "This Idempotency-Key was used with another request body.")
		err.Field = "Idempotency-Key"
		return event.Receipt{}, err
	}
	return event.Receipt{ID: use.eventID, Replayed: true}, nil
}

// noTenant is the version of routes whose tenant was not found.
const noTenant = -1

const (
	selectVersion  = `SELECT routing_version FROM tenants WHERE id = $1`
	selectRoutes   = `SELECT id, project_id, event_types, status = 'disabled' OR breaker <> 'closed' FROM endpoints WHERE tenant_id = $1 AND deleted_at IS NULL ORDER BY id`
	selectProjects = `SELECT id FROM projects WHERE tenant_id = $1`
)

// loadRoutes gives every group its tenant's routes, from the cache or in one round trip for all that are missing.
func (a *Appender) loadRoutes(ctx context.Context, groups []*group) error {
	p := &postgres.Pipeline{}
	var missing []*group
	for _, g := range groups {
		if routes, ok := a.routes.Get(g.tenant); ok {
			g.routes, g.cached = routes, true
			continue
		}
		g.routes = &event.Routes{Version: noTenant, Projects: map[uuid.UUID]bool{}}
		missing = append(missing, g)
		p.Tenant(g.tenant)
		// The version is read first: a change in between makes it too old, never too new.
		p.Queue(selectVersion, g.readVersion, g.tenant.UUID())
		p.Queue(selectRoutes, g.readRoutes, g.tenant.UUID())
		p.Queue(selectProjects, g.readProjects, g.tenant.UUID())
	}
	if len(missing) == 0 {
		return nil
	}
	a.metrics.routesLoaded.Add(float64(len(missing)))
	if err := a.db.Run(ctx, p); err != nil {
		return err
	}
	for _, g := range missing {
		if g.routes.Version != noTenant {
			a.routes.Add(g.tenant, g.routes)
		}
	}
	return nil
}

func (g *group) readVersion(rows pgx.Rows) error {
	for rows.Next() {
		if err := rows.Scan(&g.routes.Version); err != nil {
			return err
		}
	}
	return rows.Err()
}
