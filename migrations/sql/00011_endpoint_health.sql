-- Health of endpoints in trouble (docs/adr/0012-endpoint-health.md). What ingest and admission have to know of it stands in the endpoint's row, so that
-- the versions that keep their caches honest cover it.

-- +goose Up
ALTER TABLE endpoints
    ADD COLUMN breaker text NOT NULL DEFAULT 'closed' CHECK (breaker IN ('closed', 'open', 'draining')),
    ADD COLUMN disabled_at timestamptz,
    ADD COLUMN disabled_reason text CHECK (disabled_reason IN ('requested', 'gone', 'failing'));
UPDATE endpoints SET disabled_at = updated_at, disabled_reason = 'requested' WHERE status = 'disabled';

CREATE TABLE endpoint_health (
    tenant_id      uuid NOT NULL,
    endpoint_id    uuid NOT NULL,
    state          text NOT NULL CHECK (state IN ('failing', 'open', 'draining', 'closed')),
    reason         text CHECK (reason IN ('failures', 'retry_after', 'gone', 'disabled', 'backlog', 'enabled', 'recover', 'adopted')),
    since          timestamptz NOT NULL DEFAULT now(), -- of state
    -- What attempts showed.
    failures       integer NOT NULL DEFAULT 0 CHECK (failures >= 0), -- since the last success
    failing_since  timestamptz,
    last_failed_at timestamptz,
    last_status    integer,
    last_class     text,
    succeeded_at   timestamptz,
    not_before     timestamptz, -- by Retry-After
    gone_at        timestamptz, -- by 410
    -- What is done about it.
    probes         integer NOT NULL DEFAULT 0 CHECK (probes >= 0), -- since the breaker opened
    probed_at      timestamptz,                                    -- the last of them
    probe_at       timestamptz,                                    -- the next one
    drain_rate     integer NOT NULL DEFAULT 0 CHECK (drain_rate >= 0),
    warned_at      timestamptz, -- of being disabled
    recover_from   uuid,        -- exhausted deliveries from here on become pending again, when there is nothing else to drain
    recover_until  uuid,        -- and before this
    recovered      bigint NOT NULL DEFAULT 0,
    look_at        timestamptz NOT NULL, -- when it has to be looked at again
    lease_by       uuid,        -- the replica that drains it
    lease_until    timestamptz,
    PRIMARY KEY (tenant_id, endpoint_id),
    CHECK ((recover_from IS NULL) = (recover_until IS NULL))
) WITH (fillfactor = 50);
CREATE INDEX endpoint_health_look ON endpoint_health (look_at);

ALTER TABLE endpoint_health ENABLE ROW LEVEL SECURITY;
ALTER TABLE endpoint_health FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON endpoint_health TO beaconpost_api
    USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid)
    WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid);
-- Enabling an endpoint asks for a drain; everything else is the delivery service's.
GRANT SELECT, INSERT, UPDATE ON endpoint_health TO beaconpost_api;
CREATE POLICY delivery_keep ON endpoint_health TO beaconpost_delivery USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON endpoint_health TO beaconpost_delivery;
GRANT UPDATE (breaker, status, disabled_at, disabled_reason) ON endpoints TO beaconpost_delivery;
-- Ingest has to hear of it: the trigger on endpoints runs as whoever updates them.
CREATE POLICY delivery_read ON tenants FOR SELECT TO beaconpost_delivery USING (true);
CREATE POLICY delivery_route ON tenants FOR UPDATE TO beaconpost_delivery USING (true) WITH CHECK (true);
GRANT SELECT (id, routing_version), UPDATE (routing_version) ON tenants TO beaconpost_delivery;

-- Breakers may change by the thousand. Whatever ingest has not heard of yet is mended: admission parks what it stores as due, and the record of a breaker that
-- closed stays until ingest has heard of it.
ALTER TABLE tenants ADD COLUMN parking_at timestamptz NOT NULL DEFAULT '-infinity'; -- when a breaker changed routing_version last
GRANT UPDATE (parking_at) ON tenants TO beaconpost_api;
GRANT SELECT (parking_at), UPDATE (parking_at) ON tenants TO beaconpost_delivery;
-- +goose StatementBegin
CREATE FUNCTION beaconpost_touch_parking() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    UPDATE tenants SET routing_version = routing_version + 1, parking_at = now() WHERE id = NEW.tenant_id AND parking_at < now() - interval '1 second';
    RETURN NULL;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER endpoints_parking_update AFTER UPDATE ON endpoints FOR EACH ROW WHEN (OLD.breaker <> NEW.breaker) EXECUTE FUNCTION beaconpost_touch_parking();

-- What is parked, by age: deliveries that run never enter it.
CREATE INDEX deliveries_parked ON deliveries (tenant_id, endpoint_id, id) WHERE status = 'pending' AND next_attempt_at = 'infinity';
-- What can be recovered.
CREATE INDEX deliveries_exhausted ON deliveries (tenant_id, endpoint_id, id) WHERE status = 'exhausted';

-- +goose Down
DROP INDEX deliveries_exhausted;
DROP INDEX deliveries_parked;
DROP TRIGGER endpoints_parking_update ON endpoints;
DROP FUNCTION beaconpost_touch_parking();
ALTER TABLE tenants DROP COLUMN parking_at;
REVOKE SELECT (id, routing_version), UPDATE (routing_version) ON tenants FROM beaconpost_delivery;
DROP POLICY delivery_route ON tenants;
DROP POLICY delivery_read ON tenants;
REVOKE UPDATE (breaker, status, disabled_at, disabled_reason) ON endpoints FROM beaconpost_delivery;
DROP TABLE endpoint_health;
ALTER TABLE endpoints DROP COLUMN breaker, DROP COLUMN disabled_at, DROP COLUMN disabled_reason;
