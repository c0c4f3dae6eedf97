-- name: write
INSERT INTO batch VALUES (
    :new_orders, :new_documents, :steps, :step_documents, :ends, :end_documents, :events, :payloads,
    :attempt_steps, :new_attempts, :attempt_documents, :new_keys, :counts, :starts, :starts_pruned_to_ms, :pings
)

-- name: known_keys
-- Which of the keys [[account, kind, key], ...] were used before.
SELECT json_group_array(json_array(used.account, used.kind, used.key, orders.id, used.request_hash))
FROM jsonb_each(?1) AS wanted
JOIN idempotency_keys AS used
    ON used.account = wanted.value ->> 0
    AND used.kind = wanted.value ->> 1
    AND used.key = wanted.value ->> 2
JOIN orders ON orders.number = used.order_number
