-- Leases on open orders, and the rate limit. Claims are functions of the schema.

-- name: claimed
-- $1 writer, $2 worker, $3 lease until, $4 lanes. What the writer's latest batch has claimed, to a claim whose answer was
-- lost; rows that have changed since are not ours to begin.
SELECT stored.document, stored.lease_epoch, latest.state, latest.slot, latest.error, latest.document AS attempt
FROM open_orders AS stored
LEFT JOIN LATERAL (
    SELECT state, slot, error, document FROM attempts WHERE order_id = stored.id ORDER BY number DESC LIMIT 1
) AS latest ON true
WHERE stored.xmin = (SELECT batch_xid::xid FROM writers WHERE id = $1)
    AND stored.lease_owner = $2 AND stored.lease_until_ms = $3 AND stored.lane = ANY ($4::smallint[])
ORDER BY stored.lane, stored.priority DESC, stored.id

-- name: prune_starts
DELETE FROM starts WHERE at_ms <= $1

-- name: release_workers
UPDATE open_orders AS stored
SET lease_owner = NULL, lease_until_ms = 0
FROM (SELECT id FROM open_orders WHERE lease_owner = ANY ($1::text[]) ORDER BY id FOR UPDATE) AS held
WHERE stored.id = held.id
