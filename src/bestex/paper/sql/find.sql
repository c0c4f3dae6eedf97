WITH RECURSIVE segments (segment) AS (
    SELECT :segment
    UNION ALL
    SELECT segment - 1 FROM segments WHERE segment > 0
)
SELECT commits.seq, commits.slot, commits.time_ms, commits.records
FROM segments
CROSS JOIN signatures ON signatures.segment = segments.segment AND signatures.prefix = :prefix
JOIN commits ON commits.seq = signatures.seq
WHERE commits.records IS NOT NULL;
