-- needs: 1
-- Times are UTC milliseconds since 1970. Ids are UUIDv7: new ones go to the end of each index. What is searched has a
-- column of its own; the rest is JSON.

-- Small, and changed all the time. An order moves to `ended_orders` with its last event, so that no claim, step or vacuum
-- ever meets the history.
CREATE TABLE open_orders (
    id             uuid     NOT NULL PRIMARY KEY,
    user_id        text     NOT NULL COLLATE "C",
    status         text     NOT NULL CHECK (status IN ('pending', 'routing', 'building', 'submitted', 'confirmed')),
    -- 0: begun, 1: pending, 2: confirmed and not final
    lane           smallint NOT NULL GENERATED ALWAYS AS (
        CASE status WHEN 'pending' THEN 1 WHEN 'confirmed' THEN 2 ELSE 0 END
    ) STORED,
    priority       smallint NOT NULL,
    seq            integer  NOT NULL,
    due_at_ms      bigint   NOT NULL,
    created_at_ms  bigint   NOT NULL,
    lease_owner    text,
    lease_until_ms bigint   NOT NULL DEFAULT 0,
    lease_epoch    bigint   NOT NULL,
    document       text     NOT NULL  -- the whole order; of its lease, only the columns above count
) WITH (
    fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0.05,
    autovacuum_vacuum_threshold = 2000
);

-- Neither due time nor lease is in an index: a claim then leaves all indexes as they are.
CREATE INDEX open_orders_queue ON open_orders (lane, priority DESC, id);
CREATE INDEX open_orders_by_user ON open_orders (user_id, id);

CREATE TABLE ended_orders (
    id       uuid NOT NULL PRIMARY KEY,
    user_id  text NOT NULL COLLATE "C",
    status   text NOT NULL CHECK (status IN ('confirmed', 'failed', 'canceled', 'expired')),
    document text NOT NULL
);

CREATE INDEX ended_orders_by_user ON ended_orders (user_id, id);
CREATE INDEX ended_orders_by_status ON ended_orders (status, id);
CREATE INDEX ended_orders_by_user_and_status ON ended_orders (user_id, status, id);

-- One partition for the orders of a month. An order's id begins with its time, so that all its events are together and
-- the key needs no further column.
CREATE TABLE order_events (
    order_id uuid    NOT NULL,
    seq      integer NOT NULL,
    status   text    NOT NULL,
    final    boolean NOT NULL,
    payload  text    NOT NULL,  -- byte for byte as it is streamed
    PRIMARY KEY (order_id, seq)
) PARTITION BY RANGE (order_id);

CREATE TABLE order_events_other PARTITION OF order_events DEFAULT;

CREATE TABLE attempts (
    order_id                uuid    NOT NULL,
    number                  integer NOT NULL,
    state                   text    NOT NULL CHECK (state IN ('prepared', 'sent', 'landed', 'failed_on_chain', 'dead')),
    slot                    bigint,
    error                   text,
    last_valid_block_height bigint  NOT NULL,
    signature               text    NOT NULL COLLATE "C",
    document                text    NOT NULL,  -- the attempt as it was first stored
    PRIMARY KEY (order_id, number)
);

-- At most one transaction of an order may be able to land.
CREATE UNIQUE INDEX attempts_live ON attempts (order_id) WHERE state IN ('prepared', 'sent');

-- Equal signatures have equal heights. With the height in front, new entries go to the end of the index.
CREATE UNIQUE INDEX attempts_signature ON attempts (last_valid_block_height, signature);

CREATE TABLE idempotency_keys (
    account      text NOT NULL COLLATE "C",
    kind         text NOT NULL COLLATE "C" CHECK (kind IN ('client_order_id', 'header_key')),
    key          text NOT NULL COLLATE "C",
    order_id     uuid NOT NULL,
    request_hash text NOT NULL,
    CONSTRAINT idempotency_keys_once PRIMARY KEY (account, kind, key)
);

-- How many orders were begun when: the rate limit of all workers together.
CREATE TABLE starts (
    at_ms  bigint  NOT NULL,
    orders integer NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 2000);

CREATE INDEX starts_at ON starts (at_ms);

-- Each store's latest batch: whoever lost the connection during a commit reads here whether it took place.
CREATE TABLE writers (
    id         uuid        NOT NULL PRIMARY KEY DEFAULT gen_random_uuid(),
    batch      bigint      NOT NULL DEFAULT 0,
    touched_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 20);

-- To count ten million orders takes a second. Each writer counts by itself, so that none waits for another.
CREATE TABLE ended_counts (
    writer uuid   NOT NULL,
    status text   NOT NULL,
    orders bigint NOT NULL,
    PRIMARY KEY (writer, status)
) WITH (fillfactor = 20);

CREATE FUNCTION first_id_at(at_time timestamp) RETURNS uuid IMMUTABLE LANGUAGE sql AS $$
    SELECT (lpad(to_hex((extract(epoch FROM at_time) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid
$$;

-- Creates what is missing for this month and those after it. A month whose orders went to the default partition before
-- its own was there stays in that.
CREATE FUNCTION create_event_partitions(now_ms bigint, months_ahead integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    first timestamp;
    name  text;
BEGIN
    FOR ahead IN 0..months_ahead LOOP
        first := date_trunc('month', to_timestamp(now_ms / 1000.0) AT TIME ZONE 'UTC') + make_interval(months => ahead);
        name := 'order_events_' || to_char(first, 'YYYY_MM');
        CONTINUE WHEN to_regclass(name) IS NOT NULL;
        BEGIN
            EXECUTE format(
                'CREATE TABLE %I PARTITION OF order_events FOR VALUES FROM (%L) TO (%L)',
                name, first_id_at(first), first_id_at(first + interval '1 month')
            );
        EXCEPTION WHEN check_violation THEN
            RAISE WARNING 'orders of % are in the default partition already', to_char(first, 'YYYY-MM');
        END;
    END LOOP;
END
$$;
