-- The schema, and what belongs to the store as a whole.

-- name: lock_schema
-- Held by one process at a time, until it unlocks or its connection ends.
SELECT pg_advisory_lock(730636529111)

-- name: unlock_schema
SELECT pg_advisory_unlock(730636529111)

-- name: create_migrations
CREATE TABLE IF NOT EXISTS migrations (
    number   integer NOT NULL PRIMARY KEY,
    name     text    NOT NULL,
    checksum text    NOT NULL,
    needs    integer NOT NULL  -- the latest migration that a program must know to work with this one
)

-- name: applied_migrations
SELECT number, name, checksum, needs FROM migrations ORDER BY number

-- name: note_migration
INSERT INTO migrations (number, name, checksum, needs) VALUES ($1, $2, $3, $4)

-- name: create_partitions
SELECT create_event_partitions($1, $2)

-- name: remove_ended
-- $1 the time before which they were placed, $2 how many at most. Several processes share the work.
WITH old AS MATERIALIZED (
    SELECT id FROM ended_orders
    WHERE id < first_id_at(to_timestamp($1 / 1000.0) AT TIME ZONE 'UTC')
    ORDER BY id
    LIMIT $2
    FOR UPDATE SKIP LOCKED
),
gone AS (DELETE FROM ended_orders WHERE id IN (SELECT id FROM old) RETURNING id, status),
attempts_gone AS (DELETE FROM attempts WHERE order_id IN (SELECT id FROM old)),
keys_gone AS (DELETE FROM idempotency_keys WHERE order_id IN (SELECT id FROM old)),
events_gone AS (
    DELETE FROM order_events_other WHERE order_id IN (SELECT id FROM old)
),
counted AS (
    INSERT INTO ended_counts (writer, status, orders)
    SELECT '00000000-0000-0000-0000-000000000000', status, -count(*) FROM gone GROUP BY status
    ON CONFLICT (writer, status) DO UPDATE SET orders = ended_counts.orders + excluded.orders
)
SELECT count(*)::integer FROM gone

-- name: drop_partitions
SELECT dropped FROM drop_event_partitions($1) AS dropped

-- name: new_writer
INSERT INTO writers DEFAULT VALUES RETURNING id

-- name: forget_writers
DELETE FROM writers WHERE touched_at < now() - interval '7 days'

-- name: fold_counts
-- What writers have counted that are gone goes into one row a status.
WITH gone AS (
    DELETE FROM ended_counts
    WHERE writer <> '00000000-0000-0000-0000-000000000000'
        AND NOT EXISTS (SELECT FROM writers WHERE writers.id = ended_counts.writer)
    RETURNING status, orders
)
INSERT INTO ended_counts (writer, status, orders)
SELECT '00000000-0000-0000-0000-000000000000', status, sum(orders) FROM gone GROUP BY status
ON CONFLICT (writer, status) DO UPDATE SET orders = ended_counts.orders + excluded.orders
