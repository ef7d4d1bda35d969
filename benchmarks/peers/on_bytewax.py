"""Bytewax: files in, tumbling windows by event time, rows into a sink that drops them.

A process for each core, because its operators are Python and would share a lock in one: this program starts
itself again as each of them, and each reads one of the files. JSON is read with orjson, in batches.

Its clock is one for each key and counts what arrives, from whichever file: where one file is read faster than the
other, rows are late that are not. So windows wait until the input ends. A key of Bytewax costs a clock and
a window in Python: so its keys are a few shards, and what a window folds is a dictionary of our keys.
"""

import os
import socket
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from zlib import crc32

from passes import Asked, measure

asked = Asked()
SHARDS = 2 * int(os.environ["THREADS"])
START = datetime(2026, 1, 1, tzinfo=timezone.utc)


def flow(write):
    """The dataflow, the same in each process."""
    import orjson
    from bytewax import operators as op
    from bytewax.connectors.files import DirSource
    from bytewax.dataflow import Dataflow
    from bytewax.operators import windowing as win
    from bytewax.outputs import DynamicSink, StatelessSinkPartition

    def parse(lines):
        events = map(orjson.loads, lines)
        if asked.scenario == "high":
            keyed = ((e["user_name"], e) for e in events)
        else:
            keyed = ((e["kind"] + "," + e["place"], e) for e in events)
        at = datetime.fromisoformat
        return [(shard(key), (at(e["ts"] + "+00:00"), key, round(e["amount"] * 100))) for key, e in keyed]

    def shard(key):
        return str(crc32(key.encode()) % SHARDS)

    def fold(sums, event):
        _, key, cents = event
        sum_of = sums.get(key)
        if sum_of is None:
            sums[key] = [1, cents]
        else:
            sum_of[0] += 1
            sum_of[1] += cents
        return sums

    class Sink(DynamicSink):
        """Passes what each worker gets to `write`."""

        def build(self, step_id, worker_index, worker_count):
            part = StatelessSinkPartition.__new__(Part)
            part.file = open(asked.out / f"part-{worker_index}.csv", "w", encoding="utf8") if write else None
            return part

    class Part(StatelessSinkPartition):
        """One worker's rows."""

        def write_batch(self, items):
            if self.file:
                for _, (window, sums) in items:
                    minute = f"{START + timedelta(minutes=window):%Y-%m-%d %H:%M}"
                    self.file.writelines(f"{minute},{key},{n},{cents / 100}\n" for key, (n, cents) in sums.items())

        def close(self):
            if self.file:
                self.file.close()

    def merge(*_):
        raise AssertionError("tumbling windows do not merge")

    dataflow = Dataflow("windows")
    lines = op.input("files", dataflow, DirSource(asked.lanes, "*.json", batch_size=1000))
    events = op.flat_map_batch("parse", lines, parse)
    clock = win.EventClock(lambda event: event[0], wait_for_system_duration=timedelta(days=1))
    windower = win.TumblingWindower(timedelta(minutes=1), align_to=START)
    counted = win.fold_window("count", events, clock, windower, dict, fold, merge, ordered=False)
    op.output("rows", counted.down, Sink())
    return dataflow


def free_ports(count):
    """Ports that nobody listens on."""
    sockets = [socket.create_server(("localhost", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def once(out):
    addresses = ";".join(f"localhost:{port}" for port in free_ports(int(os.environ["THREADS"])))
    processes = []
    for index in range(int(os.environ["THREADS"])):
        env = dict(os.environ, BYTEWAX_PART=str(index), BYTEWAX_PARTS=addresses, BYTEWAX_WRITE="1" if out else "")
        processes.append(subprocess.Popen([sys.executable, *sys.argv], env=env))
    if any([process.wait() for process in processes]):
        sys.exit("a process of bytewax failed")


if "BYTEWAX_PART" in os.environ:
    from bytewax.run import cli_main

    parts = os.environ["BYTEWAX_PARTS"].split(";")
    cli_main(flow(os.environ["BYTEWAX_WRITE"]), process_id=int(os.environ["BYTEWAX_PART"]), addresses=parts)
else:
    measure(asked, once)
