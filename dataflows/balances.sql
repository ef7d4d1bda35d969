-- Running totals: a balance per account, and its last move. Accounts at zero are gone from the
-- table. Each file of the folder is a partition, read side by side with the others.

CREATE TABLE moves (at TIMESTAMP, account TEXT NOT NULL, cents BIGINT, note TEXT)
  WITH (connector = 'file', path = 'dataflows/data/moves/*.csv', format = 'csv');

CREATE TABLE balances (account TEXT PRIMARY KEY, moves BIGINT, balance DECIMAL(38, 2))
  WITH (connector = 'sqlite', path = 'balances.db');

CREATE TABLE last_moves (account TEXT PRIMARY KEY, at TIMESTAMP, cents BIGINT, note TEXT)
  WITH (connector = 'sqlite', path = 'balances.db', 'upsert.by' = 'at');

INSERT INTO balances
SELECT account, count(*), CAST(sum(cents) AS DECIMAL(36, 2)) / 100
FROM moves GROUP BY account HAVING sum(cents) <> 0;

-- The last row per account, by `at`: of a stream, not of groups.
INSERT INTO last_moves SELECT account, at, cents, note FROM moves;
