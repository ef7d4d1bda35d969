"""Polars, a batch reference: the same GROUP BY as a lazy query with the streaming engine.

POLARS_MAX_THREADS threads, the schema given, and only the columns that are needed; amounts are summed
as whole cents, because a decimal in JSON is read as a float.
"""

import os

os.environ["POLARS_MAX_THREADS"] = os.environ["THREADS"]
import polars as pl
from passes import Asked, measure

asked = Asked()
SCHEMA = {
    "ts": pl.String, "id": pl.Int64, "user_name": pl.String, "kind": pl.String, "place": pl.String, "amount": pl.Float64
}


def query():
    rows = pl.scan_ndjson(f"{asked.lanes}/*.json", schema=SCHEMA)
    # The minute is the head of the text: cheaper than reading all of it as a time.
    rows = rows.select(pl.col("ts").str.slice(0, 16).alias("minute"), *asked.keys, "amount")
    cents = (pl.col("amount") * 100).round().cast(pl.Int64).sum()
    return rows.group_by("minute", *asked.keys).agg(pl.len().alias("n"), (cents / 100).alias("amount"))


def once(out):
    frame = query().collect(engine="streaming")
    if out:
        frame.write_csv(out / "part.csv", include_header=False)


measure(asked, once)
