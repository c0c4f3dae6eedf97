SELECT
    coalesce(max(segment), 0),
    count(*),
    (SELECT coalesce(max(finalized_seq), 0) FROM forks)
FROM signatures
WHERE segment = (SELECT max(segment) FROM signatures);
