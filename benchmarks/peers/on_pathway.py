"""Pathway: files in, one row per minute and key, rows into the null sink; its engine with so many threads.

Files are read as `static`: Pathway then takes all input as one batch, which is its fastest way.
"""

import csv
import datetime
import os

os.environ["PATHWAY_THREADS"] = os.environ["THREADS"]
import pathway as pw
from passes import Asked, measure

asked = Asked()
MINUTE = datetime.timedelta(minutes=1)


class Event(pw.Schema):
    """The columns that the query needs."""

    ts: str
    user_name: str
    kind: str
    place: str
    amount: float


def windows():
    events = pw.io.jsonlines.read(str(asked.lanes), schema=Event, mode="static")
    keys = [events[key] for key in asked.keys]
    timed = events.select(at=pw.this.ts.dt.strptime("%Y-%m-%dT%H:%M:%S.%f"), *keys, amount=pw.this.amount)
    counted = {"n": pw.reducers.count(), "amount": pw.reducers.sum(pw.this.amount)}
    if "PATHWAY_WINDOWBY" in os.environ:
        instance = timed[asked.keys[0]] if len(asked.keys) == 1 else pw.make_tuple(*[timed[key] for key in asked.keys])
        grouped = timed.windowby(timed.at, window=pw.temporal.tumbling(duration=MINUTE), instance=instance)
        return grouped.reduce(minute=pw.this._pw_window_start, key=pw.this._pw_instance, **counted)
    floored = timed.with_columns(minute=pw.this.at.dt.floor(MINUTE))
    by = [floored.minute, *[floored[key] for key in asked.keys]]
    return floored.groupby(*by).reduce(*by, **counted)


def once(out):
    pw.internals.parse_graph.G.clear()
    table = windows()
    if out:
        pw.io.csv.write(table, out / "part.csv")
    else:
        pw.io.null.write(table)
    pw.run(monitoring_level=pw.MonitoringLevel.NONE)
    if out:
        without_times(out / "part.csv")


def without_times(path):
    """Its CSV has a header, and two columns more: when a row came, and that it did."""
    with open(path, newline="", encoding="utf8") as file:
        written = list(csv.reader(file))[1:]
    assert all(row[-1] == "1" for row in written), "a row was taken back"
    with open(path, "w", newline="", encoding="utf8") as file:
        csv.writer(file).writerows(row[:-2] for row in written)


measure(asked, once)
