-- +goose Up

CREATE TABLE tenants (
    id              uuid PRIMARY KEY,
    name            text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    -- Grows with every change that may alter where the tenant's events go. A flush built with an older value inserts nothing.
    routing_version bigint NOT NULL DEFAULT 1,
    created_at      timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE projects (
    tenant_id  uuid NOT NULL REFERENCES tenants (id),
    id         uuid NOT NULL,
    name       text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, name)
);

CREATE TABLE api_keys (
    tenant_id  uuid NOT NULL REFERENCES tenants (id),
    id         uuid NOT NULL,
    name       text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    prefix     text NOT NULL,
    key_hash   bytea NOT NULL UNIQUE CHECK (length(key_hash) = 32),
    scopes     text[] NOT NULL CHECK (cardinality(scopes) > 0),
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    revoked_at timestamptz,
    PRIMARY KEY (tenant_id, id)
);

CREATE TABLE endpoints (
    tenant_id         uuid NOT NULL REFERENCES tenants (id),
    id                uuid NOT NULL,
    project_id        uuid,
    url               text NOT NULL CHECK (length(url) BETWEEN 1 AND 2048),
    description       text NOT NULL DEFAULT '' CHECK (length(description) <= 1000),
    event_types       text[] NOT NULL DEFAULT '{}', -- empty: every type
    status            text NOT NULL DEFAULT 'enabled' CHECK (status IN ('enabled', 'disabled')),
    timeout_ms        bigint CHECK (timeout_ms > 0),                     -- null: the installation's
    max_attempts      integer CHECK (max_attempts BETWEEN 1 AND 100),    -- null: the installation's
    retry_schedule_ms bigint[],                                          -- null: exponential
    retry_base_ms     bigint CHECK (retry_base_ms > 0),
    retry_cap_ms      bigint CHECK (retry_cap_ms > 0),
    version           bigint NOT NULL DEFAULT 1,
    created_at        timestamptz NOT NULL DEFAULT now(),
    updated_at        timestamptz NOT NULL DEFAULT now(),
    deleted_at        timestamptz,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, project_id) REFERENCES projects (tenant_id, id)
);

CREATE TABLE endpoint_secrets (
    tenant_id   uuid NOT NULL,
    id          uuid NOT NULL,
    endpoint_id uuid NOT NULL,
    key_id      text NOT NULL,  -- which key of the ring sealed it
    ciphertext  bytea NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    expires_at  timestamptz,    -- null: the current secret
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, endpoint_id) REFERENCES endpoints (tenant_id, id)
);
CREATE INDEX endpoint_secrets_by_endpoint ON endpoint_secrets (tenant_id, endpoint_id);
-- Two rotations at once cannot both leave a current secret.
CREATE UNIQUE INDEX endpoint_secrets_one_current ON endpoint_secrets (tenant_id, endpoint_id) WHERE expires_at IS NULL;

CREATE TABLE idempotency_keys (
    tenant_id  uuid NOT NULL,
    key        text NOT NULL CHECK (length(key) BETWEEN 1 AND 255),
    body_hash  bytea NOT NULL CHECK (length(body_hash) = 32),
    event_id   uuid NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, key)
);
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);

-- The broker's shard of a tenant; proto/subject says the same.
-- +goose StatementBegin
CREATE FUNCTION beaconpost_shard(tenant_id uuid) RETURNS integer LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT get_byte(uuid_send(tenant_id), 15) % 16
$$;
-- +goose StatementEnd

-- The time of an event, delivery or attempt is the millisecond in its UUIDv7: one index serves identity, listing by time and pruning.
CREATE TABLE webhook_events (
    tenant_id   uuid NOT NULL,
    id          uuid NOT NULL,
    project_id  uuid,
    endpoint_id uuid, -- set when the producer named one
    event_type  text NOT NULL,
    payload     bytea NOT NULL, -- as received: signatures depend on it
    PRIMARY KEY (tenant_id, id)
) PARTITION BY RANGE (id);

CREATE TABLE deliveries (
    tenant_id       uuid NOT NULL,
    id              uuid NOT NULL,
    event_id        uuid NOT NULL,
    endpoint_id     uuid NOT NULL,
    next_attempt_at timestamptz NOT NULL, -- infinity: parked
    claimed_until   timestamptz,          -- a worker that had to make sure holds the next attempt until then; not indexed: claiming is a HOT update
    completed_at    timestamptz,
    attempts        integer NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    last_status     integer,
    status          text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'delivered', 'exhausted', 'cancelled')),
    last_error      text,
    cancel_reason   text,
    traceparent     text, -- W3C trace context of the request that made the event
    PRIMARY KEY (tenant_id, id),
    CHECK ((status = 'pending') = (completed_at IS NULL)),
    CHECK ((status = 'cancelled') = (cancel_reason IS NOT NULL))
) PARTITION BY RANGE (id);
-- For the reconciler, which compares each shard with what the broker holds of it.
CREATE INDEX deliveries_pending ON deliveries (beaconpost_shard(tenant_id), next_attempt_at) WHERE status = 'pending';

CREATE TABLE delivery_attempts (
    tenant_id          uuid NOT NULL,
    id                 uuid NOT NULL,
    delivery_id        uuid NOT NULL,
    started_at         timestamptz NOT NULL,
    duration_us        bigint NOT NULL CHECK (duration_us >= 0),
    number             integer NOT NULL CHECK (number > 0),
    status_code        integer,  -- null: no answer
    error_class        text,     -- null: an answer was read to its end
    error_detail       text,
    response_excerpt   bytea,
    response_truncated boolean NOT NULL DEFAULT false,
    trace_id           text,
    PRIMARY KEY (tenant_id, id)
) PARTITION BY RANGE (id);
CREATE INDEX delivery_attempts_by_delivery ON delivery_attempts (tenant_id, delivery_id);

-- +goose Down
DROP TABLE delivery_attempts, deliveries, webhook_events, idempotency_keys, endpoint_secrets, endpoints, api_keys, projects, tenants;
DROP FUNCTION beaconpost_shard(uuid);
