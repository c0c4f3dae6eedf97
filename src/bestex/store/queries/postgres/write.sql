-- What a batch is judged by when something is not stored as it takes it to be, and whether it was committed. What it
-- does are functions of the schema.

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

-- name: settle
-- $1 writer, $2 batch. Whether the batch was committed; if not, it never will be. Waits for a commit that is still under
-- way on a connection that we lost. It writes: where standbys must confirm, this comes back after they have what was
-- committed before.
INSERT INTO writers (id, batch) VALUES ($1, $2::bigint + 1)
ON CONFLICT (id) DO UPDATE SET
    batch = CASE WHEN writers.batch = $2 THEN writers.batch ELSE $2 + 1 END,
    touched_at = now()
RETURNING batch = $2 AS committed
