-- Every statement gives its whole answer as one JSON text.

-- name: orders
SELECT '[' || coalesce(group_concat(document), '') || ']'
FROM orders
WHERE id IN (SELECT value FROM json_each(?1))

-- name: events
-- ?1: [[order id, first sequence number], ...]; answers [place in ?1, seq, status, final, payload].
SELECT '[' || coalesce(group_concat(
    '[' || wanted.key || ',' || stored.seq || ',"' || (stored.payload ->> 'status') || '",'
        || iif(orders.ended AND stored.seq = orders.seq, 'true', 'false') || ',' || stored.payload || ']'
    ORDER BY wanted.key, stored.seq
), '') || ']'
FROM jsonb_each(?1) AS wanted
JOIN orders ON orders.id = wanted.value ->> 0
JOIN order_events AS stored ON stored.order_number = orders.number AND stored.seq >= wanted.value ->> 1

-- name: attempts
-- [state, slot, error, the attempt as it was first stored]
SELECT '[' || coalesce(group_concat(
    '["' || state || '",' || json_quote(slot) || ',' || json_quote(error) || ',' || attempts.document || ']'
    ORDER BY attempts.number
), '') || ']'
FROM orders
JOIN attempts ON attempts.order_number = orders.number
WHERE orders.id = ?1

-- name: page
SELECT '[' || coalesce(group_concat('[' || number || ',' || document || ']' ORDER BY number DESC), '') || ']'
FROM (SELECT number, document FROM orders WHERE number < :before ORDER BY number DESC LIMIT :limit)

-- name: page_of_user
SELECT '[' || coalesce(group_concat('[' || number || ',' || document || ']' ORDER BY number DESC), '') || ']'
FROM (
    SELECT number, document FROM orders
    WHERE user_id = :user_id AND number < :before
    ORDER BY number DESC
    LIMIT :limit
)

-- name: page_ended
SELECT '[' || coalesce(group_concat('[' || number || ',' || document || ']' ORDER BY number DESC), '') || ']'
FROM (
    SELECT number, document FROM orders
    WHERE ended = 1 AND status = :status AND number < :before
    ORDER BY number DESC
    LIMIT :limit
)

-- name: page_ended_of_user
SELECT '[' || coalesce(group_concat('[' || number || ',' || document || ']' ORDER BY number DESC), '') || ']'
FROM (
    SELECT number, document FROM orders
    WHERE ended = 1 AND user_id = :user_id AND status = :status AND number < :before
    ORDER BY number DESC
    LIMIT :limit
)

-- name: open_orders
-- Every order that is not terminal, oldest first, with its attempts: [number, order, [attempt as above, ...]].
SELECT '[' || coalesce(group_concat('[' || number || ',' || document || ',' || attempts || ']' ORDER BY number), '') || ']'
FROM (
    SELECT
        number,
        document,
        (
            SELECT '[' || coalesce(group_concat(
                '["' || state || '",' || json_quote(slot) || ',' || json_quote(error) || ',' || attempts.document || ']'
                ORDER BY attempts.number
            ), '') || ']'
            FROM attempts
            WHERE attempts.order_number = orders.number
        ) AS attempts
    FROM orders
    WHERE ended = 0
)

-- name: counts
-- What is remembered of all orders: how many are in each status, the latest starts, the newest number.
SELECT json_array(
    json((SELECT json_group_object(status, orders) FROM status_counts)),
    json((SELECT json_group_array(json_array(at_ms, orders) ORDER BY at_ms) FROM starts)),
    (SELECT coalesce(max(number), 0) FROM orders)
)
