-- What tenants used, by hour (docs/adr/0015-usage.md). Rows carry the database's clock of the moment they were stored: what an hour holds does not depend on
-- anybody else's clock, nor on how late a result is stored.

-- +goose Up
-- In the order in which processes that go on lock them: a record of attempts, or of checks, stores notices last.
LOCK TABLE delivery_attempts, monitor_checks, webhook_events IN ACCESS EXCLUSIVE MODE;
ALTER TABLE webhook_events
    ADD COLUMN recorded_at    timestamptz,
    ADD COLUMN fanout         integer, -- deliveries that were stored with it; null: it was stored by a process that did not say
    ADD COLUMN scrubbed_bytes integer; -- of the payload that was there
GRANT INSERT (fanout) ON webhook_events TO beaconpost_ingest, beaconpost_delivery, beaconpost_monitor;
ALTER TABLE delivery_attempts ADD COLUMN recorded_at timestamptz, ADD COLUMN exhausted boolean;   -- true: the delivery's last one, and it failed
ALTER TABLE monitor_checks ADD COLUMN recorded_at timestamptz;
-- Apart from the columns: rows that are there were not stored now. The transaction has its number first: whoever stores a row may then wait for its partition for long.
ALTER TABLE webhook_events ALTER COLUMN recorded_at SET DEFAULT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END;
ALTER TABLE delivery_attempts ALTER COLUMN recorded_at SET DEFAULT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END;
ALTER TABLE monitor_checks ALTER COLUMN recorded_at SET DEFAULT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END;
-- Stored in its order: a few bytes for each megabyte find all rows of some minutes, and an insert hardly notices.
CREATE INDEX webhook_events_recorded ON webhook_events USING brin (recorded_at) WITH (pages_per_range = 64);
CREATE INDEX delivery_attempts_recorded ON delivery_attempts USING brin (recorded_at) WITH (pages_per_range = 64);
CREATE INDEX monitor_checks_recorded ON monitor_checks USING brin (recorded_at) WITH (pages_per_range = 64);
CREATE INDEX notifications_sent ON notifications (sent_at) WHERE sent_at IS NOT NULL;

-- Whoever empties a payload, its size stays known: it is counted later.
-- +goose StatementBegin
CREATE FUNCTION beaconpost_keep_size() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    NEW.scrubbed_bytes := octet_length(OLD.payload);
    RETURN NEW;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER webhook_events_scrubbed BEFORE UPDATE OF payload ON webhook_events FOR EACH ROW WHEN (NEW.payload = '' AND OLD.payload <> '')
    EXECUTE FUNCTION beaconpost_keep_size();

CREATE TABLE tenant_usage (
    tenant_id   uuid NOT NULL,
    hour        timestamptz NOT NULL,
    events      bigint NOT NULL DEFAULT 0, -- accepted from producers
    event_bytes bigint NOT NULL DEFAULT 0, -- of their payloads
    notices     bigint NOT NULL DEFAULT 0, -- events that Beaconpost made itself
    deliveries  bigint NOT NULL DEFAULT 0, -- made, of both
    attempts    bigint NOT NULL DEFAULT 0,
    delivered   bigint NOT NULL DEFAULT 0,
    exhausted   bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant_id, hour)
) WITH (fillfactor = 70);
CREATE TABLE monitor_usage (
    tenant_id     uuid NOT NULL,
    hour          timestamptz NOT NULL,
    checks        bigint NOT NULL DEFAULT 0, -- made, confirmations and heartbeats' calls among them
    notifications bigint NOT NULL DEFAULT 0, -- sent
    PRIMARY KEY (tenant_id, hour)
) WITH (fillfactor = 70);
-- For "all tenants in these hours", and for dropping old ones.
CREATE INDEX tenant_usage_hour ON tenant_usage USING brin (hour) WITH (pages_per_range = 16, autosummarize = on);
CREATE INDEX monitor_usage_hour ON monitor_usage USING brin (hour) WITH (pages_per_range = 16, autosummarize = on);

-- How far counting is, of each service that counts. It is nobody's: of no tenant.
CREATE TABLE usage_progress (
    part          text PRIMARY KEY CHECK (part IN ('delivery', 'monitor')),
    counted_from  timestamptz NOT NULL,
    counted_until timestamptz NOT NULL,
    sealed_at     timestamptz, -- what was stored by then is in transactions before sealed_xid, but for the last moments (package usage)
    sealed_xid    xid8,
    CHECK ((sealed_at IS NULL) = (sealed_xid IS NULL))
) WITH (fillfactor = 50);
INSERT INTO usage_progress (part, counted_from, counted_until)
SELECT part, now(), date_trunc('hour', now(), 'UTC') FROM unnest(ARRAY['delivery', 'monitor']) AS p (part);

-- +goose StatementBegin
DO $$
DECLARE
    t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['tenant_usage', 'monitor_usage'] LOOP
        EXECUTE format($p$CREATE POLICY tenant_isolation ON %I TO beaconpost_api
            USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid)
            WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid)$p$, t);
        EXECUTE format('CREATE POLICY ingest_operate ON %I FOR SELECT TO beaconpost_ingest USING (true)', t);
    END LOOP;
    FOREACH t IN ARRAY ARRAY['tenant_usage', 'monitor_usage', 'usage_progress'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', t);
        EXECUTE format('GRANT SELECT ON %I TO beaconpost_api, beaconpost_ingest', t);
    END LOOP;
END
$$;
-- +goose StatementEnd
CREATE POLICY tenant_read ON usage_progress FOR SELECT TO beaconpost_api USING (nullif(current_setting('app.tenant_id', true), '')::uuid IS NOT NULL);
CREATE POLICY ingest_operate ON usage_progress FOR SELECT TO beaconpost_ingest USING (true);
CREATE POLICY delivery_count ON usage_progress TO beaconpost_delivery USING (part = 'delivery') WITH CHECK (part = 'delivery');
CREATE POLICY monitor_count ON usage_progress TO beaconpost_monitor USING (part = 'monitor') WITH CHECK (part = 'monitor');
GRANT SELECT, UPDATE (counted_until, sealed_at, sealed_xid) ON usage_progress TO beaconpost_delivery, beaconpost_monitor;

CREATE POLICY delivery_count ON tenant_usage TO beaconpost_delivery USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON tenant_usage TO beaconpost_delivery;
CREATE POLICY delivery_count ON delivery_attempts FOR SELECT TO beaconpost_delivery USING (true);
GRANT SELECT (tenant_id, id, status_code, error_class, recorded_at, exhausted) ON delivery_attempts TO beaconpost_delivery;
CREATE POLICY monitor_count ON monitor_usage TO beaconpost_monitor USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON monitor_usage TO beaconpost_monitor;

-- beaconpost_summarize_recorded brings the indexes of recorded_at up to date for today's and yesterday's partitions of a table, and says how many ranges were new. Without it
-- counting is as right, and reads more. It does not wait: a vacuum that works on the partition does the same, and would be cancelled for who waits longer.
-- +goose StatementBegin
CREATE FUNCTION beaconpost_summarize_recorded(parent text) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET lock_timeout = '100ms' AS $$
DECLARE
    child regclass;
    made  integer := 0;
BEGIN
    IF parent NOT IN ('webhook_events', 'delivery_attempts', 'monitor_checks') THEN
        RAISE EXCEPTION 'asked for table %, which has no such index', parent;
    END IF;
    FOR child IN
        SELECT x.indexrelid FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_index x ON x.indrelid = c.oid
        JOIN pg_class xc ON xc.oid = x.indexrelid JOIN pg_am a ON a.oid = xc.relam AND a.amname = 'brin'
        WHERE i.inhparent = parent::regclass
            AND right(c.relname, 8) IN (to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD'), to_char(now() AT TIME ZONE 'UTC' - interval '1 day', 'YYYYMMDD'))
    LOOP
        BEGIN
            made := made + brin_summarize_new_values(child);
        EXCEPTION WHEN lock_not_available THEN
            NULL;
        END;
    END LOOP;
    RETURN made;
END
$$;
-- +goose StatementEnd
REVOKE EXECUTE ON FUNCTION beaconpost_summarize_recorded(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION beaconpost_summarize_recorded(text) TO beaconpost_delivery, beaconpost_monitor;

-- +goose Down
DROP FUNCTION beaconpost_summarize_recorded(text);
REVOKE SELECT (tenant_id, id, status_code, error_class, recorded_at, exhausted) ON delivery_attempts FROM beaconpost_delivery;
DROP POLICY delivery_count ON delivery_attempts;
DROP TABLE usage_progress, monitor_usage, tenant_usage;
DROP TRIGGER webhook_events_scrubbed ON webhook_events;
DROP FUNCTION beaconpost_keep_size();
DROP INDEX notifications_sent, monitor_checks_recorded, delivery_attempts_recorded, webhook_events_recorded;
ALTER TABLE monitor_checks DROP COLUMN recorded_at;
ALTER TABLE delivery_attempts DROP COLUMN recorded_at, DROP COLUMN exhausted;
ALTER TABLE webhook_events DROP COLUMN recorded_at, DROP COLUMN fanout, DROP COLUMN scrubbed_bytes;
