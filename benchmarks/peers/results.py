"""Whether two engines gave the same rows: counts, sums and a checksum for every minute.

Rows come as CSV without a header, in any order and any number of files: minute, keys, count, sum. A sum is
compared in whole cents, so it does not matter how an engine writes decimals; a count and a key are compared
as they are. One wrong, missing or doubled row changes its minute's checksum.
"""

import csv
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Minute:
    """All rows of a minute."""

    rows: int = 0
    events: int = 0
    cents: int = 0
    checksum: int = 0


def rows(folder):
    """Each row of the CSV files of a folder as minute, keys, count, cents; what is hidden is not output."""
    for path in sorted(path for path in Path(folder).rglob("*") if path.is_file()):
        if path.suffix == ".tidemark" or any(part.startswith((".", "_")) for part in path.relative_to(folder).parts):
            continue
        with open(path, newline="", encoding="utf8") as file:
            for row in csv.reader(file):
                yield row[0][:16].replace("T", " "), ",".join(row[1:-2]), int(row[-2]), round(float(row[-1]) * 100)


def minutes(folder):
    """What the rows of a folder come to, by minute."""
    found = {}
    for minute, key, events, cents in rows(folder):
        sums = found.get(minute)
        if sums is None:
            sums = found[minute] = Minute()
        sums.rows += 1
        sums.events += events
        sums.cents += cents
        # The hash of a text, not of a tuple: sums of those are often the same for rows that swap their keys.
        sums.checksum = (sums.checksum + hash(f"{minute}|{key}|{events}|{cents}")) & (1 << 64) - 1
    return found


def difference(ours, theirs, open_minutes=0):
    """What is not the same, in words, or nothing.

    An engine whose watermark ends with its input leaves the last minutes open: up to `open_minutes` of them may
    be missing from `theirs`, whole and at the end.
    """
    may_miss = set(sorted(ours)[len(ours) - open_minutes:])
    for minute in sorted(ours.keys() | theirs.keys()):
        mine, other = ours.get(minute), theirs.get(minute)
        if mine == other or (other is None and minute in may_miss):
            continue
        if mine is None or other is None:
            return f"minute {minute} is there once only"
        if (mine.rows, mine.events) != (other.rows, other.events):
            return f"minute {minute}: {mine.rows} and {other.rows} rows of {mine.events} and {other.events} events"
        if mine.cents != other.cents:
            return f"minute {minute}: sums of {mine.cents / 100} and {other.cents / 100}"
        return f"minute {minute}: the same totals, spread over other keys"
    return None
