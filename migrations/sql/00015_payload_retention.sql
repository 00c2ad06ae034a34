-- For how long a tenant's payloads are kept once nothing is pending of their event. A scrubbed payload is empty, which no JSON value is.

-- +goose Up
CREATE TABLE payload_retention (
    tenant_id   uuid PRIMARY KEY REFERENCES tenants (id),
    after_ms    bigint NOT NULL CHECK (after_ms >= 0), -- since the event was accepted
    scrubbed_to uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000', -- events up to here were looked at
    rescan_at   timestamptz NOT NULL DEFAULT now() + interval '1 day'         -- then they are looked at again, for those that were pending
);
ALTER TABLE payload_retention ENABLE ROW LEVEL SECURITY;
ALTER TABLE payload_retention FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON payload_retention TO beaconpost_api
    USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid)
    WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid);
GRANT SELECT, INSERT, UPDATE, DELETE ON payload_retention TO beaconpost_api;
CREATE POLICY delivery_scrub ON payload_retention TO beaconpost_delivery USING (true) WITH CHECK (true);
GRANT SELECT, UPDATE (scrubbed_to, rescan_at) ON payload_retention TO beaconpost_delivery;
-- Delivery can empty payloads and write nothing else.
CREATE POLICY delivery_scrub ON webhook_events FOR UPDATE TO beaconpost_delivery USING (true) WITH CHECK (payload = '');
GRANT UPDATE (payload) ON webhook_events TO beaconpost_delivery;

-- +goose Down
REVOKE UPDATE (payload) ON webhook_events FROM beaconpost_delivery;
DROP POLICY delivery_scrub ON webhook_events;
DROP TABLE payload_retention;
