-- The retry policy of a tenant, and of a project in it. What an endpoint leaves open its project says, then its tenant, then the installation.

-- +goose Up
CREATE TABLE retry_policies (
    tenant_id    uuid NOT NULL REFERENCES tenants (id),
    project_id   uuid NOT NULL, -- the tenant's own id: of the whole tenant
    max_attempts integer CHECK (max_attempts BETWEEN 1 AND 100),
    schedule_ms  bigint[],
    base_ms      bigint CHECK (base_ms > 0),
    cap_ms       bigint CHECK (cap_ms > 0),
    max_age_ms   bigint CHECK (max_age_ms > 0),
    updated_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, project_id)
);
ALTER TABLE retry_policies ENABLE ROW LEVEL SECURITY;
ALTER TABLE retry_policies FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON retry_policies TO beaconpost_api
    USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid)
    WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid);
GRANT SELECT, INSERT, UPDATE, DELETE ON retry_policies TO beaconpost_api;
CREATE POLICY delivery_read ON retry_policies FOR SELECT TO beaconpost_delivery USING (true);
GRANT SELECT ON retry_policies TO beaconpost_delivery;

-- Delivery keeps endpoints with their policies, by the endpoint's version.
-- +goose StatementBegin
CREATE FUNCTION beaconpost_touch_policy() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    changed retry_policies;
BEGIN
    changed := coalesce(NEW, OLD);
    UPDATE endpoints SET version = version
    WHERE tenant_id = changed.tenant_id AND (changed.project_id = changed.tenant_id OR project_id = changed.project_id) AND deleted_at IS NULL;
    RETURN NULL;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER retry_policies_touch AFTER INSERT OR UPDATE OR DELETE ON retry_policies FOR EACH ROW EXECUTE FUNCTION beaconpost_touch_policy();

-- +goose Down
DROP TABLE retry_policies;
DROP FUNCTION beaconpost_touch_policy();
