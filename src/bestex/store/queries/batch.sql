-- A batch is written by inserting one row into the view `batch`: everything that it comes to happens in one step of
-- SQLite, which is one transaction by itself. Python gives up its lock once and need not win it back between statements.
--
-- Each column is a JSON array of rows. Texts that are JSON themselves travel in one piece beside it, and each row says
-- where its own begins and how long it is: nothing is escaped or parsed on the way.

CREATE TEMP VIEW batch (
    new_orders, new_documents,
    steps, step_documents,
    ends, end_documents,
    events, payloads,
    attempt_steps, new_attempts, attempt_documents,
    new_keys,
    counts,
    starts, starts_pruned_to_ms,
    pings
) AS SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL;

CREATE TEMP TRIGGER write_batch INSTEAD OF INSERT ON batch
BEGIN
    INSERT INTO orders (number, id, user_id, status, seq, ended, document)
    SELECT
        value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, 0,
        CAST(substr(NEW.new_documents, value ->> 5, value ->> 6) AS TEXT)
    FROM jsonb_each(NEW.new_orders);

    -- A step finds its row only if the row is where memory believes it to be.
    UPDATE orders
    SET
        status = step.value ->> 2,
        seq = step.value ->> 3,
        document = CAST(substr(NEW.step_documents, step.value ->> 4, step.value ->> 5) AS TEXT)
    FROM jsonb_each(NEW.steps) AS step
    WHERE orders.number = step.value ->> 0 AND orders.seq = step.value ->> 1;

    SELECT raise(ROLLBACK, 'an order is not where memory believes it to be')
    WHERE changes() <> json_array_length(NEW.steps);

    -- A statement of its own, because `ended` moves the order from one index to others.
    UPDATE orders
    SET
        status = step.value ->> 2,
        seq = step.value ->> 3,
        ended = 1,
        document = CAST(substr(NEW.end_documents, step.value ->> 4, step.value ->> 5) AS TEXT)
    FROM jsonb_each(NEW.ends) AS step
    WHERE orders.number = step.value ->> 0 AND orders.seq = step.value ->> 1;

    SELECT raise(ROLLBACK, 'an order is not where memory believes it to be')
    WHERE changes() <> json_array_length(NEW.ends);

    INSERT INTO order_events (order_number, seq, payload)
    SELECT value ->> 0, value ->> 1, CAST(substr(NEW.payloads, value ->> 2, value ->> 3) AS TEXT)
    FROM jsonb_each(NEW.events);

    -- Before the new ones: an attempt that takes the place of another must find it gone.
    UPDATE attempts
    SET state = step.value ->> 2, slot = step.value ->> 3, error = step.value ->> 4
    FROM jsonb_each(NEW.attempt_steps) AS step
    WHERE attempts.order_number = step.value ->> 0 AND attempts.number = step.value ->> 1;

    INSERT INTO attempts (
        order_number, number, state, slot, error, last_valid_block_height, signature, document
    )
    SELECT
        value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6,
        CAST(substr(NEW.attempt_documents, value ->> 7, value ->> 8) AS TEXT)
    FROM jsonb_each(NEW.new_attempts);

    INSERT INTO idempotency_keys (account, kind, key, order_number, request_hash)
    SELECT used.value ->> 0, used.value ->> 1, used.value ->> 2, orders.number, used.value ->> 4
    FROM jsonb_each(NEW.new_keys) AS used
    JOIN orders ON orders.id = used.value ->> 3;

    INSERT INTO status_counts (status, orders)
    SELECT value ->> 0, value ->> 1
    FROM jsonb_each(NEW.counts)
    WHERE true
    ON CONFLICT (status) DO UPDATE SET orders = orders + excluded.orders;

    INSERT INTO starts (at_ms, orders)
    SELECT value ->> 0, value ->> 1
    FROM jsonb_each(NEW.starts)
    WHERE true
    ON CONFLICT (at_ms) DO UPDATE SET orders = orders + excluded.orders;

    DELETE FROM starts WHERE at_ms <= NEW.starts_pruned_to_ms;

    UPDATE pulse SET beats = beats + NEW.pings WHERE NEW.pings > 0;
END;
