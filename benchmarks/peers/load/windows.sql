-- One-minute windows over 60 groups, from JSON files: the load that every peer gets.
-- load: input=files format=json rows=5000000 output=discard

-- Two partitions, so one file for each core, each in the order of time give or take two seconds. Some peers
-- read file after file and take the time of what they read for the watermark: with more files they would find
-- rows late that are not.
CREATE TABLE events (
  ts TIMESTAMP(3) NOT NULL, id BIGINT NOT NULL, user_name TEXT NOT NULL, kind TEXT NOT NULL,
  place TEXT NOT NULL, amount DECIMAL(10, 2) NOT NULL,
  WATERMARK FOR ts AS ts - INTERVAL '5' SECOND
) WITH (
  connector = 'generator', rows = '${ROWS:-100000}', partitions = '2', 'rows.per.second' = '1000',
  lateness = '2s', 'fields.id.kind' = 'sequence', 'fields.user_name.kind' = 'uniform',
  'fields.user_name.prefix' = 'user-', 'fields.user_name.max' = '99999',
  'fields.kind.values' = 'view,click,search,cart,purchase,refund',
  'fields.place.values' = 'Amsterdam,Berlin,Chicago,Dakar,Edinburgh,Fukuoka,Geneva,Hanoi,Istanbul,Jakarta',
  'fields.amount.min' = '0', 'fields.amount.max' = '999.99'
);
CREATE TABLE per_minute (
  minute TIMESTAMP(3), kind TEXT, place TEXT, n BIGINT, amount DECIMAL(20, 2)
) WITH (connector = 'discard');

INSERT INTO per_minute
SELECT window_start, kind, place, count(*), sum(amount)
FROM TUMBLE(events, ts, INTERVAL '1' MINUTE)
GROUP BY window_start, window_end, kind, place;
