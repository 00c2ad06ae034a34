-- Roles are per cluster, not per database: a second database of the same cluster finds them there.
-- None owns a table, none has BYPASSRLS, none inherits: a transaction takes one with SET LOCAL ROLE.

-- +goose Up
-- +goose StatementBegin
DO $$
DECLARE
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['beaconpost_api', 'beaconpost_ingest', 'beaconpost_delivery', 'beaconpost_monitor'] LOOP
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN NOINHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS', role_name);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL; -- made by another database of this cluster
        END;
        -- The migrating user may serve as the services' login too (one URL for everything). Since Postgres 16 who makes a role is a member
        -- that cannot take it.
        IF NOT pg_has_role(current_user, role_name, CASE WHEN current_setting('server_version_num')::integer >= 160000 THEN 'SET' ELSE 'MEMBER' END) THEN
            EXECUTE format('GRANT %I TO CURRENT_USER', role_name);
        END IF;
    END LOOP;
END
$$;
-- +goose StatementEnd

REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO beaconpost_api, beaconpost_ingest, beaconpost_delivery, beaconpost_monitor;

-- +goose Down
REVOKE USAGE ON SCHEMA public FROM beaconpost_api, beaconpost_ingest, beaconpost_delivery, beaconpost_monitor;
