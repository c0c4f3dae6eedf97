-- Rows of `signatures` may stay: a search looks into the commit that they name.
DELETE FROM commits WHERE seq >= :seq;
DELETE FROM writes WHERE seq >= :seq;

INSERT INTO forks (finalized_seq) VALUES (:finalized_seq);
