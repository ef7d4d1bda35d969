"""What each peer's program in Python is asked, and how it answers.

    PROGRAM SCENARIO LANES SLICES PASSES SECONDS OUT

It runs the query of SCENARIO over the files PASSES times, dropping the rows (fewer times, once SECONDS
have gone by), then once more with the rows written as CSV under OUT: minute, keys, count, sum. For `kafka` LANES is
a topic, and each pass writes into the table `per_minute` at $JDBC_URL, where its rows are compared. After each it
prints a line, at which `benchmarks/compare` looks at the CPU time and the memory of all its processes:

    ready                  everything is loaded and started; the first pass begins
    pass SECONDS
    checked
"""

import sys
import time
from pathlib import Path

KEYS = {"low": ["kind", "place"], "high": ["user_name"], "kafka": ["kind", "place"]}


class Asked:
    """The arguments of a program."""

    def __init__(self):
        self.scenario, lanes, slices, passes, seconds, out = sys.argv[1:]
        self.keys = KEYS[self.scenario]
        self.lanes, self.slices, self.out = Path(lanes), Path(slices), Path(out)
        self.passes, self.seconds = int(passes), float(seconds)


def measure(asked, once):
    """Calls `once(None)` to drop the rows, and `once(folder)` to write them."""
    say("ready")
    began = time.monotonic()
    for turn in range(asked.passes):
        if turn > 0 and time.monotonic() - began > asked.seconds:
            break
        start = time.monotonic()
        once(None)
        say(f"pass {time.monotonic() - start:.3f}")
    if asked.scenario != "kafka":
        asked.out.mkdir(parents=True)
        once(asked.out)
    say("checked")


def say(line):
    """One line, at once."""
    print(line, flush=True)
