-- What became of an endpoint's attempts and deliveries, by hour. Replicas add to it every few seconds.

-- +goose Up
CREATE TABLE endpoint_stats (
    tenant_id          uuid NOT NULL,
    endpoint_id        uuid NOT NULL,
    hour               timestamptz NOT NULL,
    attempts_succeeded bigint NOT NULL DEFAULT 0,
    attempts_failed    bigint NOT NULL DEFAULT 0,
    delivered          bigint NOT NULL DEFAULT 0,
    exhausted          bigint NOT NULL DEFAULT 0,
    attempt_counts     bigint[] NOT NULL, -- of the time of attempts that succeeded, by bucket of pkg/histogram
    latency_counts     bigint[] NOT NULL, -- of the time from an event's acceptance to its delivery
    PRIMARY KEY (tenant_id, endpoint_id, hour)
) WITH (fillfactor = 70);
CREATE INDEX endpoint_stats_hour ON endpoint_stats USING brin (hour);
ALTER TABLE endpoint_stats ENABLE ROW LEVEL SECURITY;
ALTER TABLE endpoint_stats FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON endpoint_stats TO beaconpost_api
    USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid)
    WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid);
GRANT SELECT ON endpoint_stats TO beaconpost_api;
CREATE POLICY delivery_count ON endpoint_stats TO beaconpost_delivery USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON endpoint_stats TO beaconpost_delivery;

-- beaconpost_add_counts adds two arrays, element by element.
-- +goose StatementBegin
CREATE FUNCTION beaconpost_add_counts(a bigint[], b bigint[]) RETURNS bigint[] LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT coalesce(array_agg(coalesce(x, 0) + coalesce(y, 0) ORDER BY n), '{}') FROM unnest(a, b) WITH ORDINALITY AS u (x, y, n)
$$;
-- +goose StatementEnd

-- +goose Down
DROP TABLE endpoint_stats;
DROP FUNCTION beaconpost_add_counts(bigint[], bigint[]);
