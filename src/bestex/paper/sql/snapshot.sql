DELETE FROM snapshot;
INSERT INTO snapshot (seq, accounts) VALUES (:snapshot_seq, :accounts);
DELETE FROM writes WHERE seq <= :snapshot_seq;

-- A commit without transactions serves only to tell recent blockhashes.
DELETE FROM commits WHERE seq < :keep_from_seq AND records IS NULL;
