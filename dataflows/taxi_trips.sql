-- Makes a file of taxi trips as New York publishes them, for dataflows/taxi.sql to be tried on: in
-- no order, with pickups years away, meters that stood still, and totals that do not add up.
--
--   TAXI_ROWS=100000 tidemark run dataflows/taxi_trips.sql
--
-- The same number of rows gives the same rows.

CREATE TABLE drawn (
  vendor INT, moment TIMESTAMP, ride INT, passengers INT, miles DECIMAL(10, 2), rate INT, flag TEXT,
  from_zone INT, to_zone INT, paid INT, tip DECIMAL(10, 2), tolls DECIMAL(10, 2), odd INT,
  at TIMESTAMP, WATERMARK FOR at AS at - INTERVAL '0' SECOND
) WITH (
  connector = 'generator', seed = '2019', rows = '${TAXI_ROWS:-1000}', partitions = '1',
  'fields.vendor.min' = '1', 'fields.vendor.max' = '2',
  'fields.moment.kind' = 'uniform',
  'fields.moment.min' = '2019-01-01 00:00:00', 'fields.moment.max' = '2019-01-31 23:59:59',
  'fields.ride.kind' = 'normal', 'fields.ride.min' = '61', 'fields.ride.max' = '7200',
  'fields.ride.mean' = '800', 'fields.ride.deviation' = '500',
  'fields.passengers.min' = '0', 'fields.passengers.max' = '6', 'fields.passengers.nulls' = '0.01',
  'fields.miles.min' = '0.00', 'fields.miles.max' = '25.00',
  'fields.rate.kind' = 'choice', 'fields.rate.values' = '1,2,3,4,5,99', 'fields.rate.weights' = '92,4,1,1,1,1',
  'fields.flag.kind' = 'choice', 'fields.flag.values' = 'N,Y', 'fields.flag.weights' = '99,1',
  'fields.from_zone.kind' = 'zipf', 'fields.from_zone.min' = '1', 'fields.from_zone.max' = '267',
  'fields.to_zone.min' = '1', 'fields.to_zone.max' = '265',
  'fields.paid.kind' = 'choice', 'fields.paid.values' = '1,2,3,4', 'fields.paid.weights' = '70,27,2,1',
  'fields.paid.nulls' = '0.01',
  'fields.tip.min' = '0.00', 'fields.tip.max' = '9.99',
  'fields.tolls.kind' = 'choice', 'fields.tolls.values' = '0.00,5.76,6.12', 'fields.tolls.weights' = '94,5,1',
  'fields.odd.min' = '0', 'fields.odd.max' = '999'
);

CREATE TABLE trips (
  "VendorID" INT, tpep_pickup_datetime TIMESTAMP, tpep_dropoff_datetime TIMESTAMP, passenger_count INT,
  trip_distance DECIMAL(10, 2), "RatecodeID" INT, store_and_fwd_flag TEXT, "PULocationID" INT,
  "DOLocationID" INT, payment_type INT, fare_amount DECIMAL(10, 2), extra DECIMAL(10, 2),
  mta_tax DECIMAL(10, 2), tip_amount DECIMAL(10, 2), tolls_amount DECIMAL(10, 2),
  improvement_surcharge DECIMAL(10, 2), total_amount DECIMAL(10, 2), congestion_surcharge DECIMAL(10, 2)
) WITH (connector = 'file', path = '${TAXI_CSV:-yellow_trips.csv}', format = 'csv');

CREATE VIEW timed AS
SELECT *,
  -- One in a thousand is of another age; a few of another year, which is no reason to refuse them.
  date_trunc('second', CASE WHEN odd = 0 THEN moment - INTERVAL '6574' DAY
                            WHEN odd = 1 THEN moment + INTERVAL '25225' DAY
                            WHEN odd = 2 THEN moment - INTERVAL '3652' DAY
                            WHEN odd = 3 THEN moment + INTERVAL '882' DAY
                            ELSE moment END) AS pickup,
  CASE WHEN odd BETWEEN 10 AND 29 THEN ride % 60
       WHEN odd BETWEEN 30 AND 39 THEN 86000 + ride % 400
       WHEN odd = 40 THEN -ride
       ELSE ride END AS seconds,
  CASE WHEN odd BETWEEN 50 AND 54 THEN -2.50 - miles * 2.50 ELSE 2.50 + miles * 2.50 END AS fare,
  CASE WHEN odd < 400 THEN 0.50 WHEN odd < 600 THEN 1.00 ELSE 0.00 END AS extra,
  -- The congestion surcharge began in that month: the column is often empty.
  CASE WHEN odd < 300 THEN NULL WHEN odd < 900 THEN 2.50 ELSE 0.00 END AS congestion,
  CASE WHEN odd BETWEEN 60 AND 69 THEN odd - 64.5 ELSE 0.00 END AS error
FROM drawn;

INSERT INTO trips
SELECT vendor, pickup, pickup + CAST(seconds || ' seconds' AS INTERVAL), passengers, miles, rate, flag,
       from_zone, to_zone, paid, CAST(fare AS DECIMAL(10, 2)), CAST(extra AS DECIMAL(10, 2)), 0.50,
       tip, tolls, 0.30,
       CAST(fare + extra + 0.50 + tip + tolls + 0.30 + coalesce(congestion, 0) + error AS DECIMAL(10, 2)),
       CAST(congestion AS DECIMAL(10, 2))
FROM timed;
