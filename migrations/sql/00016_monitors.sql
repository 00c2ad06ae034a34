-- Monitors: what is watched, what was seen, what follows from it (services/monitor, docs/monitors.md).

-- +goose Up
CREATE TABLE monitors (
    tenant_id          uuid NOT NULL REFERENCES tenants (id),
    id                 uuid NOT NULL,
    project_id         uuid,
    name               text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    kind               text NOT NULL,
    spec               jsonb NOT NULL,    -- check.Spec without its secrets
    sealed_key_id      text,              -- which key of the ring sealed
    sealed             bytea,             -- the secrets of spec
    interval_ms        bigint NOT NULL CHECK (interval_ms >= 10000),
    timeout_ms         bigint NOT NULL CHECK (timeout_ms > 0 AND timeout_ms < interval_ms),
    degraded_ms        bigint CHECK (degraded_ms > 0),
    failure_threshold  integer NOT NULL CHECK (failure_threshold BETWEEN 1 AND 20),
    recovery_threshold integer NOT NULL CHECK (recovery_threshold BETWEEN 1 AND 20),
    confirm            boolean NOT NULL,
    paused             boolean NOT NULL,
    regions            text[] NOT NULL CHECK (cardinality(regions) BETWEEN 1 AND 20),
    tags               text[] NOT NULL DEFAULT '{}',
    slo_target         double precision CHECK (slo_target > 0 AND slo_target < 1),
    token              text UNIQUE CHECK (length(token) >= 32), -- of a heartbeat's URL
    version            bigint NOT NULL DEFAULT 1,
    created_at         timestamptz NOT NULL DEFAULT now(),
    updated_at         timestamptz NOT NULL DEFAULT now(),
    deleted_at         timestamptz,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, project_id) REFERENCES projects (tenant_id, id),
    CHECK ((sealed IS NULL) = (sealed_key_id IS NULL)),
    CHECK ((token IS NOT NULL) = (kind = 'heartbeat'))
);
-- Files that are applied know monitors by name.
CREATE UNIQUE INDEX monitors_name ON monitors (tenant_id, name) WHERE deleted_at IS NULL;
-- Schedules are brought up to date with what changed since the last look.
CREATE INDEX monitors_changed ON monitors (updated_at);

-- What follows from the checks of a monitor so far. One document: it is read and written whole, under a lock, by package verdict.
CREATE TABLE monitor_states (
    tenant_id   uuid NOT NULL,
    monitor_id  uuid NOT NULL,
    status      text NOT NULL DEFAULT 'unknown' CHECK (status IN ('up', 'degraded', 'down', 'maintenance', 'paused', 'unknown')),
    since       timestamptz NOT NULL DEFAULT now(),
    version     bigint NOT NULL DEFAULT 0, -- grows with every change of status
    state       jsonb NOT NULL,
    account     jsonb NOT NULL DEFAULT '{}', -- ledger.Account
    rules       bigint NOT NULL, -- version of the monitor that the state knows
    incident_id uuid,        -- the open one
    reported_at timestamptz, -- when a region said something last
    look_at     timestamptz, -- when time alone may change something; null: only a result can
    PRIMARY KEY (tenant_id, monitor_id)
) WITH (fillfactor = 60);
CREATE INDEX monitor_states_look ON monitor_states (look_at) WHERE look_at IS NOT NULL;

-- The ledger that uptime is read from: seconds in state, not samples.
CREATE TABLE monitor_intervals (
    tenant_id  uuid NOT NULL,
    monitor_id uuid NOT NULL,
    started_at timestamptz NOT NULL,
    ended_at   timestamptz CHECK (ended_at >= started_at), -- null: the present one
    status     text NOT NULL CHECK (status IN ('up', 'degraded', 'down', 'maintenance', 'paused', 'unknown')),
    cause      text,
    PRIMARY KEY (tenant_id, monitor_id, started_at)
);
CREATE UNIQUE INDEX monitor_intervals_one_present ON monitor_intervals (tenant_id, monitor_id) WHERE ended_at IS NULL;

CREATE TABLE incidents (
    tenant_id       uuid NOT NULL,
    id              uuid NOT NULL,
    monitor_id      uuid, -- null: made by hand, about no monitor
    project_id      uuid,
    manual          boolean NOT NULL DEFAULT false,
    title           text NOT NULL CHECK (length(title) BETWEEN 1 AND 300),
    severity        text NOT NULL DEFAULT 'critical' CHECK (severity IN ('critical', 'major', 'minor')),
    cause           text,
    detail          text,
    opened_at       timestamptz NOT NULL,
    acknowledged_at timestamptz,
    acknowledged_by text,
    resolved_at     timestamptz CHECK (resolved_at >= opened_at),
    untold          text[] NOT NULL DEFAULT '{}', -- events that follow from what was done by hand, and are still to be stored: the API may store none
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX incidents_untold ON incidents (tenant_id, id) WHERE untold <> '{}';
CREATE INDEX incidents_open ON incidents (tenant_id, id) WHERE resolved_at IS NULL;
CREATE INDEX incidents_by_monitor ON incidents (tenant_id, monitor_id, id);
-- Never two open incidents for one monitor.
CREATE UNIQUE INDEX incidents_one_open ON incidents (tenant_id, monitor_id) WHERE resolved_at IS NULL AND NOT manual;

CREATE TABLE incident_notes (
    tenant_id   uuid NOT NULL,
    id          uuid NOT NULL,
    incident_id uuid NOT NULL,
    author      text NOT NULL,
    text        text NOT NULL CHECK (length(text) BETWEEN 1 AND 10000),
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, incident_id) REFERENCES incidents (tenant_id, id)
);
CREATE INDEX incident_notes_by_incident ON incident_notes (tenant_id, incident_id, id);

CREATE TABLE maintenance_windows (
    tenant_id  uuid NOT NULL REFERENCES tenants (id),
    id         uuid NOT NULL,
    name       text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    monitors   uuid[] NOT NULL DEFAULT '{}', -- with tags both empty: all of the tenant
    tags       text[] NOT NULL DEFAULT '{}',
    spec       jsonb NOT NULL,               -- calendar.Window
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id)
);

CREATE TABLE alert_channels (
    tenant_id  uuid NOT NULL REFERENCES tenants (id),
    id         uuid NOT NULL,
    name       text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    kind       text NOT NULL CHECK (kind IN ('email')),
    spec       jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz,
    PRIMARY KEY (tenant_id, id)
);

CREATE TABLE alert_policies (
    tenant_id  uuid NOT NULL REFERENCES tenants (id),
    id         uuid NOT NULL,
    name       text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    spec       jsonb NOT NULL, -- alert.Policy
    created_at timestamptz NOT NULL DEFAULT now(),
    joined_at  timestamptz, -- when it had taken up the incidents that were open when it was made
    deleted_at timestamptz,
    PRIMARY KEY (tenant_id, id)
);

-- Those that are new take up incidents that are open.
CREATE INDEX alert_policies_new ON alert_policies (created_at) WHERE joined_at IS NULL AND deleted_at IS NULL;

-- How far a policy is with an incident: a row for both from the first moment on in which there are both, so that nothing has to be remembered elsewhere.
CREATE TABLE alert_progress (
    tenant_id   uuid NOT NULL,
    incident_id uuid NOT NULL,
    policy_id   uuid NOT NULL,
    progress    jsonb NOT NULL DEFAULT '{}',
    look_at     timestamptz, -- null: it is over
    PRIMARY KEY (tenant_id, incident_id, policy_id)
);
CREATE INDEX alert_progress_look ON alert_progress (look_at) WHERE look_at IS NOT NULL;

-- Messages to channels: written in the transaction that decides on them, sent afterwards, kept as the log of what was sent.
CREATE TABLE notifications (
    tenant_id    uuid NOT NULL,
    id           uuid NOT NULL,
    channel_id   uuid NOT NULL,
    policy_id    uuid NOT NULL,
    incident_id  uuid NOT NULL,
    kind         text NOT NULL CHECK (kind IN ('fire', 'escalate', 'remind', 'resolve')),
    due_at       timestamptz NOT NULL,
    group_ms     bigint NOT NULL,  -- it waits so long for others of its channel and kind, which become one message with it
    remaining    text[],           -- recipients that have not got it, after an attempt that reached some; null: all
    status       text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'sent', 'failed')),
    attempts     integer NOT NULL DEFAULT 0,
    batch        uuid,                 -- of those that are tried together: the first one's id
    next_at      timestamptz NOT NULL, -- not before this; of one that is being sent, until when it is somebody's
    sent_at      timestamptz,
    last_error   text,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX notifications_pending ON notifications (next_at) WHERE status = 'pending';
CREATE INDEX notifications_waiting ON notifications (tenant_id, channel_id, due_at, id) WHERE status = 'pending';
CREATE INDEX notifications_by_incident ON notifications (tenant_id, incident_id, id);

-- A check's id says monitor, region and slot (package calendar), so that a slot's result is stored once whoever made it and however often.
CREATE TABLE monitor_checks (
    tenant_id    uuid NOT NULL,
    id           uuid NOT NULL,
    monitor_id   uuid NOT NULL,
    slot         bigint NOT NULL,
    started_at   timestamptz NOT NULL,
    duration_us  bigint NOT NULL CHECK (duration_us >= 0),
    lag_us       bigint NOT NULL, -- from the slot's moment to the start
    resolve_us   bigint, connect_us bigint, tls_us bigint, processing_us bigint, transfer_us bigint,
    status_code  integer,
    confirmation smallint NOT NULL DEFAULT 0, -- 0: the slot's own check
    outcome      text NOT NULL CHECK (outcome IN ('up', 'degraded', 'down', 'not_checked')),
    cause        text,
    region       text NOT NULL,
    detail       text,
    ip           text,
    evidence     jsonb,
    PRIMARY KEY (tenant_id, id)
) PARTITION BY RANGE (id);
CREATE INDEX monitor_checks_by_monitor ON monitor_checks (tenant_id, monitor_id, id);
-- Who looks for what went wrong looks for a few among very many.
CREATE INDEX monitor_checks_not_up ON monitor_checks (tenant_id, monitor_id, id) WHERE outcome <> 'up';

-- Counts and histograms by five minutes, hour and day. A result adds to them in the transaction that stores it, so late ones count and duplicates do not.
-- Longer steps are made of shorter ones.
CREATE TABLE monitor_rollups (
    tenant_id   uuid NOT NULL,
    monitor_id  uuid NOT NULL,
    step        text NOT NULL CHECK (step IN ('5m', '1h', '1d')),
    bucket      timestamptz NOT NULL,
    region      text NOT NULL,
    up          integer NOT NULL DEFAULT 0,
    degraded    integer NOT NULL DEFAULT 0,
    down        integer NOT NULL DEFAULT 0,
    not_checked integer NOT NULL DEFAULT 0,
    late        integer NOT NULL DEFAULT 0, -- of those
    missed      integer NOT NULL DEFAULT 0,
    duration_us bigint NOT NULL DEFAULT 0,  -- sum over those that are up or degraded
    latency     bigint[] NOT NULL DEFAULT '{}', -- of these, by bucket of pkg/histogram
    lag         bigint[] NOT NULL DEFAULT '{}',
    PRIMARY KEY (tenant_id, monitor_id, step, bucket, region)
) PARTITION BY LIST (step);
CREATE TABLE monitor_rollups_5m PARTITION OF monitor_rollups FOR VALUES IN ('5m') PARTITION BY RANGE (bucket);
CREATE TABLE monitor_rollups_1h PARTITION OF monitor_rollups FOR VALUES IN ('1h') PARTITION BY RANGE (bucket);
CREATE TABLE monitor_rollups_1d PARTITION OF monitor_rollups FOR VALUES IN ('1d') WITH (fillfactor = 70);
CREATE AGGREGATE beaconpost_sum_counts (bigint[]) (sfunc = beaconpost_add_counts, stype = bigint[], initcond = '{}');

-- +goose StatementBegin
DO $$
DECLARE
    t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['monitors', 'monitor_states', 'monitor_intervals', 'incidents', 'incident_notes', 'maintenance_windows', 'alert_channels', 'alert_policies',
        'alert_progress', 'notifications', 'monitor_checks', 'monitor_rollups'] LOOP
        EXECUTE format($p$CREATE POLICY tenant_isolation ON %I TO beaconpost_api
            USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid)
            WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid)$p$, t);
        EXECUTE format('CREATE POLICY monitor_work ON %I TO beaconpost_monitor USING (true) WITH CHECK (true)', t);
    END LOOP;
    FOR t IN SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relrowsecurity AND relname ~ '^(monitor|incident|maintenance|alert|notification)' LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', t);
    END LOOP;
END
$$;
-- +goose StatementEnd

GRANT SELECT, INSERT, UPDATE ON monitors, monitor_states, monitor_intervals, incidents, alert_channels, alert_policies, alert_progress TO beaconpost_api;
GRANT SELECT, INSERT ON incident_notes TO beaconpost_api;
GRANT SELECT, INSERT, UPDATE, DELETE ON maintenance_windows TO beaconpost_api;
GRANT SELECT ON monitor_checks, monitor_rollups, notifications TO beaconpost_api;

GRANT UPDATE (sealed_key_id, sealed) ON monitors TO beaconpost_monitor; -- after a new key was put in front
GRANT SELECT ON monitors, maintenance_windows, alert_channels, alert_policies TO beaconpost_monitor;
GRANT SELECT, INSERT, UPDATE ON monitor_states, monitor_intervals, incidents, alert_progress, notifications, monitor_rollups TO beaconpost_monitor;
GRANT SELECT, INSERT ON monitor_checks, incident_notes TO beaconpost_monitor;
GRANT UPDATE (joined_at) ON alert_policies TO beaconpost_monitor;
GRANT DELETE ON monitor_intervals, incidents, incident_notes, alert_progress, notifications TO beaconpost_monitor; -- when they are old
CREATE POLICY monitor_read ON tenants FOR SELECT TO beaconpost_monitor USING (true);
GRANT SELECT (id) ON tenants TO beaconpost_monitor;

-- Transitions are events of the tenant.
CREATE POLICY monitor_read ON endpoints FOR SELECT TO beaconpost_monitor USING (true);
GRANT SELECT (tenant_id, id, project_id, event_types, status, breaker, deleted_at) ON endpoints TO beaconpost_monitor;
CREATE POLICY monitor_notify ON webhook_events FOR INSERT TO beaconpost_monitor
    WITH CHECK (event_type IN ('monitor.down', 'monitor.degraded', 'monitor.up', 'monitor.certificate_expiring', 'heartbeat.missed', 'incident.opened', 'incident.acknowledged', 'incident.resolved')
        AND tenant_id = ANY ((SELECT string_to_array(current_setting('app.tenant_ids', true), ',')::uuid[])::uuid[]));
GRANT INSERT (tenant_id, id, project_id, event_type, payload) ON webhook_events TO beaconpost_monitor;
CREATE POLICY monitor_notify ON deliveries FOR INSERT TO beaconpost_monitor
    WITH CHECK (tenant_id = ANY ((SELECT string_to_array(current_setting('app.tenant_ids', true), ',')::uuid[])::uuid[]));
-- The statement gives back what it inserted, and says of none that it is exhausted: both need the right to read.
CREATE POLICY monitor_notified ON deliveries FOR SELECT TO beaconpost_monitor
    USING (tenant_id = ANY ((SELECT string_to_array(current_setting('app.tenant_ids', true), ',')::uuid[])::uuid[]));
GRANT SELECT (tenant_id, id, status, completed_at, next_attempt_at), INSERT (tenant_id, id, event_id, endpoint_id, next_attempt_at) ON deliveries TO beaconpost_monitor;

DROP INDEX endpoints_operational;
CREATE INDEX endpoints_operational ON endpoints (tenant_id)
    WHERE event_types && ARRAY['endpoint.*', 'endpoint.failing', 'endpoint.disabled', 'endpoint.recovered', 'delivery.*', 'delivery.exhausted',
        'monitor.*', 'monitor.down', 'monitor.degraded', 'monitor.up', 'monitor.certificate_expiring', 'heartbeat.*', 'heartbeat.missed',
        'incident.*', 'incident.opened', 'incident.acknowledged', 'incident.resolved'];

-- beaconpost_ensure_monitor_partitions makes the partitions of checks and five-minute rollups of every day from first to last (UTC), and of hourly rollups of
-- their months, that are missing, and says how many it made.
-- +goose StatementBegin
CREATE FUNCTION beaconpost_ensure_monitor_partitions(first date, last date) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET lock_timeout = '5s' AS $$
DECLARE
    want record;
    made integer := 0;
BEGIN
    IF last - first > 400 THEN
        RAISE EXCEPTION 'asked for % days of partitions, expected at most 400', last - first;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('beaconpost_monitor_partitions'));
    FOR want IN
        SELECT 'monitor_checks' AS parent, format('monitor_checks_p%s', to_char(d, 'YYYYMMDD')) AS child,
            beaconpost_uuid_floor(d AT TIME ZONE 'UTC')::text AS low, beaconpost_uuid_floor((d + interval '1 day') AT TIME ZONE 'UTC')::text AS high
        FROM generate_series(first::timestamp, last::timestamp, interval '1 day') d
        UNION ALL
        SELECT 'monitor_rollups_5m', format('monitor_rollups_5m_p%s', to_char(d, 'YYYYMMDD')), (d AT TIME ZONE 'UTC')::text, ((d + interval '1 day') AT TIME ZONE 'UTC')::text
        FROM generate_series(first::timestamp, last::timestamp, interval '1 day') d
        UNION ALL
        SELECT 'monitor_rollups_1h', format('monitor_rollups_1h_p%s', to_char(m, 'YYYYMM')), (m AT TIME ZONE 'UTC')::text, ((m + interval '1 month') AT TIME ZONE 'UTC')::text
        FROM generate_series(date_trunc('month', first::timestamp), date_trunc('month', last::timestamp), interval '1 month') m
    LOOP
        CONTINUE WHEN to_regclass(want.child) IS NOT NULL;
        EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', want.child, want.parent);
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', want.child);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', want.child);
        IF want.parent = 'monitor_rollups_5m' THEN
            EXECUTE format('ALTER TABLE %I SET (fillfactor = 70)', want.child);
        END IF;
        EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', want.parent, want.child, want.low, want.high);
        made := made + 1;
    END LOOP;
    RETURN made;
END
$$;
-- +goose StatementEnd

-- beaconpost_drop_monitor_partitions drops checks and rollups of days (and months) before those given, and says how many partitions it dropped.
-- +goose StatementBegin
CREATE FUNCTION beaconpost_drop_monitor_partitions(checks_from date, fives_from date, hours_from date) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET lock_timeout = '5s' AS $$
DECLARE
    child   text;
    dropped integer := 0;
BEGIN
    IF greatest(checks_from, fives_from, hours_from) > (now() AT TIME ZONE 'UTC')::date THEN
        RAISE EXCEPTION 'asked to drop partitions up to %, expected days that have passed', greatest(checks_from, fives_from, hours_from);
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('beaconpost_monitor_partitions'));
    FOR child IN
        SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE (i.inhparent = 'monitor_checks'::regclass AND right(c.relname, 8) < to_char(checks_from, 'YYYYMMDD'))
           OR (i.inhparent = 'monitor_rollups_5m'::regclass AND right(c.relname, 8) < to_char(fives_from, 'YYYYMMDD'))
           OR (i.inhparent = 'monitor_rollups_1h'::regclass AND right(c.relname, 6) < to_char(hours_from, 'YYYYMM'))
    LOOP
        EXECUTE format('DROP TABLE %I', child);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END
$$;
-- +goose StatementEnd

-- beaconpost_monitor_partitions_ahead says for how many days after today checks can be stored; -1: not even today.
-- +goose StatementBegin
CREATE FUNCTION beaconpost_monitor_partitions_ahead() RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    ahead integer := -1;
    day   date := (now() AT TIME ZONE 'UTC')::date;
BEGIN
    WHILE to_regclass(format('monitor_checks_p%s', to_char(day, 'YYYYMMDD'))) IS NOT NULL
      AND to_regclass(format('monitor_rollups_5m_p%s', to_char(day, 'YYYYMMDD'))) IS NOT NULL
      AND to_regclass(format('monitor_rollups_1h_p%s', to_char(day, 'YYYYMM'))) IS NOT NULL LOOP
        ahead := ahead + 1;
        day := day + 1;
    END LOOP;
    RETURN ahead;
END
$$;
-- +goose StatementEnd

REVOKE EXECUTE ON FUNCTION beaconpost_ensure_monitor_partitions(date, date), beaconpost_drop_monitor_partitions(date, date, date), beaconpost_monitor_partitions_ahead() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION beaconpost_ensure_monitor_partitions(date, date), beaconpost_drop_monitor_partitions(date, date, date), beaconpost_monitor_partitions_ahead() TO beaconpost_monitor;

SELECT beaconpost_ensure_monitor_partitions((now() AT TIME ZONE 'UTC')::date - 1, (now() AT TIME ZONE 'UTC')::date + 7);

-- +goose Down
DROP AGGREGATE beaconpost_sum_counts (bigint[]);
DROP FUNCTION beaconpost_monitor_partitions_ahead();
DROP FUNCTION beaconpost_drop_monitor_partitions(date, date, date);
DROP FUNCTION beaconpost_ensure_monitor_partitions(date, date);
DROP INDEX endpoints_operational;
CREATE INDEX endpoints_operational ON endpoints (tenant_id)
    WHERE event_types && ARRAY['endpoint.*', 'endpoint.failing', 'endpoint.disabled', 'endpoint.recovered', 'delivery.*', 'delivery.exhausted'];
REVOKE SELECT (tenant_id, id, status, completed_at, next_attempt_at), INSERT (tenant_id, id, event_id, endpoint_id, next_attempt_at) ON deliveries FROM beaconpost_monitor;
DROP POLICY monitor_notified ON deliveries;
DROP POLICY monitor_notify ON deliveries;
REVOKE INSERT (tenant_id, id, project_id, event_type, payload) ON webhook_events FROM beaconpost_monitor;
DROP POLICY monitor_notify ON webhook_events;
REVOKE SELECT (tenant_id, id, project_id, event_types, status, breaker, deleted_at) ON endpoints FROM beaconpost_monitor;
DROP POLICY monitor_read ON endpoints;
REVOKE SELECT (id) ON tenants FROM beaconpost_monitor;
DROP POLICY monitor_read ON tenants;
DROP TABLE monitor_rollups, monitor_checks, notifications, alert_progress, alert_policies, alert_channels, maintenance_windows, incident_notes, incidents, monitor_intervals, monitor_states, monitors;
