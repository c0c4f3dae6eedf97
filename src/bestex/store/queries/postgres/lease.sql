-- Leases on open orders, and the rate limit.

-- name: lock_starts
-- One claim at a time counts against the limit, in the whole deployment. A statement of its own: what follows must see
-- what the one before us has committed.
SELECT pg_advisory_xact_lock(730636529112)

-- name: claim
-- $1 worker, $2 limit, $3 now, $4 lease until, $5 the rate's count or NULL, $6 start of its window
WITH begun AS MATERIALIZED (
    SELECT id FROM open_orders
    WHERE lane = 0 AND due_at_ms <= $3 AND lease_until_ms <= $3
    ORDER BY priority DESC, id
    LIMIT $2::bigint
    FOR UPDATE SKIP LOCKED
),
room AS MATERIALIZED (
    SELECT least(
        $2::bigint - (SELECT count(*) FROM begun),
        $5::bigint - (SELECT coalesce(sum(orders), 0) FROM starts WHERE at_ms > $6)
    ) AS orders
),
fresh AS MATERIALIZED (
    SELECT id FROM open_orders
    WHERE lane = 1 AND due_at_ms <= $3 AND lease_until_ms <= $3
    ORDER BY priority DESC, id
    LIMIT (SELECT greatest(orders, 0) FROM room)
    FOR UPDATE SKIP LOCKED
),
begin_count AS (
    -- When a clock is behind, its starts count as of the latest time seen: the limit holds.
    INSERT INTO starts (at_ms, orders)
    SELECT greatest($3::bigint, CASE WHEN $5::bigint IS NOT NULL THEN (SELECT max(at_ms) FROM starts) END), count(*)
    FROM fresh
    HAVING count(*) > 0
),
leased AS (
    UPDATE open_orders AS stored
    SET lease_owner = $1, lease_until_ms = $4, lease_epoch = stored.lease_epoch + 1
    FROM (SELECT id FROM begun UNION ALL SELECT id FROM fresh) AS taken
    WHERE stored.id = taken.id
    RETURNING stored.id, stored.lane, stored.priority, stored.document, stored.lease_epoch
)
SELECT leased.document, leased.lease_epoch, latest.state, latest.slot, latest.error, latest.document AS attempt
FROM leased
LEFT JOIN LATERAL (
    SELECT state, slot, error, document FROM attempts WHERE order_id = leased.id ORDER BY number DESC LIMIT 1
) AS latest ON true
ORDER BY leased.lane, leased.priority DESC, leased.id

-- name: claim_unfinal
-- $1 worker, $2 limit, $3 now, $4 lease until
WITH unfinal AS MATERIALIZED (
    SELECT id FROM open_orders
    WHERE lane = 2 AND due_at_ms <= $3 AND lease_until_ms <= $3
    ORDER BY priority DESC, id
    LIMIT $2::bigint
    FOR UPDATE SKIP LOCKED
),
leased AS (
    UPDATE open_orders AS stored
    SET lease_owner = $1, lease_until_ms = $4, lease_epoch = stored.lease_epoch + 1
    FROM unfinal
    WHERE stored.id = unfinal.id
    RETURNING stored.id, stored.priority, stored.document, stored.lease_epoch
)
SELECT leased.document, leased.lease_epoch, latest.state, latest.slot, latest.error, latest.document AS attempt
FROM leased
LEFT JOIN LATERAL (
    SELECT state, slot, error, document FROM attempts WHERE order_id = leased.id ORDER BY number DESC LIMIT 1
) AS latest ON true
ORDER BY leased.priority DESC, leased.id

-- name: next_due
-- $1 lane, $2 now. Looks at all of the lane only if none can be claimed now.
SELECT CASE
    WHEN EXISTS (SELECT FROM open_orders WHERE lane = $1 AND due_at_ms <= $2 AND lease_until_ms <= $2) THEN $2::bigint
    ELSE (SELECT min(greatest(due_at_ms, lease_until_ms)) FROM open_orders WHERE lane = $1)
END

-- name: reopens
-- $1 the rate's count, $2 start of its window. The start that has to leave the window before there is room for one; NULL
-- when there is room.
SELECT max(at_ms)
FROM (SELECT at_ms, sum(orders) OVER (ORDER BY at_ms DESC) AS since FROM starts WHERE at_ms > $2) AS counted
WHERE since >= $1::bigint

-- name: prune_starts
DELETE FROM starts WHERE at_ms <= $1

-- name: renew
UPDATE open_orders
SET lease_until_ms = $3
WHERE id = ANY ($2::uuid[]) AND lease_owner = $1 AND lease_until_ms < $3

-- name: release_workers
UPDATE open_orders AS stored
SET lease_owner = NULL, lease_until_ms = 0
FROM (SELECT id FROM open_orders WHERE lease_owner = ANY ($1::text[]) ORDER BY id FOR UPDATE) AS held
WHERE stored.id = held.id
