-- Versions that tell cached copies they are stale. Triggers, not callers, keep them: no statement can forget.

-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION beaconpost_touch_endpoint() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    NEW.version := OLD.version + 1;
    NEW.updated_at := now();
    RETURN NEW;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER endpoints_touch BEFORE UPDATE ON endpoints FOR EACH ROW EXECUTE FUNCTION beaconpost_touch_endpoint();

-- +goose StatementBegin
CREATE FUNCTION beaconpost_touch_routing() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    UPDATE tenants SET routing_version = routing_version + 1 WHERE id = NEW.tenant_id;
    RETURN NULL;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER endpoints_routing_insert AFTER INSERT ON endpoints FOR EACH ROW EXECUTE FUNCTION beaconpost_touch_routing();
CREATE TRIGGER endpoints_routing_update AFTER UPDATE ON endpoints FOR EACH ROW
    WHEN ((OLD.project_id, OLD.event_types, OLD.status, OLD.deleted_at) IS DISTINCT FROM (NEW.project_id, NEW.event_types, NEW.status, NEW.deleted_at))
    EXECUTE FUNCTION beaconpost_touch_routing();
CREATE TRIGGER projects_routing_insert AFTER INSERT ON projects FOR EACH ROW EXECUTE FUNCTION beaconpost_touch_routing();

-- +goose StatementBegin
CREATE FUNCTION beaconpost_touch_secret() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    UPDATE endpoints SET version = version WHERE tenant_id = NEW.tenant_id AND id = NEW.endpoint_id;
    RETURN NULL;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER endpoint_secrets_touch AFTER INSERT OR UPDATE OF expires_at ON endpoint_secrets FOR EACH ROW EXECUTE FUNCTION beaconpost_touch_secret();

-- +goose Down
DROP TRIGGER endpoint_secrets_touch ON endpoint_secrets;
DROP TRIGGER projects_routing_insert ON projects;
DROP TRIGGER endpoints_routing_update ON endpoints;
DROP TRIGGER endpoints_routing_insert ON endpoints;
DROP TRIGGER endpoints_touch ON endpoints;
DROP FUNCTION beaconpost_touch_secret();
DROP FUNCTION beaconpost_touch_routing();
DROP FUNCTION beaconpost_touch_endpoint();
