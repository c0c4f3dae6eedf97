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
