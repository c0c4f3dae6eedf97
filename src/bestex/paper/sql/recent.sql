SELECT commits.seq, slot, height, time_ms, hash, closes, records, changes
FROM commits LEFT JOIN writes ON writes.seq = commits.seq
ORDER BY commits.seq DESC;
