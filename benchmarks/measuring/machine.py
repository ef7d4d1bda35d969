"""What stands beside every figure: the day, the commit and the machine; and what has to be there to measure."""

import hashlib
import os
import shutil
import subprocess
import sys
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
    return f"{cores(len(os.sched_getaffinity(0)), os.cpu_count())}, {model}, {gigabytes:.0f} GiB"


def cores(allowed, there):
    return f"{there} cores" if allowed == there else f"{allowed} of {there} cores"


def about():
    """One line that belongs above every table."""
    return f"{machine()}; {today()}, commit {commit()}"


def keep_to(count):
    """Holds this program, and all that it starts from now on, to so many cores: threads alone bound nobody, since an
    engine may read and decode on more of them than it was told."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])


def build(folder=BENCHMARKS.parent, name="tidemark"):
    """A release build of Tidemark, or of the crate in a folder."""
    subprocess.run(["cargo", "build", "--release", "--quiet"], cwd=folder, check=True)
    # A path that is not absolute is one below where cargo was called.
    return Path(folder) / os.environ.get("CARGO_TARGET_DIR", "target") / "release" / name


def files(binary, scenario, folder, rows):
    """The pattern of the files that hold the load of a scenario; they are made once, and anew when it is changed."""
    version = hashlib.sha256((Path(folder) / f"{scenario}.sql").read_bytes()).hexdigest()[:8]
    data = BENCHMARKS / ".data" / "loads" / f"{scenario}-{rows}-{version}"
    if not (data / "done").exists():
        shutil.rmtree(data, ignore_errors=True)
        once = ["--repeat", "1", "--warm-up", "0", "--rows", rows, "--folder", folder, "--data", data]
        made = subprocess.run([str(part) for part in [binary, "bench", "scenario", scenario, *once]], capture_output=True, text=True)
        if made.returncode != 0:
            sys.exit(f"the load of {scenario} could not be made:\n{made.stderr}")
        (data / "done").touch()
    return next(data.glob("load-*")) / "*.json"


if __name__ == "__main__":
    print(about())
