-- Stolen cards: three payments or more that are declined, and then a large one that is approved, on
-- one card and within a minute.

CREATE TABLE payments (
  at TIMESTAMP NOT NULL,
  card TEXT NOT NULL,
  amount DECIMAL(10, 2) NOT NULL CHECK (amount > 0),
  status TEXT NOT NULL,
  WATERMARK FOR at AS at - INTERVAL '15' SECOND
) WITH (
  connector = 'file', path = 'dataflows/data/payments.csv', format = 'csv',
  'dead.letter' = 'missed'
);

CREATE TABLE suspicions (
  card TEXT, first_at TIMESTAMP, last_at TIMESTAMP,
  declined BIGINT, tried DECIMAL(12, 2), paid DECIMAL(10, 2)
) WITH (connector = 'file', path = 'suspicions.csv', format = 'csv');

CREATE TABLE missed (kind TEXT, message TEXT, payload TEXT)
  WITH (connector = 'file', path = 'missed.csv', format = 'csv');

INSERT INTO suspicions
SELECT card, first_at, last_at, declined, tried, paid
FROM payments MATCH_RECOGNIZE (
  PARTITION BY card
  ORDER BY at
  MEASURES
    FIRST(refused.at) AS first_at,
    large.at AS last_at,
    count(refused.at) AS declined,
    sum(refused.amount) AS tried,
    large.amount AS paid
  ONE ROW PER MATCH
  AFTER MATCH SKIP PAST LAST ROW
  PATTERN (refused{3,} large) WITHIN INTERVAL '1' MINUTE
  DEFINE
    refused AS refused.status = 'declined',
    large AS large.status = 'approved' AND large.amount >= 500
);
