"""What stands beside every figure: the day, the commit and the machine; and what has to be there to measure."""

import os
import shutil
import subprocess
from datetime import datetime, timezone
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parent.parent


def today():
    return f"{datetime.now(timezone.utc):%Y-%m-%d}"


def commit():
    """The commit, and whether what is built from differs from it."""
    git = ["git", "-C", str(BENCHMARKS.parent)]
    head = subprocess.run([*git, "rev-parse", "--short=7", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    same = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", "src", "Cargo.toml", "Cargo.lock"], check=False).returncode == 0
    return head if same else f"{head} and changes"


def machine():
    """How many cores of what, and how much memory."""
    with open("/proc/cpuinfo", encoding="utf8") as lines:
        model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown cores")
    gigabytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return f"{os.cpu_count()} cores, {model}, {gigabytes:.0f} GiB"


def build():
    """A release build of Tidemark."""
    subprocess.run(["cargo", "build", "--release", "--quiet"], cwd=BENCHMARKS.parent, check=True)
    return Path(os.environ.get("CARGO_TARGET_DIR", BENCHMARKS.parent / "target")) / "release" / "tidemark"


def files(binary, scenario, folder, rows):
    """The pattern of the files that hold the load of a scenario; they are made once."""
    data = BENCHMARKS / ".data" / "loads" / f"{scenario}-{rows}"
    if not (data / "done").exists():
        shutil.rmtree(data, ignore_errors=True)
        once = ["--repeat", "1", "--warm-up", "0", "--rows", rows, "--folder", folder, "--data", data]
        command = [binary, "bench", "scenario", scenario, *once]
        subprocess.run([str(part) for part in command], check=True, capture_output=True)
        (data / "done").touch()
    return next(data.glob("load-*")) / "*.json"
