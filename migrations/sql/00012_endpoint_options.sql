-- What an endpoint may ask for beyond its URL: header fields of its own, the names of the signature's fields, a rate, keys for signatures that can be
-- verified without a secret.

-- +goose Up
ALTER TABLE endpoints
    ADD COLUMN headers           jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(headers) = 'object'),
    ADD COLUMN signature_headers text NOT NULL DEFAULT 'standard' CHECK (signature_headers IN ('standard', 'svix', 'both')),
    ADD COLUMN rate_per_second   double precision CHECK (rate_per_second > 0), -- null: no limit
    ADD COLUMN rate_burst        integer CHECK (rate_burst > 0),
    ADD CHECK ((rate_per_second IS NULL) = (rate_burst IS NULL));
ALTER TABLE endpoint_secrets ADD COLUMN public_key bytea CHECK (length(public_key) = 32); -- of an ed25519 key; null: a shared secret

-- Public keys are asked for by the endpoint alone.
CREATE INDEX endpoint_secrets_public ON endpoint_secrets (endpoint_id) WHERE public_key IS NOT NULL;

-- Deliveries that an endpoint with a rate may still be sent. A row is made when the first is taken.
CREATE TABLE endpoint_rates (
    tenant_id   uuid NOT NULL,
    endpoint_id uuid NOT NULL,
    tokens      double precision NOT NULL,
    updated_at  timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, endpoint_id)
) WITH (fillfactor = 50);
ALTER TABLE endpoint_rates ENABLE ROW LEVEL SECURITY;
ALTER TABLE endpoint_rates FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON endpoint_rates TO beaconpost_api
    USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid)
    WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid);
CREATE POLICY delivery_take ON endpoint_rates TO beaconpost_delivery USING (true) WITH CHECK (true);
GRANT SELECT ON endpoint_rates TO beaconpost_api;
GRANT SELECT, INSERT, UPDATE ON endpoint_rates TO beaconpost_delivery;

-- +goose Down
DROP TABLE endpoint_rates;
DROP INDEX endpoint_secrets_public;
ALTER TABLE endpoint_secrets DROP COLUMN public_key;
ALTER TABLE endpoints DROP COLUMN headers, DROP COLUMN signature_headers, DROP COLUMN rate_per_second, DROP COLUMN rate_burst;
