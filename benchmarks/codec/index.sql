-- Two indexes of rows by key, below a join; at a rate, as in groups.sql.
SET 'snapshot.interval' = '2s';
CREATE TABLE a (ts TIMESTAMP NOT NULL, id BIGINT NOT NULL, user_name TEXT NOT NULL, amount DECIMAL(10, 2) NOT NULL, WATERMARK FOR ts AS ts - INTERVAL '5' SECOND)
WITH (connector = 'generator', rows = '1000000', rate = '150000', 'rows.per.second' = '150000', 'fields.id.kind' = 'sequence', 'fields.user_name.kind' = 'uniform', 'fields.user_name.prefix' = 'user-', 'fields.user_name.max' = '299999', 'fields.amount.min' = '0', 'fields.amount.max' = '999.99');
CREATE TABLE b (ts TIMESTAMP NOT NULL, id BIGINT NOT NULL, user_name TEXT NOT NULL, amount DECIMAL(10, 2) NOT NULL, WATERMARK FOR ts AS ts - INTERVAL '5' SECOND)
WITH (connector = 'generator', rows = '1000000', rate = '150000', 'rows.per.second' = '150000', 'fields.id.kind' = 'sequence', 'fields.user_name.kind' = 'uniform', 'fields.user_name.prefix' = 'user-', 'fields.user_name.max' = '299999', 'fields.amount.min' = '0', 'fields.amount.max' = '999.99');
CREATE TABLE found (prefix TEXT, n BIGINT, PRIMARY KEY (prefix)) WITH (connector = 'sqlite', path = '${OUT}');
INSERT INTO found SELECT coalesce(left(a.user_name, 6),'') AS prefix, count(*) FROM a JOIN b ON a.user_name = b.user_name GROUP BY coalesce(left(a.user_name, 6),'') EMIT CHANGES;
