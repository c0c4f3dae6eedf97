-- Times are UTC milliseconds since 1970. What is searched has a column of its own; the rest is JSON.

CREATE TABLE orders (
    number   INTEGER NOT NULL PRIMARY KEY,  -- in the order of acceptance
    id       TEXT NOT NULL UNIQUE,          -- UUIDv7: new ones go to the end of the index
    user_id  TEXT NOT NULL,
    status   TEXT NOT NULL CHECK (
        status IN ('pending', 'routing', 'building', 'submitted', 'confirmed', 'failed', 'canceled', 'expired')
    ),
    seq      INTEGER NOT NULL,
    ended    INTEGER NOT NULL CHECK (ended IN (0, 1)),  -- nothing follows
    document TEXT NOT NULL  -- the whole order; what it says of a lease means nothing
) STRICT;

-- Each of these ends in the order's number: a page of orders is read without sorting. What an order's steps change is in
-- none of them until it ends.
CREATE INDEX orders_open ON orders (number) WHERE ended = 0;
CREATE INDEX orders_by_user ON orders (user_id);
CREATE INDEX orders_ended_by_status ON orders (status) WHERE ended = 1;
CREATE INDEX orders_ended_by_user_and_status ON orders (user_id, status) WHERE ended = 1;

-- Not WITHOUT ROWID: with the payloads in the tree of the key, inserts cost two to three times as much.
CREATE TABLE order_events (
    order_number INTEGER NOT NULL,  -- no foreign key: the same step of SQLite has written the order's own row
    seq          INTEGER NOT NULL,
    payload      TEXT NOT NULL,  -- byte for byte as it is streamed
    PRIMARY KEY (order_number, seq)
) STRICT;

CREATE TABLE attempts (
    order_number            INTEGER NOT NULL REFERENCES orders (number),
    number                  INTEGER NOT NULL,
    state                   TEXT NOT NULL CHECK (state IN ('prepared', 'sent', 'landed', 'failed_on_chain', 'dead')),
    slot                    INTEGER,
    error                   TEXT,
    last_valid_block_height INTEGER NOT NULL,
    signature               TEXT NOT NULL,
    document                TEXT NOT NULL,  -- the attempt as it was first stored; the transaction is in base64
    PRIMARY KEY (order_number, number)
) STRICT;

-- At most one transaction of an order may be able to land.
CREATE UNIQUE INDEX attempts_live ON attempts (order_number) WHERE state IN ('prepared', 'sent');

-- A signature covers the blockhash, so that equal ones have equal heights. With the height in front, new entries go to
-- the end of the index; signatures alone would dirty a page each, anywhere in it. 16 base58 digits are 93 bits.
CREATE UNIQUE INDEX attempts_signature ON attempts (last_valid_block_height, substr(signature, 1, 16));

CREATE TABLE idempotency_keys (
    account      TEXT NOT NULL,
    kind         TEXT NOT NULL CHECK (kind IN ('client_order_id', 'header_key')),
    key          TEXT NOT NULL,
    order_number INTEGER NOT NULL,  -- no foreign key: it is read from the order's row as it is written
    request_hash TEXT NOT NULL,
    PRIMARY KEY (account, kind, key)
) STRICT, WITHOUT ROWID;

-- How many orders were begun in which millisecond: the rate limit outlives a restart.
CREATE TABLE starts (
    at_ms  INTEGER NOT NULL PRIMARY KEY,
    orders INTEGER NOT NULL
) STRICT;

-- To count ten million orders takes a second; this is kept up with every batch instead.
CREATE TABLE status_counts (
    status TEXT NOT NULL PRIMARY KEY,
    orders INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Only a write proves that the disk takes writes: pings write here.
CREATE TABLE pulse (
    beats INTEGER NOT NULL
) STRICT;

INSERT INTO pulse VALUES (0);
