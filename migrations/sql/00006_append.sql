-- Ingest appends events of many tenants in one statement. Row-level security holds it to the tenants of that flush, which it has to name in
-- app.tenant_ids, a list separated by commas; without it nothing can be appended. The scalar subquery is evaluated once per statement.

-- +goose Up
-- A policy for ALL commands would have let ingest insert keys of any tenant.
DROP POLICY ingest_expire ON idempotency_keys;
CREATE POLICY ingest_read ON idempotency_keys FOR SELECT TO beaconpost_ingest USING (true);
CREATE POLICY ingest_expire ON idempotency_keys FOR DELETE TO beaconpost_ingest USING (true);
-- +goose StatementBegin
DO $$
DECLARE
    t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['idempotency_keys', 'webhook_events', 'deliveries'] LOOP
        EXECUTE format($p$CREATE POLICY ingest_append ON %I FOR INSERT TO beaconpost_ingest
            WITH CHECK (tenant_id = ANY ((SELECT string_to_array(current_setting('app.tenant_ids', true), ',')::uuid[])::uuid[]))$p$, t);
    END LOOP;
END
$$;
-- +goose StatementEnd
GRANT INSERT (tenant_id, key, body_hash, event_id), SELECT (event_id) ON idempotency_keys TO beaconpost_ingest;
GRANT INSERT (tenant_id, id, project_id, endpoint_id, event_type, payload) ON webhook_events TO beaconpost_ingest;
GRANT INSERT (tenant_id, id, event_id, endpoint_id, next_attempt_at, traceparent) ON deliveries TO beaconpost_ingest;

-- +goose Down
REVOKE INSERT (tenant_id, key, body_hash, event_id), SELECT (event_id) ON idempotency_keys FROM beaconpost_ingest;
REVOKE INSERT (tenant_id, id, project_id, endpoint_id, event_type, payload) ON webhook_events FROM beaconpost_ingest;
REVOKE INSERT (tenant_id, id, event_id, endpoint_id, next_attempt_at, traceparent) ON deliveries FROM beaconpost_ingest;
DROP POLICY ingest_append ON idempotency_keys;
DROP POLICY ingest_append ON webhook_events;
DROP POLICY ingest_append ON deliveries;
DROP POLICY ingest_read ON idempotency_keys;
DROP POLICY ingest_expire ON idempotency_keys;
CREATE POLICY ingest_expire ON idempotency_keys TO beaconpost_ingest USING (true);
