-- Purchases joined with what their user had searched for within the minute before, from JSON files.
-- load: input=files format=json rows=1000000 output=discard

CREATE TABLE events (
  ts TIMESTAMP NOT NULL, id BIGINT NOT NULL, user_name TEXT NOT NULL, kind TEXT NOT NULL,
  place TEXT NOT NULL, amount DECIMAL(10, 2) NOT NULL,
  WATERMARK FOR ts AS ts - INTERVAL '5' SECOND
) WITH (
  connector = 'generator', rows = '${ROWS:-100000}', partitions = '10', 'rows.per.second' = '1000',
  lateness = '2s', 'fields.id.kind' = 'sequence', 'fields.user_name.kind' = 'uniform',
  'fields.user_name.prefix' = 'user-', 'fields.user_name.max' = '9999',
  'fields.kind.values' = 'view,click,search,cart,purchase,refund',
  'fields.place.values' = 'Amsterdam,Berlin,Chicago,Dakar,Edinburgh,Fukuoka,Geneva,Hanoi,Istanbul,Jakarta',
  'fields.amount.min' = '0', 'fields.amount.max' = '999.99'
);
CREATE TABLE found (searched TIMESTAMP, bought TIMESTAMP, user_name TEXT, amount DECIMAL(10, 2))
  WITH (connector = 'discard');

INSERT INTO found
SELECT s.ts, p.ts, p.user_name, p.amount
FROM events s JOIN events p ON s.user_name = p.user_name
WHERE s.kind = 'search' AND p.kind = 'purchase'
  AND p.ts BETWEEN s.ts AND s.ts + INTERVAL '1' MINUTE;
