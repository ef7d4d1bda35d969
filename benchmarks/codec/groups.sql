-- The groups of an aggregate, and what is counted over it. At a rate, so that the newest snapshot is of the same rows everywhere.
SET 'snapshot.interval' = '2s';
CREATE TABLE events (
  ts TIMESTAMP NOT NULL, id BIGINT NOT NULL, user_name TEXT NOT NULL, kind TEXT NOT NULL, amount DECIMAL(10, 2) NOT NULL,
  WATERMARK FOR ts AS ts - INTERVAL '5' SECOND
) WITH (
  connector = 'generator', rows = '6000000', rate = '1000000', partitions = '2', 'rows.per.second' = '1000000',
  'fields.id.kind' = 'sequence', 'fields.user_name.kind' = 'uniform',
  'fields.user_name.prefix' = 'user-', 'fields.user_name.max' = '999999',
  'fields.kind.values' = 'view,click,search,cart,purchase,refund',
  'fields.amount.min' = '0', 'fields.amount.max' = '999.99'
);
CREATE TABLE totals (n BIGINT, users BIGINT, amount DECIMAL(20,2), PRIMARY KEY (n)) WITH (connector = 'sqlite', path = '${OUT}');
INSERT INTO totals SELECT n, count(*), sum(amount) FROM (SELECT user_name, count(*) AS n, sum(amount) AS amount FROM events GROUP BY user_name) AS x GROUP BY n EMIT CHANGES;
