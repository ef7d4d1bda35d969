-- Each row looked up in a small table, then running totals, from JSON files into SQLite.
-- load: input=files format=json rows=3000000 output=sqlite

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
CREATE TABLE places (place TEXT, country TEXT, PRIMARY KEY (place)) WITH (
  connector = 'file', path = 'benchmarks/scenarios/places.csv', format = 'csv'
);
CREATE TABLE per_country (country TEXT, n BIGINT, amount DECIMAL(20, 2), PRIMARY KEY (country))
  WITH (connector = 'discard');

INSERT INTO per_country
SELECT coalesce(country, 'unknown'), count(*), sum(amount)
FROM events LEFT JOIN places ON events.place = places.place
GROUP BY coalesce(country, 'unknown');
