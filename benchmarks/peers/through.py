"""Kafka in, PostgreSQL out: the topic, the tables, and what stands in them afterwards.

Servers are those of `scripts/services`: $KAFKA and $DATABASE_URL. Topics and schemas begin with `compare`.
"""

import os
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

HERE = Path(__file__).resolve().parent
PIPELINE = """
CREATE TABLE events (
  ts TIMESTAMP NOT NULL, id BIGINT NOT NULL, user_name TEXT NOT NULL, kind TEXT NOT NULL,
  place TEXT NOT NULL, amount DECIMAL(10, 2) NOT NULL,
  WATERMARK FOR ts AS ts - INTERVAL '5' SECOND
) WITH (connector = 'kafka', topic = '{topic}', 'bootstrap.servers' = '${{KAFKA}}', format = 'json');
CREATE TABLE per_minute (minute TIMESTAMP, kind TEXT, place TEXT, n BIGINT, amount DECIMAL(20, 2), PRIMARY KEY (minute, kind, place))
  WITH (connector = 'postgres', url = '${{DATABASE_URL}}');
INSERT INTO per_minute
  SELECT window_start, kind, place, count(*), sum(amount)
  FROM TUMBLE(events, ts, INTERVAL '1' MINUTE)
  GROUP BY window_start, window_end, kind, place;
"""


def missing():
    """What there has to be and is not."""
    wanted = [name for name in ("KAFKA", "DATABASE_URL") if name not in os.environ]
    return f"there is no ${' and no $'.join(wanted)}: scripts/services up && source .services/env" if wanted else None


def topic(binary, rows):
    """The topic with so many rows; it is filled once."""
    name = f"compare-windows-{rows}"
    command = [binary, "produce", "--quiet", "--topic", name, "--partitions", "10"]
    subprocess.run([*command, "--from", HERE / "topic.sql", "events"], check=True, env=dict(os.environ, ROWS=str(rows)))
    return name


def query(sql, out=None):
    """Runs SQL in the database."""
    command = ["psql", "-qX", "-v", "ON_ERROR_STOP=1", os.environ["DATABASE_URL"], "-c", "SET client_min_messages = error", "-c", sql]
    subprocess.run(command, check=True, stdout=out)


def schema_of(peer):
    """Where a peer's table is."""
    return f"compare_{peer}"


def environment(schema):
    """An empty schema, and the variables with which a program finds it."""
    query(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
    query(f"CREATE SCHEMA {schema}")
    url = os.environ["DATABASE_URL"]
    parts = urlsplit(url)
    who = f"user={parts.username}&password={parts.password}"
    jdbc = f"jdbc:postgresql://{parts.hostname}:{parts.port}{parts.path}?currentSchema={schema}&{who}"
    return {"DATABASE_URL": f"{url}?options=-csearch_path%3D{schema}", "JDBC_URL": jdbc}


def table(schema):
    """The table that a peer writes into, keyed as Tidemark's."""
    query(f"CREATE TABLE {schema}.per_minute (minute timestamp, kind text, place text, n bigint, amount numeric(38, 2),"
          " PRIMARY KEY (minute, kind, place))")


def export(schema, folder):
    """What stands in the table, as other engines write it."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "part.csv", "w", encoding="utf8") as out:
        query(f"COPY (SELECT minute, kind, place, n, amount FROM {schema}.per_minute) TO STDOUT (FORMAT csv)", out)
