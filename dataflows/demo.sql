-- The pipeline of `tidemark demo`: taxi trips from a Kafka topic, counted by minute and borough, and
-- in all. The demo makes the trips up and sends them to the topic. With a broker of your own:
--
--   tidemark produce --from dataflows/demo.sql made_up --topic trips --partitions 10 --key trip_id
--   tidemark run dataflows/demo.sql --until-caught-up
--
-- Event time runs 25 times faster than the clock, so that minutes close while you watch. About two
-- trips in a hundred come later than the 15 seconds that the watermark waits for.

CREATE TABLE made_up (
  trip_id BIGINT, borough TEXT, fare DECIMAL(8,2), pickup_at TIMESTAMP,
  WATERMARK FOR pickup_at AS pickup_at - INTERVAL '15' SECOND
) WITH (
  connector = 'generator', seed = 7, partitions = 1,
  rows = '${DEMO_ROWS:-600000}', rate = '${DEMO_RATE:-60000}', 'rows.per.second' = 2400,
  lateness = '20s',
  'fields.trip_id.kind' = 'sequence',
  'fields.borough.kind' = 'choice',
  'fields.borough.values' = 'Manhattan,Queens,Brooklyn,Bronx,Staten Island',
  'fields.borough.weights' = '40,25,20,10,5',
  'fields.fare.min' = '3.00', 'fields.fare.max' = '100.00'
);

CREATE TABLE trips (
  trip_id   BIGINT NOT NULL,
  borough   TEXT NOT NULL,
  fare      DECIMAL(8,2) CHECK (fare < 99.90),     -- a meter that broke: to the dead letters
  pickup_at TIMESTAMP NOT NULL,
  WATERMARK FOR pickup_at AS pickup_at - INTERVAL '15' SECOND
) WITH (
  connector = 'kafka', topic = '${DEMO_TOPIC:-trips}', format = 'json',
  'bootstrap.servers' = '${KAFKA:-localhost:9092}',
  'dead.letter' = 'trips_dead'
);

-- Kept current while a minute is open; final when it closes.
CREATE TABLE trips_by_minute (
  minute TIMESTAMP, borough TEXT, trips BIGINT, revenue DECIMAL(20,2), dearest DECIMAL(8,2),
  PRIMARY KEY (minute, borough)
) WITH (connector = 'sqlite', path = '${DEMO_DB:-demo.db}');

-- Running totals: the same transaction as the minutes, so the two always add up.
CREATE TABLE trips_by_borough (
  borough TEXT PRIMARY KEY, trips BIGINT, revenue DECIMAL(20,2), mean_fare DECIMAL(8,2)
) WITH (connector = 'sqlite', path = '${DEMO_DB:-demo.db}');

CREATE TABLE trips_dead (
  kind TEXT, reason TEXT, message TEXT, "partition" TEXT, "offset" BIGINT, insert_into TEXT
) WITH (connector = 'sqlite', path = '${DEMO_DB:-demo.db}');

INSERT INTO trips_by_minute
SELECT window_start, borough, count(*), sum(fare), max(fare)
FROM TUMBLE(trips, pickup_at, INTERVAL '1' MINUTE)
GROUP BY window_start, window_end, borough;

INSERT INTO trips_by_borough
SELECT borough, count(*), sum(fare), avg(fare)
FROM trips
GROUP BY borough;
