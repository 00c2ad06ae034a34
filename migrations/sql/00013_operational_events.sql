-- Events about a tenant's own endpoints and deliveries, made by delivery in the transaction that changes these, for endpoints that subscribe to them by name.

-- +goose Up
ALTER TABLE endpoint_health ADD COLUMN announced_at timestamptz; -- endpoint.failing was sent, endpoint.recovered not yet

-- Who subscribes is asked with every delivery that is exhausted.
CREATE INDEX endpoints_operational ON endpoints (tenant_id)
    WHERE event_types && ARRAY['endpoint.*', 'endpoint.failing', 'endpoint.disabled', 'endpoint.recovered', 'delivery.*', 'delivery.exhausted'];

CREATE POLICY delivery_notify ON webhook_events FOR INSERT TO beaconpost_delivery
    WITH CHECK (event_type IN ('endpoint.failing', 'endpoint.disabled', 'endpoint.recovered', 'delivery.exhausted')
        AND tenant_id = ANY ((SELECT string_to_array(current_setting('app.tenant_ids', true), ',')::uuid[])::uuid[]));
GRANT INSERT (tenant_id, id, project_id, event_type, payload) ON webhook_events TO beaconpost_delivery;
CREATE POLICY delivery_notify ON deliveries FOR INSERT TO beaconpost_delivery
    WITH CHECK (tenant_id = ANY ((SELECT string_to_array(current_setting('app.tenant_ids', true), ',')::uuid[])::uuid[]));
GRANT INSERT (tenant_id, id, event_id, endpoint_id, next_attempt_at) ON deliveries TO beaconpost_delivery;

-- +goose Down
REVOKE INSERT (tenant_id, id, event_id, endpoint_id, next_attempt_at) ON deliveries FROM beaconpost_delivery;
DROP POLICY delivery_notify ON deliveries;
REVOKE INSERT (tenant_id, id, project_id, event_type, payload) ON webhook_events FROM beaconpost_delivery;
DROP POLICY delivery_notify ON webhook_events;
DROP INDEX endpoints_operational;
ALTER TABLE endpoint_health DROP COLUMN announced_at;
