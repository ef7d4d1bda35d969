"""Watches a program and all processes that it starts: the time, the CPU time and the memory at each line it prints.

Memory is the resident memory of all of them together, looked at twenty times a second; CPU time is user and
system, of those that have ended too. Nothing of this is asked of the program itself.
"""

import os
import signal
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
EVERY_SECONDS = 0.05


@dataclass
class Seen:
    """What was so when a line came; the last one is the end and has no text."""

    line: str
    seconds: float
    cpu_seconds: float


@dataclass
class Watched:
    """A program that has ended."""

    lines: list
    peak_mb: float
    code: int
    log: str


def watch(command, env, log, limit):
    """Runs a program until it ends, or ends it after `limit` seconds."""
    start = time.monotonic()
    with open(log, "w", encoding="utf8") as errors:
        process = subprocess.Popen(
            [str(part) for part in command], env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors,
            text=True, start_new_session=True)
    over = threading.Timer(limit, end_group, [process.pid])
    over.start()
    peak, done = [0.0], threading.Event()
    looking = threading.Thread(target=look, args=(process.pid, peak, done))
    looking.start()
    lines = []
    try:
        for line in process.stdout:
            lines.append(Seen(line.strip(), time.monotonic() - start, cpu_seconds(process.pid)))
        process.stdout.close()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = code = os.waitstatus_to_exitcode(status)
        lines.append(Seen("", time.monotonic() - start, usage.ru_utime + usage.ru_stime))
    finally:
        over.cancel()
        done.set()
        looking.join()
        if process.returncode is None:
            end_group(process.pid)
            process.wait()
            process.stdout.close()
    # Not `usage.ru_maxrss`: that begins with what this program itself had when it started the other.
    return Watched(lines, peak[0] / 1e6, code, Path(log).read_text(encoding="utf8", errors="replace"))


def end_group(pid):
    """Ends a program, and what it started: it takes too long, or nobody waits for it any more."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def look(pid, peak, done):
    """Keeps the most memory that all of them had at a time."""
    while True:
        peak[0] = max(peak[0], sum(resident_bytes(each) for each in tree(pid)))
        if done.wait(EVERY_SECONDS):
            return


def tree(pid):
    """A process and its living descendants."""
    found = [pid]
    for each in found:
        try:
            for children in list(Path(f"/proc/{each}/task").glob("*/children")):
                found += map(int, children.read_text().split())
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def resident_bytes(pid):
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
    except (FileNotFoundError, ProcessLookupError):
        return 0


def cpu_seconds(pid):
    """Of a process and its descendants, those included that they have waited for."""
    total = 0
    for each in tree(pid):
        try:
            fields = Path(f"/proc/{each}/stat").read_text().rsplit(")", 1)[1].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        total += sum(map(int, fields[11:15]))
    return total / TICKS
