-- What happens to orders in a batch. Rows come as one array per column.

-- name: known_keys
SELECT used.account, used.kind, used.key, used.order_id::text, used.request_hash
FROM unnest($1::text[], $2::text[], $3::text[]) AS wanted (account, kind, key)
JOIN idempotency_keys AS used
    ON used.account = wanted.account AND used.kind = wanted.kind AND used.key = wanted.key

-- name: lock_orders
-- Always in the order of the ids: two stores never wait for each other.
SELECT id::text, seq, lease_epoch
FROM open_orders
WHERE id = ANY ($1::uuid[])
ORDER BY id
FOR UPDATE

-- name: attempts_of
SELECT order_id::text, number, state, signature
FROM attempts
WHERE order_id = ANY ($1::uuid[])

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
DELETE FROM open_orders WHERE id = ANY ($1::uuid[])

-- name: count_ended
INSERT INTO ended_counts (writer, status, orders)
SELECT $1::uuid, ended.status, ended.orders
FROM unnest($2::text[], $3::bigint[]) AS ended (status, orders)
ON CONFLICT (writer, status) DO UPDATE SET orders = ended_counts.orders + excluded.orders

-- name: step_attempts
UPDATE attempts AS stored
SET state = step.state, slot = step.slot, error = step.error
FROM unnest($1::uuid[], $2::integer[], $3::text[], $4::bigint[], $5::text[])
    AS step (order_id, number, state, slot, error)
WHERE stored.order_id = step.order_id AND stored.number = step.number

-- name: beat
-- The last statement of each batch: it holds this row until the commit is over, either way.
INSERT INTO writers (id, batch) VALUES ($1, $2)
ON CONFLICT (id) DO UPDATE SET batch = excluded.batch, touched_at = now()

-- name: latest_batch
-- Waits for a commit that is still under way on a connection that we lost. It writes: where standbys must confirm, this
-- comes back after they have what was committed before.
UPDATE writers SET touched_at = now() WHERE id = $1 RETURNING batch
