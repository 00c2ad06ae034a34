-- Strict policy for beaconpost_api on every table; explicit ones for background work. FORCE: the owner is bound too.
-- An unset app.tenant_id is null (or '' once a transaction-local value was reverted), so that nothing matches.

-- +goose Up
-- +goose StatementBegin
DO $$
DECLARE
    t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['projects', 'api_keys', 'endpoints', 'endpoint_secrets', 'idempotency_keys', 'webhook_events', 'deliveries', 'delivery_attempts'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', t);
        EXECUTE format($p$CREATE POLICY tenant_isolation ON %I TO beaconpost_api
            USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid)
            WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid)$p$, t);
    END LOOP;
END
$$;
-- +goose StatementEnd
ALTER TABLE tenants ENABLE ROW LEVEL SECURITY;
ALTER TABLE tenants FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON tenants TO beaconpost_api
    USING (id = nullif(current_setting('app.tenant_id', true), '')::uuid)
    WITH CHECK (id = nullif(current_setting('app.tenant_id', true), '')::uuid);

GRANT SELECT, UPDATE (routing_version) ON tenants TO beaconpost_api;
GRANT SELECT, INSERT ON projects TO beaconpost_api;
GRANT SELECT, INSERT, UPDATE (revoked_at) ON api_keys TO beaconpost_api;
GRANT SELECT, INSERT, UPDATE ON endpoints TO beaconpost_api;
GRANT SELECT, INSERT, UPDATE (expires_at) ON endpoint_secrets TO beaconpost_api;
GRANT SELECT, INSERT ON idempotency_keys, webhook_events TO beaconpost_api;
GRANT SELECT, INSERT, UPDATE (status, next_attempt_at, claimed_until, completed_at, cancel_reason) ON deliveries TO beaconpost_api;
GRANT SELECT ON delivery_attempts TO beaconpost_api;

-- Ingest: whose key is this; the operator's tenants; keys too old to matter; secrets sealed again after a key rotation.
CREATE POLICY ingest_lookup ON api_keys FOR SELECT TO beaconpost_ingest USING (true);
GRANT SELECT (tenant_id, id, key_hash, scopes, expires_at, revoked_at) ON api_keys TO beaconpost_ingest;
CREATE POLICY ingest_operate ON tenants TO beaconpost_ingest USING (true) WITH CHECK (true);
GRANT SELECT, INSERT ON tenants TO beaconpost_ingest;
CREATE POLICY ingest_expire ON idempotency_keys TO beaconpost_ingest USING (true);
GRANT SELECT (tenant_id, key, created_at), DELETE ON idempotency_keys TO beaconpost_ingest;
CREATE POLICY ingest_reseal ON endpoint_secrets TO beaconpost_ingest USING (true) WITH CHECK (true);
GRANT SELECT, UPDATE (key_id, ciphertext) ON endpoint_secrets TO beaconpost_ingest;

-- Delivery and monitor check credentials for their own APIs.
CREATE POLICY delivery_lookup ON api_keys FOR SELECT TO beaconpost_delivery USING (true);
GRANT SELECT (tenant_id, id, key_hash, scopes, expires_at, revoked_at) ON api_keys TO beaconpost_delivery;
CREATE POLICY monitor_lookup ON api_keys FOR SELECT TO beaconpost_monitor USING (true);
GRANT SELECT (tenant_id, id, key_hash, scopes, expires_at, revoked_at) ON api_keys TO beaconpost_monitor;

-- Delivery: what is due, what to send, where to, and what came of it.
CREATE POLICY delivery_read ON webhook_events FOR SELECT TO beaconpost_delivery USING (true);
GRANT SELECT ON webhook_events TO beaconpost_delivery;
CREATE POLICY delivery_read ON endpoints FOR SELECT TO beaconpost_delivery USING (true);
GRANT SELECT ON endpoints TO beaconpost_delivery;
-- Parking a delivery locks its endpoint FOR SHARE, so that it cannot be enabled in between; a lock needs the right to update something.
CREATE POLICY delivery_lock ON endpoints FOR UPDATE TO beaconpost_delivery USING (true) WITH CHECK (true);
GRANT UPDATE (version) ON endpoints TO beaconpost_delivery;
CREATE POLICY delivery_read ON endpoint_secrets FOR SELECT TO beaconpost_delivery USING (true);
GRANT SELECT ON endpoint_secrets TO beaconpost_delivery;
CREATE POLICY delivery_read ON deliveries FOR SELECT TO beaconpost_delivery USING (true);
CREATE POLICY delivery_update ON deliveries FOR UPDATE TO beaconpost_delivery USING (true) WITH CHECK (true);
GRANT SELECT, UPDATE (status, attempts, next_attempt_at, claimed_until, completed_at, last_status, last_error, cancel_reason) ON deliveries TO beaconpost_delivery;
CREATE POLICY delivery_record ON delivery_attempts FOR INSERT TO beaconpost_delivery WITH CHECK (true);
GRANT INSERT ON delivery_attempts TO beaconpost_delivery;

-- +goose Down
-- +goose StatementBegin
DO $$
DECLARE
    p record;
BEGIN
    FOR p IN SELECT policyname, tablename FROM pg_policies WHERE schemaname = 'public' LOOP
        EXECUTE format('DROP POLICY %I ON %I', p.policyname, p.tablename);
        EXECUTE format('ALTER TABLE %I NO FORCE ROW LEVEL SECURITY', p.tablename);
        EXECUTE format('ALTER TABLE %I DISABLE ROW LEVEL SECURITY', p.tablename);
    END LOOP;
END
$$;
-- +goose StatementEnd
REVOKE ALL ON ALL TABLES IN SCHEMA public FROM beaconpost_api, beaconpost_ingest, beaconpost_delivery, beaconpost_monitor;
