"""DuckDB, a batch reference: the same GROUP BY over the same files, into a table in memory.

Two threads, the schema given, time zone UTC; it has no notion of a late row, and there are none.
"""

import os

import duckdb
from passes import Asked, measure

asked = Asked()
keys = ", ".join(asked.keys)
db = duckdb.connect()
db.execute(f"SET threads = {os.environ['THREADS']}; SET preserve_insertion_order = false")
QUERY = f"""
SELECT date_trunc('minute', ts) AS minute, {keys}, count(*) AS n, sum(amount) AS amount
FROM read_json('{asked.lanes}/*.json', format = 'newline_delimited', columns = {{
  ts: 'TIMESTAMP', id: 'BIGINT', user_name: 'VARCHAR', kind: 'VARCHAR', place: 'VARCHAR', amount: 'DECIMAL(10, 2)'}})
GROUP BY ALL
"""


def once(out):
    db.execute(f"CREATE OR REPLACE TABLE per_minute AS {QUERY}")
    if out:
        db.execute(f"COPY per_minute TO '{out}/part.csv' (HEADER false)")


measure(asked, once)
