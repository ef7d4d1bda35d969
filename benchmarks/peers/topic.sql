-- Rows as in windows.sql, for a topic: made in the order of time and spread over ten partitions, so that each
-- partition is in that order too. Several parts would follow one another in a partition, and most be late.
CREATE TABLE events (
  ts TIMESTAMP(3) NOT NULL, id BIGINT NOT NULL, user_name TEXT NOT NULL, kind TEXT NOT NULL,
  place TEXT NOT NULL, amount DECIMAL(10, 2) NOT NULL
) WITH (
  connector = 'generator', rows = '${ROWS:-100000}', partitions = '1', 'rows.per.second' = '1000',
  lateness = '2s', 'fields.id.kind' = 'sequence', 'fields.user_name.kind' = 'uniform',
  'fields.user_name.prefix' = 'user-', 'fields.user_name.max' = '99999',
  'fields.kind.values' = 'view,click,search,cart,purchase,refund',
  'fields.place.values' = 'Amsterdam,Berlin,Chicago,Dakar,Edinburgh,Fukuoka,Geneva,Hanoi,Istanbul,Jakarta',
  'fields.amount.min' = '0', 'fields.amount.max' = '999.99'
);
