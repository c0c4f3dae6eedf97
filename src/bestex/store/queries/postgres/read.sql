-- What is committed.

-- name: order
SELECT document, lease_owner, lease_until_ms, lease_epoch FROM open_orders WHERE id = $1
UNION ALL
SELECT document, NULL, 0, NULL FROM ended_orders WHERE id = $1

-- name: orders
SELECT document, lease_owner, lease_until_ms, lease_epoch FROM open_orders WHERE id = ANY ($1::uuid[])
UNION ALL
SELECT document, NULL, 0, NULL FROM ended_orders WHERE id = ANY ($1::uuid[])

-- name: events
-- $1 ids, $2 the first sequence number of each; `place` is that in $1, from 1 on. The index is asked once per order: for
-- many of them the planner would read the whole table, were it not for the OFFSET.
SELECT wanted.place, stored.seq, stored.status, stored.final, stored.payload
FROM unnest($1::uuid[], $2::integer[]) WITH ORDINALITY AS wanted (id, from_seq, place)
CROSS JOIN LATERAL (
    SELECT seq, status, final, payload FROM order_events
    WHERE order_id = wanted.id AND seq >= wanted.from_seq
    OFFSET 0
) AS stored
ORDER BY wanted.place, stored.seq

-- name: open_seqs
SELECT id, seq FROM open_orders WHERE id = ANY ($1::uuid[])

-- name: attempts
SELECT state, slot, error, document FROM attempts WHERE order_id = $1 ORDER BY number

-- name: active
SELECT document, lease_owner, lease_until_ms, lease_epoch FROM open_orders ORDER BY id LIMIT $1

-- name: page
-- $1 the id to begin below, $2 limit. The same in all that follow.
SELECT document, lease_owner, lease_until_ms, lease_epoch
FROM (
    (
        SELECT id, document, lease_owner, lease_until_ms, lease_epoch FROM open_orders
        WHERE id < $1 ORDER BY id DESC LIMIT $2
    )
    UNION ALL
    (SELECT id, document, NULL, 0, NULL FROM ended_orders WHERE id < $1 ORDER BY id DESC LIMIT $2)
) AS found
ORDER BY id DESC
LIMIT $2

-- name: page_of_user
SELECT document, lease_owner, lease_until_ms, lease_epoch
FROM (
    (
        SELECT id, document, lease_owner, lease_until_ms, lease_epoch FROM open_orders
        WHERE user_id = $3 AND id < $1 ORDER BY id DESC LIMIT $2
    )
    UNION ALL
    (SELECT id, document, NULL, 0, NULL FROM ended_orders WHERE user_id = $3 AND id < $1 ORDER BY id DESC LIMIT $2)
) AS found
ORDER BY id DESC
LIMIT $2

-- name: page_of_status
SELECT document, lease_owner, lease_until_ms, lease_epoch
FROM (
    (
        SELECT id, document, lease_owner, lease_until_ms, lease_epoch FROM open_orders
        WHERE status = $3 AND id < $1 ORDER BY id DESC LIMIT $2
    )
    UNION ALL
    (SELECT id, document, NULL, 0, NULL FROM ended_orders WHERE status = $3 AND id < $1 ORDER BY id DESC LIMIT $2)
) AS found
ORDER BY id DESC
LIMIT $2

-- name: page_of_user_and_status
SELECT document, lease_owner, lease_until_ms, lease_epoch
FROM (
    (
        SELECT id, document, lease_owner, lease_until_ms, lease_epoch FROM open_orders
        WHERE user_id = $3 AND status = $4 AND id < $1 ORDER BY id DESC LIMIT $2
    )
    UNION ALL
    (
        SELECT id, document, NULL, 0, NULL FROM ended_orders
        WHERE user_id = $3 AND status = $4 AND id < $1 ORDER BY id DESC LIMIT $2
    )
) AS found
ORDER BY id DESC
LIMIT $2

-- name: counts
SELECT status, sum(orders)::bigint AS orders
FROM (
    SELECT status, count(*) AS orders FROM open_orders GROUP BY status
    UNION ALL
    SELECT status, orders FROM ended_counts
) AS counted
GROUP BY status

-- name: queue
-- $1 now, $2 start of the rate limit's window
SELECT
    count(*) FILTER (WHERE lane = 1 AND lease_until_ms <= $1 AND due_at_ms <= $1) AS waiting,
    count(*) FILTER (WHERE lane = 1 AND lease_until_ms <= $1 AND due_at_ms > $1) AS delayed,
    count(*) FILTER (WHERE lease_until_ms > $1) AS in_work,
    min(created_at_ms) FILTER (WHERE lane = 1 AND lease_until_ms <= $1 AND due_at_ms <= $1) AS oldest_waiting_ms,
    (SELECT coalesce(sum(orders), 0)::bigint FROM starts WHERE at_ms > $2) AS started_in_window
FROM open_orders

-- name: history_from
-- When the oldest order was placed that has ended and is kept; NULL: there is none.
SELECT ('x' || translate(left(id::text, 13), '-', ''))::bit(48)::bigint AS placed_ms FROM ended_orders ORDER BY id LIMIT 1
