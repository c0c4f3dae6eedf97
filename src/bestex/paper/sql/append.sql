INSERT INTO commits (seq, slot, height, time_ms, hash, closes, records)
VALUES (:seq, :slot, :height, :time_ms, :hash, :closes, :records);

INSERT INTO writes (seq, changes) VALUES (:seq, :changes);

INSERT OR IGNORE INTO signatures (segment, prefix, seq)
SELECT :segment, value, :seq FROM json_each(:prefixes);
