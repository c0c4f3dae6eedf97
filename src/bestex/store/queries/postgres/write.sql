-- What happens to orders in a batch. Rows come as one array per column.

-- name: known_keys
SELECT used.account, used.kind, used.key, used.order_id::text, used.request_hash
FROM unnest($1::text[], $2::text[], $3::text[]) AS wanted (account, kind, key)
JOIN idempotency_keys AS used
    ON used.account = wanted.account AND used.kind = wanted.kind AND used.key = wanted.key

-- name: lock_orders
-- Always in the order of the ids: two stores never wait for each other.
SELECT document, lease_owner, lease_until_ms, lease_epoch
FROM open_orders
WHERE id = ANY ($1::uuid[])
ORDER BY id
FOR UPDATE

-- name: attempts_of
SELECT state, slot, error, document
FROM attempts
WHERE order_id = ANY ($1::uuid[])
ORDER BY order_id, number

-- name: insert_keys
INSERT INTO idempotency_keys (account, kind, key, order_id, request_hash)
SELECT used.account, used.kind, used.key, used.order_id, used.request_hash
FROM unnest($1::text[], $2::text[], $3::text[], $4::uuid[], $5::text[])
    AS used (account, kind, key, order_id, request_hash)
ORDER BY used.account, used.kind, used.key

-- name: insert_orders
INSERT INTO open_orders (
    id, user_id, status, priority, seq, due_at_ms, created_at_ms, lease_epoch, document
)
SELECT *
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::smallint[], $5::integer[], $6::bigint[], $7::bigint[], $8::bigint[], $9::text[])

-- name: step_orders
UPDATE open_orders AS stored
SET
    status = step.status,
    seq = step.seq,
    due_at_ms = step.due_at_ms,
    document = step.document,
    lease_owner = CASE WHEN step.release THEN NULL ELSE stored.lease_owner END,
    lease_until_ms = CASE WHEN step.release THEN 0 ELSE stored.lease_until_ms END
FROM unnest($1::uuid[], $2::text[], $3::integer[], $4::bigint[], $5::text[], $6::boolean[])
    AS step (id, status, seq, due_at_ms, document, release)
WHERE stored.id = step.id

-- name: end_orders
WITH gone AS (DELETE FROM open_orders WHERE id = ANY ($1::uuid[]))
INSERT INTO ended_orders (id, user_id, status, document)
SELECT *
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[])

-- name: count_ended
INSERT INTO ended_counts (writer, status, orders)
SELECT $1::uuid, ended.status, ended.orders
FROM unnest($2::text[], $3::bigint[]) AS ended (status, orders)
ON CONFLICT (writer, status) DO UPDATE SET orders = ended_counts.orders + excluded.orders

-- name: insert_events
INSERT INTO order_events (order_id, seq, status, final, payload)
SELECT *
FROM unnest($1::uuid[], $2::integer[], $3::text[], $4::boolean[], $5::text[])

-- name: step_attempts
UPDATE attempts AS stored
SET state = step.state, slot = step.slot, error = step.error
FROM unnest($1::uuid[], $2::integer[], $3::text[], $4::bigint[], $5::text[])
    AS step (order_id, number, state, slot, error)
WHERE stored.order_id = step.order_id AND stored.number = step.number

-- name: insert_attempts
INSERT INTO attempts (order_id, number, state, slot, error, last_valid_block_height, signature, document)
SELECT *
FROM unnest($1::uuid[], $2::integer[], $3::text[], $4::bigint[], $5::text[], $6::bigint[], $7::text[], $8::text[])

-- name: beat
-- The last statement of each batch: it holds this row until the commit is over, either way.
INSERT INTO writers (id, batch) VALUES ($1, $2)
ON CONFLICT (id) DO UPDATE SET batch = excluded.batch, touched_at = now()

-- name: latest_batch
-- Waits for a commit that is still under way on a connection that we lost.
SELECT batch FROM writers WHERE id = $1 FOR UPDATE
