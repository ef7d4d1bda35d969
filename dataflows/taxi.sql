-- New York's yellow cabs: trips from a Kafka topic, six tables in one PostgreSQL database, all of
-- which move in one transaction.
--
--   tidemark produce --topic taxi --partitions 10 'yellow_tripdata_2019-*.csv'
--   tidemark run dataflows/taxi.sql --processes 10 --threads 1 --until-caught-up
--
-- The files are those of the Taxi and Limousine Commission, as they are; dataflows/taxi_trips.sql
-- makes one of the same shape. KAFKA and DATABASE_URL say where the servers are.

CREATE TABLE taxi (
  -- Named as in the files' first line. A query may write them in any case.
  VendorID              INT,
  tpep_pickup_datetime  TIMESTAMP NOT NULL,
  tpep_dropoff_datetime TIMESTAMP,
  passenger_count       INT,
  trip_distance         DECIMAL(10, 2),
  RatecodeID            INT,
  store_and_fwd_flag    TEXT,
  PULocationID          INT,
  DOLocationID          INT,
  payment_type          INT,
  fare_amount           DECIMAL(10, 2),
  extra                 DECIMAL(10, 2),
  mta_tax               DECIMAL(10, 2),
  tip_amount            DECIMAL(10, 2),
  tolls_amount          DECIMAL(10, 2),
  improvement_surcharge DECIMAL(10, 2),
  total_amount          DECIMAL(10, 2),
  congestion_surcharge  DECIMAL(10, 2),   -- since 2019; NULL where a file does not have it

  -- Some taximeters think that it is 2001, or 2088. Their trips go to the dead letters, and do not
  -- move the watermark: without this check one of them would make all after it late.
  CHECK (tpep_pickup_datetime >= TIMESTAMP '2009-01-01 00:00:00'
     AND tpep_pickup_datetime <  TIMESTAMP '2030-01-01 00:00:00'),

  -- The files are in no order: the trips of a month are shuffled, and some are of another year.
  -- A bound as wide as the check lets no trip be late, whatever the order of files. What it costs
  -- is that hours stay open: about twenty small groups each are kept in memory. The tables below
  -- are kept current all the same. For trips as they happen write INTERVAL '10' MINUTE.
  WATERMARK FOR tpep_pickup_datetime AS tpep_pickup_datetime - INTERVAL '7670' DAY
) WITH (
  connector = 'kafka', topic = '${TAXI_TOPIC:-taxi}', format = 'json',
  'bootstrap.servers' = '${KAFKA:-localhost:9092}',
  'dead.letter' = 'taxi_dead'
);

-- Every process has this table whole, so the trips need not move to be joined with it.
CREATE TABLE zones (LocationID INT PRIMARY KEY, Borough TEXT, Zone TEXT, service_zone TEXT)
  WITH (connector = 'file', path = 'dataflows/data/taxi_zones.csv', format = 'csv');

-- What is asked of trips, in one place.
CREATE VIEW trips AS
SELECT *,
  fare_amount + extra + mta_tax + tip_amount + tolls_amount + improvement_surcharge
    + coalesce(congestion_surcharge, 0) AS parts,
  tpep_dropoff_datetime - tpep_pickup_datetime AS duration
FROM taxi;

-- 1. All trips. Without a PRIMARY KEY, rows are appended.
CREATE TABLE taxi_trips (
  vendor INT, pickup TIMESTAMP, dropoff TIMESTAMP, passengers INT, distance DECIMAL(10, 2),
  rate_code INT, store_and_forward TEXT, pickup_zone INT, dropoff_zone INT, payment_type INT,
  fare DECIMAL(10, 2), extra DECIMAL(10, 2), mta_tax DECIMAL(10, 2), tip DECIMAL(10, 2),
  tolls DECIMAL(10, 2), improvement_surcharge DECIMAL(10, 2), total DECIMAL(10, 2),
  congestion_surcharge DECIMAL(10, 2)
) WITH (connector = 'postgres', url = '${DATABASE_URL}', indexes = 'pickup');

INSERT INTO taxi_trips
SELECT VendorID, tpep_pickup_datetime, tpep_dropoff_datetime, passenger_count, trip_distance,
       RatecodeID, store_and_fwd_flag, PULocationID, DOLocationID, payment_type,
       fare_amount, extra, mta_tax, tip_amount,
       tolls_amount, improvement_surcharge, total_amount, congestion_surcharge
FROM taxi;

-- 2. Trips of under a minute or over two hours.
CREATE TABLE taxi_odd_duration (
  vendor INT, pickup TIMESTAMP, dropoff TIMESTAMP, distance DECIMAL(10, 2), total DECIMAL(10, 2)
) WITH (connector = 'postgres', url = '${DATABASE_URL}');

INSERT INTO taxi_odd_duration
SELECT VendorID, tpep_pickup_datetime, tpep_dropoff_datetime, trip_distance, total_amount
FROM trips
WHERE duration < INTERVAL '1' MINUTE OR duration > INTERVAL '120' MINUTE;

-- 3. Trips whose parts do not add up to the total.
CREATE TABLE taxi_odd_total (
  vendor INT, pickup TIMESTAMP, parts DECIMAL(12, 2), total DECIMAL(10, 2)
) WITH (connector = 'postgres', url = '${DATABASE_URL}');

INSERT INTO taxi_odd_total
SELECT VendorID, tpep_pickup_datetime, CAST(parts AS DECIMAL(12, 2)), total_amount
FROM trips
WHERE abs(total_amount - parts) > 1;

-- 4. What a trip brings in, by hour and way of payment. 0: the meter did not say.
CREATE TABLE taxi_revenue (
  hour TIMESTAMP, payment_type INT, trips BIGINT, mean_total DECIMAL(12, 2),
  PRIMARY KEY (hour, payment_type)
) WITH (connector = 'postgres', url = '${DATABASE_URL}');

INSERT INTO taxi_revenue
SELECT window_start, coalesce(payment_type, 0), count(*), CAST(avg(total_amount) AS DECIMAL(12, 2))
FROM TUMBLE(taxi, tpep_pickup_datetime, INTERVAL '1' HOUR)
GROUP BY window_start, window_end, coalesce(payment_type, 0);

-- 5. Trips by hour.
CREATE TABLE taxi_hours (hour TIMESTAMP PRIMARY KEY, trips BIGINT)
  WITH (connector = 'postgres', url = '${DATABASE_URL}');

INSERT INTO taxi_hours
SELECT window_start, count(*)
FROM TUMBLE(taxi, tpep_pickup_datetime, INTERVAL '1' HOUR)
GROUP BY window_start, window_end;

-- 6. Trips by hour and borough of the pickup.
CREATE TABLE taxi_boroughs (hour TIMESTAMP, borough TEXT, trips BIGINT, PRIMARY KEY (hour, borough))
  WITH (connector = 'postgres', url = '${DATABASE_URL}');

INSERT INTO taxi_boroughs
SELECT window_start, coalesce(z.borough, 'Unknown'), count(*)
FROM TUMBLE(taxi, tpep_pickup_datetime, INTERVAL '1' HOUR) t
LEFT JOIN zones z ON t.PULocationID = z.LocationID
GROUP BY window_start, window_end, coalesce(z.borough, 'Unknown');

-- And what is not a trip: with its reason, and the record as it came.
CREATE TABLE taxi_dead (kind TEXT, reason TEXT, message TEXT, "partition" TEXT, "offset" BIGINT, payload TEXT)
  WITH (connector = 'postgres', url = '${DATABASE_URL}');
