-- needs: 1
-- What a batch does, as functions: one round trip, and one transaction by itself, whatever the batch does.

-- The transaction of the latest batch: what was claimed in it can be found when the answer was lost.
ALTER TABLE writers ADD COLUMN batch_xid xid8;

-- Where an order waits. 0: begun, 1: pending, 2: confirmed and not final; leased: 3, or 4 when confirmed. A claim finds
-- what is free, or has expired, without going through what is in work; a step of an order in work leaves all indexes as
-- they are. `lane` is for programs of the version before.
ALTER TABLE open_orders ADD COLUMN queue smallint NOT NULL GENERATED ALWAYS AS (
    CASE
        WHEN lease_owner IS NOT NULL THEN CASE status WHEN 'confirmed' THEN 4 ELSE 3 END
        ELSE CASE status WHEN 'pending' THEN 1 WHEN 'confirmed' THEN 2 ELSE 0 END
    END
) STORED;

DROP INDEX open_orders_queue;
CREATE INDEX open_orders_free ON open_orders (queue, priority DESC, id) WHERE lease_owner IS NULL;
CREATE INDEX open_orders_leased ON open_orders (queue, lease_until_ms) WHERE lease_owner IS NOT NULL;

CREATE TYPE new_key AS (account text, kind text, key text, order_id uuid, request_hash text);

CREATE TYPE new_order AS (
    id            uuid,
    user_id       text,
    status        text,
    priority      smallint,
    seq           integer,
    due_at_ms     bigint,
    created_at_ms bigint,
    lease_epoch   bigint,
    document      text
);

CREATE TYPE order_step AS (
    id          uuid,
    seq_before  integer,  -- the step is for the order as it was at this event
    lease_epoch bigint,   -- and in this epoch
    user_id     text,
    status      text,
    seq         integer,
    due_at_ms   bigint,
    document    text,
    release     boolean,
    ends        boolean
);

CREATE TYPE new_event AS (order_id uuid, seq integer, status text, final boolean, payload text);

CREATE TYPE new_attempt AS (
    order_id                uuid,
    number                  integer,
    state                   text,
    slot                    bigint,
    error                   text,
    last_valid_block_height bigint,
    signature               text,
    document                text
);

CREATE TYPE attempt_step AS (
    order_id uuid, number integer, signature text, state text, slot bigint, error text
);

CREATE TYPE claimed_order AS (
    document text, lease_epoch bigint, state text, slot bigint, error text, attempt text
);

CREATE TYPE claimed_orders AS (claims claimed_order[], next_due_ms bigint);

-- Each function that has written ends with this. A batch that was given up (`settle`) cannot be committed any more.
CREATE FUNCTION beat(writer uuid, number bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO writers (id, batch, batch_xid) VALUES (writer, number, pg_current_xact_id())
    ON CONFLICT (id) DO UPDATE
        SET batch = excluded.batch, batch_xid = excluded.batch_xid, touched_at = now()
        WHERE writers.batch <= excluded.batch;
    IF NOT FOUND THEN
        RAISE SQLSTATE 'BX002' USING MESSAGE = 'this batch was given up';
    END IF;
END
$$;

CREATE FUNCTION step_attempts(steps attempt_step[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    done bigint;
BEGIN
    UPDATE attempts AS stored
    SET state = step.state, slot = step.slot, error = step.error
    FROM unnest(steps) AS step
    WHERE stored.order_id = step.order_id AND stored.number = step.number AND stored.signature = step.signature;
    GET DIAGNOSTICS done = ROW_COUNT;
    IF done <> cardinality(steps) THEN
        RAISE SQLSTATE 'BX001' USING MESSAGE = 'an attempt is not stored as the batch takes it to be';
    END IF;
END
$$;

-- All that happens to orders in a batch. Raises BX001 when something is not stored as the batch takes it to be.
-- Keys and orders are always taken in the same order: two batches never wait for each other.
CREATE FUNCTION write_batch(
    writer        uuid,
    number        bigint,
    keys          new_key[],
    orders        new_order[],
    steps         order_step[],
    events        new_event[],
    attempts_over attempt_step[],
    attempts_live attempt_step[],
    attempts_new  new_attempt[]
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    done bigint;
BEGIN
    IF cardinality(keys) > 0 THEN
        INSERT INTO idempotency_keys (account, kind, key, order_id, request_hash)
        SELECT used.account, used.kind, used.key, used.order_id, used.request_hash
        FROM unnest(keys) AS used
        ORDER BY used.account COLLATE "C", used.kind COLLATE "C", used.key COLLATE "C";
    END IF;
    IF cardinality(steps) > 0 THEN
        MERGE INTO open_orders AS stored
        USING (SELECT * FROM unnest(steps) AS given ORDER BY given.id) AS step
            ON stored.id = step.id AND stored.seq = step.seq_before AND stored.lease_epoch = step.lease_epoch
        WHEN MATCHED AND step.ends THEN DELETE
        WHEN MATCHED THEN UPDATE SET
            status = step.status,
            seq = step.seq,
            due_at_ms = step.due_at_ms,
            document = step.document,
            lease_owner = CASE WHEN step.release THEN NULL ELSE stored.lease_owner END,
            lease_until_ms = CASE WHEN step.release THEN 0 ELSE stored.lease_until_ms END;
        GET DIAGNOSTICS done = ROW_COUNT;
        IF done <> cardinality(steps) THEN
            RAISE SQLSTATE 'BX001' USING MESSAGE = 'an order is not stored as the batch takes it to be';
        END IF;
        INSERT INTO ended_orders (id, user_id, status, document)
        SELECT step.id, step.user_id, step.status, step.document FROM unnest(steps) AS step WHERE step.ends;
        IF FOUND THEN
            INSERT INTO ended_counts (writer, status, orders)
            SELECT write_batch.writer, step.status, count(*) FROM unnest(steps) AS step WHERE step.ends
            GROUP BY step.status
            ON CONFLICT ON CONSTRAINT ended_counts_pkey DO UPDATE SET orders = ended_counts.orders + excluded.orders;
        END IF;
    END IF;
    IF cardinality(orders) > 0 THEN
        INSERT INTO open_orders (
            id, user_id, status, priority, seq, due_at_ms, created_at_ms, lease_epoch, document
        )
        SELECT * FROM unnest(orders);
    END IF;
    IF cardinality(events) > 0 THEN
        INSERT INTO order_events (order_id, seq, status, final, payload) SELECT * FROM unnest(events);
    END IF;
    -- Those that are over come first: one that goes live must find the other gone.
    IF cardinality(attempts_over) > 0 THEN
        PERFORM step_attempts(attempts_over);
    END IF;
    IF cardinality(attempts_live) > 0 THEN
        PERFORM step_attempts(attempts_live);
    END IF;
    IF cardinality(attempts_new) > 0 THEN
        INSERT INTO attempts (
            order_id, number, state, slot, error, last_valid_block_height, signature, document
        )
        SELECT * FROM unnest(attempts_new);
    END IF;
    PERFORM beat(writer, number);
END
$$;

-- When an order of the queue is due that nobody has; NULL: there is none. Looks at all of them only if none is due now.
CREATE FUNCTION next_due(of_queue integer, now_ms bigint) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    RETURN CASE
        WHEN EXISTS (
            SELECT FROM open_orders WHERE queue = of_queue AND lease_owner IS NULL AND due_at_ms <= now_ms
        ) THEN now_ms
        ELSE (SELECT min(due_at_ms) FROM open_orders WHERE queue = of_queue AND lease_owner IS NULL)
    END;
END
$$;

-- When an order of the queue can be taken over, or when the next lease ends; NULL: there is none.
CREATE FUNCTION next_expired(of_queue integer, now_ms bigint) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    RETURN CASE
        WHEN EXISTS (
            SELECT FROM open_orders
            WHERE queue = of_queue AND lease_owner IS NOT NULL AND lease_until_ms <= now_ms AND due_at_ms <= now_ms
        ) THEN now_ms
        ELSE least(
            (
                -- Not min(): planned for an empty table, it would go through all of them.
                SELECT lease_until_ms FROM open_orders
                WHERE queue = of_queue AND lease_owner IS NOT NULL AND lease_until_ms > now_ms
                ORDER BY lease_until_ms LIMIT 1
            ),
            (
                SELECT min(due_at_ms) FROM open_orders
                WHERE queue = of_queue AND lease_owner IS NOT NULL AND lease_until_ms <= now_ms
            )
        )
    END;
END
$$;

-- Leases on orders that are still to be filled; `rate_count`: how many may be begun in the window, NULL: any number.
CREATE FUNCTION claim_orders(
    writer         uuid,
    number         bigint,
    worker         text,
    most           bigint,
    now_ms         bigint,
    until_ms       bigint,
    rate_count     bigint,
    rate_window_ms bigint
) RETURNS claimed_orders LANGUAGE plpgsql AS $$
DECLARE
    answer     claimed_orders;
    pending_ms bigint;
    start_ms   bigint;
BEGIN
    IF rate_count IS NOT NULL THEN
        -- One claim at a time counts against the limit, in the whole deployment. A statement of its own: what follows
        -- must see what the one before us has committed.
        PERFORM pg_advisory_xact_lock(730636529112);
    END IF;
    IF EXISTS (
        SELECT FROM open_orders WHERE queue = 3 AND lease_owner IS NOT NULL AND lease_until_ms <= now_ms
    ) THEN
        UPDATE open_orders AS stored
        SET lease_owner = NULL, lease_until_ms = 0
        FROM (
            SELECT id FROM open_orders
            WHERE queue = 3 AND lease_owner IS NOT NULL AND lease_until_ms <= now_ms
            FOR UPDATE SKIP LOCKED
        ) AS expired
        WHERE stored.id = expired.id;
    END IF;
    WITH begun AS MATERIALIZED (
        SELECT id FROM open_orders
        WHERE queue = 0 AND lease_owner IS NULL AND due_at_ms <= now_ms
        ORDER BY priority DESC, id
        LIMIT most
        FOR UPDATE SKIP LOCKED
    ),
    room AS MATERIALIZED (
        SELECT least(
            most - (SELECT count(*) FROM begun),
            rate_count - (SELECT coalesce(sum(orders), 0) FROM starts WHERE at_ms > now_ms - rate_window_ms)
        ) AS orders
    ),
    fresh AS MATERIALIZED (
        SELECT id FROM open_orders
        WHERE queue = 1 AND lease_owner IS NULL AND due_at_ms <= now_ms
        ORDER BY priority DESC, id
        LIMIT (SELECT greatest(orders, 0) FROM room)
        FOR UPDATE SKIP LOCKED
    ),
    begin_count AS (
        -- When a clock is behind, its starts count as of the latest time seen: the limit holds.
        INSERT INTO starts (at_ms, orders)
        SELECT greatest(now_ms, CASE WHEN rate_count IS NOT NULL THEN (SELECT max(at_ms) FROM starts) END), count(*)
        FROM fresh
        HAVING count(*) > 0
    ),
    leased AS (
        UPDATE open_orders AS stored
        SET lease_owner = worker, lease_until_ms = until_ms, lease_epoch = stored.lease_epoch + 1
        FROM (SELECT id FROM begun UNION ALL SELECT id FROM fresh) AS taken
        WHERE stored.id = taken.id
        RETURNING stored.id, stored.lane, stored.priority, stored.document, stored.lease_epoch
    )
    SELECT array_agg(
        ROW (
            leased.document, leased.lease_epoch, latest.state, latest.slot, latest.error, latest.document
        )::claimed_order
        ORDER BY leased.lane, leased.priority DESC, leased.id
    )
    INTO answer.claims
    FROM leased
    LEFT JOIN LATERAL (
        SELECT state, slot, error, document FROM attempts
        WHERE order_id = leased.id ORDER BY attempts.number DESC LIMIT 1
    ) AS latest ON true;
    IF answer.claims IS NOT NULL THEN
        PERFORM beat(writer, number);
    END IF;
    answer.next_due_ms := next_due(0, now_ms);
    pending_ms := next_due(1, now_ms);
    IF rate_count IS NOT NULL THEN
        -- The start that has to leave the window before there is room for one; NULL when there is room.
        SELECT max(at_ms) INTO start_ms
        FROM (
            SELECT at_ms, sum(orders) OVER (ORDER BY at_ms DESC) AS since FROM starts
            WHERE at_ms > now_ms - rate_window_ms
        ) AS counted
        WHERE since >= rate_count;
        pending_ms := CASE
            WHEN pending_ms IS NULL OR rate_count < 1 THEN NULL
            ELSE greatest(pending_ms, start_ms + rate_window_ms)
        END;
    END IF;
    answer.next_due_ms := least(answer.next_due_ms, pending_ms, next_expired(3, now_ms));
    RETURN answer;
END
$$;

-- Leases on confirmed orders that are not final.
CREATE FUNCTION claim_unfinal_orders(
    writer uuid, number bigint, worker text, most bigint, now_ms bigint, until_ms bigint
) RETURNS claimed_orders LANGUAGE plpgsql AS $$
DECLARE
    answer claimed_orders;
BEGIN
    WITH free AS MATERIALIZED (
        SELECT id FROM open_orders
        WHERE queue = 2 AND lease_owner IS NULL AND due_at_ms <= now_ms
        ORDER BY priority DESC, id
        LIMIT most
        FOR UPDATE SKIP LOCKED
    ),
    expired AS MATERIALIZED (
        SELECT id FROM open_orders
        WHERE queue = 4 AND lease_owner IS NOT NULL AND lease_until_ms <= now_ms AND due_at_ms <= now_ms
        ORDER BY lease_until_ms
        LIMIT most - (SELECT count(*) FROM free)
        FOR UPDATE SKIP LOCKED
    ),
    leased AS (
        UPDATE open_orders AS stored
        SET lease_owner = worker, lease_until_ms = until_ms, lease_epoch = stored.lease_epoch + 1
        FROM (SELECT id FROM free UNION ALL SELECT id FROM expired) AS taken
        WHERE stored.id = taken.id
        RETURNING stored.id, stored.priority, stored.document, stored.lease_epoch
    )
    SELECT array_agg(
        ROW (
            leased.document, leased.lease_epoch, latest.state, latest.slot, latest.error, latest.document
        )::claimed_order
        ORDER BY leased.priority DESC, leased.id
    )
    INTO answer.claims
    FROM leased
    LEFT JOIN LATERAL (
        SELECT state, slot, error, document FROM attempts
        WHERE order_id = leased.id ORDER BY attempts.number DESC LIMIT 1
    ) AS latest ON true;
    IF answer.claims IS NOT NULL THEN
        PERFORM beat(writer, number);
    END IF;
    answer.next_due_ms := least(next_due(2, now_ms), next_expired(4, now_ms));
    RETURN answer;
END
$$;

CREATE FUNCTION renew_leases(
    writer uuid, number bigint, worker text, ids uuid[], until_ms bigint
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM open_orders WHERE id = ANY (ids) ORDER BY id FOR UPDATE;
    UPDATE open_orders
    SET lease_until_ms = until_ms
    WHERE id = ANY (ids) AND lease_owner = worker AND lease_until_ms < until_ms;
    PERFORM beat(writer, number);
END
$$;
