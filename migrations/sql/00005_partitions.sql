-- Partitions are days of the UUIDv7's millisecond. The functions run as the owner so that the delivery service can keep days
-- ahead and drop expired ones without being able to touch any other table.

-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION beaconpost_uuid_floor(at timestamptz) RETURNS uuid LANGUAGE sql IMMUTABLE STRICT AS $$
    SELECT (lpad(to_hex(floor(extract(epoch FROM at) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid
$$;
-- +goose StatementEnd

-- beaconpost_ensure_partitions makes the partitions of every day from first to last (UTC) that are missing and says how many it made.
-- +goose StatementBegin
CREATE FUNCTION beaconpost_ensure_partitions(first date, last date) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET lock_timeout = '5s' AS $$
DECLARE
    parent text;
    child  text;
    day    date;
    made   integer := 0;
BEGIN
    IF last - first > 400 THEN
        RAISE EXCEPTION 'asked for % days of partitions, expected at most 400', last - first;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('beaconpost_partitions'));
    FOREACH parent IN ARRAY ARRAY['webhook_events', 'deliveries', 'delivery_attempts'] LOOP
        FOR day IN SELECT generate_series(first, last, interval '1 day')::date LOOP
            child := format('%s_p%s', parent, to_char(day, 'YYYYMMDD'));
            CONTINUE WHEN to_regclass(child) IS NOT NULL;
            -- Attached, not created in place: attaching does not block inserts into the other days.
            EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', child, parent);
            EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', child);
            EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', child);
            EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent, child,
                beaconpost_uuid_floor(day::timestamp AT TIME ZONE 'UTC'),
                beaconpost_uuid_floor((day + 1)::timestamp AT TIME ZONE 'UTC'));
            made := made + 1;
        END LOOP;
    END LOOP;
    RETURN made;
END
$$;
-- +goose StatementEnd

-- beaconpost_drop_partitions drops the days before keep_from. A day on which a delivery is still pending keeps its deliveries and
-- events and attempts. It has to lock to be sure of that, which waits for every query that runs: days in kept are left alone without it.
-- +goose StatementBegin
CREATE FUNCTION beaconpost_drop_partitions(keep_from date, kept date[] DEFAULT '{}') RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET lock_timeout = '5s' AS $$
DECLARE
    suffix  text;
    pending boolean;
    dropped integer := 0;
BEGIN
    IF keep_from > (now() AT TIME ZONE 'UTC')::date THEN
        RAISE EXCEPTION 'asked to drop partitions up to %, expected a day that has passed', keep_from;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('beaconpost_partitions'));
    FOR suffix IN
        SELECT right(c.relname, 8) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'deliveries'::regclass AND right(c.relname, 8) < to_char(keep_from, 'YYYYMMDD') ORDER BY 1
    LOOP
        CONTINUE WHEN to_date(suffix, 'YYYYMMDD') = ANY (kept);
        -- Without the lock a retry by hand could make a delivery pending between the look and the drop. Queries lock a table before its
        -- partitions, and writers deliveries last: any other order would make deadlocks of them.
        LOCK TABLE ONLY delivery_attempts, ONLY webhook_events, ONLY deliveries IN ACCESS EXCLUSIVE MODE;
        EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', 'deliveries_p' || suffix);
        -- The table itself has no policy that shows rows to anybody; row_security off makes the owner's look complete or fail.
        EXECUTE format('ALTER TABLE %I NO FORCE ROW LEVEL SECURITY', 'deliveries_p' || suffix);
        EXECUTE format('SELECT EXISTS (SELECT FROM %I WHERE status = ''pending'')', 'deliveries_p' || suffix) INTO pending;
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', 'deliveries_p' || suffix);
        CONTINUE WHEN pending;
        EXECUTE format('DROP TABLE %I', 'deliveries_p' || suffix);
        EXECUTE format('DROP TABLE IF EXISTS %I, %I', 'webhook_events_p' || suffix, 'delivery_attempts_p' || suffix);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END
$$;
-- +goose StatementEnd

-- beaconpost_partitions_ahead says for how many days after today every partitioned table is prepared; -1: not even today.
-- +goose StatementBegin
CREATE FUNCTION beaconpost_partitions_ahead() RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    ahead integer := -1;
    day   date := (now() AT TIME ZONE 'UTC')::date;
BEGIN
    WHILE to_regclass(format('webhook_events_p%s', to_char(day, 'YYYYMMDD'))) IS NOT NULL
      AND to_regclass(format('deliveries_p%s', to_char(day, 'YYYYMMDD'))) IS NOT NULL
      AND to_regclass(format('delivery_attempts_p%s', to_char(day, 'YYYYMMDD'))) IS NOT NULL LOOP
        ahead := ahead + 1;
        day := day + 1;
    END LOOP;
    RETURN ahead;
END
$$;
-- +goose StatementEnd

REVOKE EXECUTE ON FUNCTION beaconpost_ensure_partitions(date, date), beaconpost_drop_partitions(date, date[]), beaconpost_partitions_ahead() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION beaconpost_ensure_partitions(date, date), beaconpost_drop_partitions(date, date[]), beaconpost_partitions_ahead() TO beaconpost_delivery;
GRANT EXECUTE ON FUNCTION beaconpost_partitions_ahead() TO beaconpost_ingest;

-- Yesterday too: clocks differ, and an id may be a moment older than its insert.
SELECT beaconpost_ensure_partitions((now() AT TIME ZONE 'UTC')::date - 1, (now() AT TIME ZONE 'UTC')::date + 7);

-- +goose Down
DROP FUNCTION beaconpost_partitions_ahead();
DROP FUNCTION beaconpost_drop_partitions(date, date[]);
DROP FUNCTION beaconpost_ensure_partitions(date, date);
DROP FUNCTION beaconpost_uuid_floor(timestamptz);
