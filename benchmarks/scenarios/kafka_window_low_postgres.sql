-- One-minute windows over 60 groups, from Kafka into PostgreSQL.
-- load: input=kafka format=json rows=3000000 output=postgres

CREATE TABLE events (
  ts TIMESTAMP NOT NULL, id BIGINT NOT NULL, user_name TEXT NOT NULL, kind TEXT NOT NULL,
  place TEXT NOT NULL, amount DECIMAL(10, 2) NOT NULL,
  WATERMARK FOR ts AS ts - INTERVAL '5' SECOND
) WITH (
  connector = 'generator', rows = '${ROWS:-100000}', partitions = '10', 'rows.per.second' = '1000',
  lateness = '2s', 'fields.id.kind' = 'sequence', 'fields.user_name.kind' = 'uniform',
  'fields.user_name.prefix' = 'user-', 'fields.user_name.max' = '999999',
  'fields.kind.values' = 'view,click,search,cart,purchase,refund',
  'fields.place.values' = 'Amsterdam,Berlin,Chicago,Dakar,Edinburgh,Fukuoka,Geneva,Hanoi,Istanbul,Jakarta',
  'fields.amount.min' = '0', 'fields.amount.max' = '999.99'
);
CREATE TABLE per_minute (
  minute TIMESTAMP, kind TEXT, place TEXT, n BIGINT, amount DECIMAL(20, 2)
) WITH (connector = 'discard');

INSERT INTO per_minute
SELECT window_start, kind, place, count(*), sum(amount)
FROM TUMBLE(events, ts, INTERVAL '1' MINUTE)
GROUP BY window_start, window_end, kind, place;
