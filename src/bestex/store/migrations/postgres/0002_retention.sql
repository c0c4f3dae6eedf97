-- needs: 1
-- What is older than the retention time goes: the history order by order, its events a month at a time.

CREATE INDEX idempotency_keys_by_order ON idempotency_keys (order_id);

-- Drops the months that ended before that time and of which no order is left; one that stayed open keeps its month.
-- Does not wait for readers: a month that is being read goes the next time.
CREATE FUNCTION drop_event_partitions(before_ms bigint) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    name  text;
    first timestamp;
BEGIN
    FOR name IN
        SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
        WHERE inhparent = 'order_events'::regclass AND relname ~ '^order_events_[0-9]{4}_[0-9]{2}$'
        ORDER BY relname
    LOOP
        first := to_date(right(name, 7), 'YYYY_MM');
        CONTINUE WHEN first + interval '1 month' > to_timestamp(before_ms / 1000.0) AT TIME ZONE 'UTC';
        CONTINUE WHEN EXISTS (
            SELECT FROM open_orders WHERE id >= first_id_at(first) AND id < first_id_at(first + interval '1 month')
        ) OR EXISTS (
            SELECT FROM ended_orders WHERE id >= first_id_at(first) AND id < first_id_at(first + interval '1 month')
        );
        BEGIN
            SET LOCAL lock_timeout = '100ms';
            EXECUTE format('DROP TABLE %I', name);
            RETURN NEXT name;
        EXCEPTION WHEN lock_not_available THEN
            RAISE NOTICE '% is being read', name;
        END;
    END LOOP;
END
$$;
