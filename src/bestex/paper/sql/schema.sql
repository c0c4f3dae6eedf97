-- The paper ledger, version 1.

-- What the market lists, as JSON: written once, with the first commit.
CREATE TABLE market (
    listing BLOB NOT NULL
);

-- The chain. A block is one commit, or several of which the last one closes it.
CREATE TABLE commits (
    seq     INTEGER PRIMARY KEY,
    slot    INTEGER NOT NULL,
    height  INTEGER NOT NULL,
    time_ms INTEGER NOT NULL,
    hash    BLOB NOT NULL,
    closes  INTEGER NOT NULL,
    records BLOB               -- the transactions that landed; NULL: none
);

-- The accounts as of one commit, and what each later commit changed in them.
CREATE TABLE snapshot (
    seq      INTEGER NOT NULL,
    accounts BLOB NOT NULL
);
CREATE TABLE writes (
    seq     INTEGER PRIMARY KEY,
    changes BLOB NOT NULL
);

-- Each fork, and up to where the chain was final at that time: a shorter chain does not show it.
CREATE TABLE forks (
    finalized_seq INTEGER NOT NULL
);

-- Where a signature is, by its first eight bytes. Random keys scatter over a B-tree: segments keep the pages that new
-- rows touch few, at the price of one probe for each segment in a search.
CREATE TABLE signatures (
    segment INTEGER NOT NULL,
    prefix  INTEGER NOT NULL,
    seq     INTEGER NOT NULL,
    PRIMARY KEY (segment, prefix, seq)
) WITHOUT ROWID;

PRAGMA application_id = 0x62787031;
PRAGMA user_version = 1;
