-- Made-up orders, counted per minute on the terminal. The same seed gives the same rows.

CREATE TABLE orders (
  id BIGINT NOT NULL,
  product TEXT NOT NULL,
  price DECIMAL(8, 2),
  at TIMESTAMP,
  WATERMARK FOR at AS at - INTERVAL '2' SECOND
) WITH (
  connector = 'generator', seed = '7', rows = '3000', start = '2026-03-01 09:00:10',
  'rows.per.second' = '20', lateness = '3s',
  'fields.id.kind' = 'sequence',
  'fields.product.kind' = 'choice', 'fields.product.values' = 'tea,pot,cup',
  'fields.product.weights' = '6,1,3',
  'fields.price.min' = '1', 'fields.price.max' = '30'
);

CREATE TABLE shown (minute TIMESTAMP, product TEXT, orders BIGINT, revenue DECIMAL(38, 2))
  WITH (connector = 'stdout');

INSERT INTO shown
SELECT window_start, product, count(*), sum(price)
FROM TUMBLE(orders, at, INTERVAL '1' MINUTE)
GROUP BY window_start, product;
