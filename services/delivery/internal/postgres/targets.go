package postgres

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/beaconpost/beaconpost/pkg/postgres"
	"github.com/beaconpost/beaconpost/pkg/signature"
	"github.com/beaconpost/beaconpost/pkg/tenant"
	"github.com/beaconpost/beaconpost/services/delivery/internal/delivery"
)

// Each endpoint comes with the retry policies of its project and its tenant, which is the one with the tenant's own id.
const selectTargets = `
SELECT m.tenant_id, m.id, p.version, p.url, p.status = 'disabled', p.breaker = 'open', p.deleted_at IS NOT NULL, p.headers, p.signature_headers, coalesce(p.rate_per_second, 0), coalesce(p.rate_burst, 0), p.timeout_ms,
    p.max_attempts, p.retry_schedule_ms, p.retry_base_ms, p.retry_cap_ms, p.retry_max_age_ms,
    pr.max_attempts, pr.schedule_ms, pr.base_ms, pr.cap_ms, pr.max_age_ms,
    tr.max_attempts, tr.schedule_ms, tr.base_ms, tr.cap_ms, tr.max_age_ms
FROM unnest($1::uuid[], $2::uuid[]) AS m (tenant_id, id)
CROSS JOIN LATERAL (SELECT * FROM endpoints p WHERE p.tenant_id = m.tenant_id AND p.id = m.id OFFSET 0) p
LEFT JOIN LATERAL (SELECT * FROM retry_policies r WHERE r.tenant_id = p.tenant_id AND r.project_id = p.project_id OFFSET 0) pr ON true
LEFT JOIN LATERAL (SELECT * FROM retry_policies r WHERE r.tenant_id = p.tenant_id AND r.project_id = p.tenant_id OFFSET 0) tr ON true`

// The current secret of an endpoint comes first, then the others from the newest.
const selectSecrets = `
SELECT m.tenant_id, m.id, s.id, s.key_id, s.ciphertext, s.expires_at
FROM unnest($1::uuid[], $2::uuid[]) AS m (tenant_id, id)
CROSS JOIN LATERAL (
    SELECT * FROM endpoint_secrets s WHERE s.tenant_id = m.tenant_id AND s.endpoint_id = m.id AND (s.expires_at IS NULL OR s.expires_at > now())
    ORDER BY s.expires_at DESC NULLS FIRST, s.id DESC LIMIT 3
) s`

// fillTargets gives every job its endpoint, from the cache when the cached version is the present one.
func (s *Store) fillTargets(ctx context.Context, found []*due) error {
	missing := map[delivery.Ref]*delivery.Target{}
	var tenants, ids []uuid.UUID
	for _, d := range found {
		if d == nil {
			continue
		}
		if t, ok := s.targets.Get(d.endpoint); ok && t.Version == d.version {
			d.job.Target = t
		} else if _, asked := missing[d.endpoint]; !asked {
			missing[d.endpoint] = nil
			tenants, ids = append(tenants, d.endpoint.Tenant.UUID()), append(ids, d.endpoint.ID)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	if err := s.loadTargets(ctx, tenants, ids, missing); err != nil {
		return err
	}
	for ref, t := range missing {
		if t != nil && !t.Unsignable {
			s.targets.Add(ref, t)
		}
	}
	for i, d := range found {
		if d == nil || d.job.Target != nil {
			continue
		}
		if d.job.Target = missing[d.endpoint]; d.job.Target == nil {
			found[i] = nil // the endpoint went away between the two looks
		}
	}
	return nil
}

// loadTargets reads endpoints with their secrets.
func (s *Store) loadTargets(ctx context.Context, tenants, ids []uuid.UUID, into map[delivery.Ref]*delivery.Target) error {
	of, id := func(i int) uuid.UUID { return tenants[i] }, func(i int) uuid.UUID { return ids[i] }
	p := &postgres.Pipeline{}
	p.RoleForKeys(postgres.RoleDelivery)
	p.Queue(selectTargets, func(rows pgx.Rows) error { return s.readTargets(rows, into) }, postgres.UUIDs(len(ids), of), postgres.UUIDs(len(ids), id))
	p.Queue(selectSecrets, func(rows pgx.Rows) error { return s.readSecrets(rows, into) }, postgres.UUIDs(len(ids), of), postgres.UUIDs(len(ids), id))
	return s.db.Run(ctx, p)
}

// Target implements delivery.TargetStore.
func (s *Store) Target(ctx context.Context, endpoint delivery.Ref) (*delivery.Target, error) {
	found := map[delivery.Ref]*delivery.Target{}
	if err := s.loadTargets(ctx, []uuid.UUID{endpoint.Tenant.UUID()}, []uuid.UUID{endpoint.ID}, found); err != nil {
		return nil, err
	}
	t := found[endpoint]
	if t != nil && t.Unsignable {
		return nil, errors.New("signing secret cannot be opened")
	}
	return t, nil
}

func (s *Store) readTargets(rows pgx.Rows, into map[delivery.Ref]*delivery.Target) error {
	for rows.Next() {
		var owner uuid.UUID
		var timeout *int64
		var headers map[string]string
		var names string
		var own, project, whole postgres.RetryColumns
		t := &delivery.Target{}
		columns := []any{&owner, &t.EndpointID, &t.Version, &t.URL, &t.Disabled, &t.Open, &t.Deleted, &headers, &names, &t.Rate.PerSecond, &t.Rate.Burst, &timeout}
		err := rows.Scan(slices.Concat(columns, own.Into(), project.Into(), whole.Into())...)
		if err != nil {
			return err
		}
		for _, name := range slices.Sorted(maps.Keys(headers)) {
			t.Header = append(t.Header, delivery.Field{Name: name, Value: headers[name]})
		}
		t.Svix, t.SvixOnly = names != "standard", names == "svix"
		t.Timeout = s.defaults.Timeout
		if timeout != nil {
			t.Timeout = time.Duration(*timeout) * time.Millisecond
		}
		t.Retry = s.defaults.Retry.Merge(whole.Policy()).Merge(project.Policy()).Merge(own.Policy())
		into[delivery.Ref{Tenant: tenant.ID(owner), ID: t.EndpointID}] = t
	}
	return rows.Err()
}

func (s *Store) readSecrets(rows pgx.Rows, into map[delivery.Ref]*delivery.Target) error {
	for rows.Next() {
		var owner, endpointID, id uuid.UUID
		var keyID string
		var ciphertext []byte
		var expires *time.Time
		if err := rows.Scan(&owner, &endpointID, &id, &keyID, &ciphertext, &expires); err != nil {
			return err
		}
		t := into[delivery.Ref{Tenant: tenant.ID(owner), ID: endpointID}]
		if t == nil {
			continue // the endpoint came between the two looks
		}
		value, err := s.openSecret(keyID, ciphertext, postgres.SecretAAD(tenant.ID(owner), endpointID, id))
		if err != nil {
			// One endpoint's trouble, and ours: its deliveries wait, the others go on.
			s.log.Error().Err(err).Str("endpoint_id", endpointID.String()).Str("secret_id", id.String()).Msg("signing secret cannot be opened; deliveries of this endpoint wait")
			t.Unsignable = true
			continue
		}
		secret := delivery.Secret{Value: value}
		if expires != nil {
			secret.ExpiresAt = *expires
		}
		t.Secrets = append(t.Secrets, secret)
	}
	return rows.Err()
}

func (s *Store) openSecret(keyID string, ciphertext, aad []byte) (signature.Secret, error) {
	plain, err := s.ring.Open(keyID, ciphertext, aad)
	if err != nil {
		return signature.Secret{}, fmt.Errorf("open secret: %w", err)
	}
	value, err := signature.ParseSecret(string(plain))
	if err != nil {
		return signature.Secret{}, fmt.Errorf("read secret: %w", err)
	}
	return value, nil
}
