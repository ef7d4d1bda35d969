"""Who is compared: how each is installed, started, and what was set for it.

Everything is installed under benchmarks/.peers, which git ignores: a folder for each, from PyPI or Maven Central.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
INSTALLED = HERE.parent / ".peers"
INSTALL_SECONDS = 1200


@dataclass(frozen=True)
class Peer:
    """An engine beside Tidemark."""

    name: str
    version: str
    kind: str
    # Its watermark ends with the input, so that the windows it has not passed are never written.
    open_minutes: int = 0
    scenarios: tuple = ("low", "high")
    # Why it cannot take part in a scenario.
    lacks: dict = field(default_factory=dict)
    # So many rows instead of all, where it would take minutes for each pass.
    most_rows: int = 10**12

    @property
    def folder(self):
        return INSTALLED / self.name


class Python(Peer):
    """A package of PyPI, and a program `on_NAME.py`."""

    packages = {"spark": "pyspark", "bytewax": "bytewax", "pathway": "pathway", "duckdb": "duckdb", "polars": "polars"}
    beside = {"bytewax": ["orjson==3.11.4"]}

    def install(self):
        wanted = [f"{self.packages[self.name]}=={self.version}", *self.beside.get(self.name, [])]
        stamp = self.folder / "installed"
        if stamp.exists() and stamp.read_text() == " ".join(wanted):
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        run([sys.executable, "-m", "venv", self.folder])
        run([self.folder / "bin" / "python", "-m", "pip", "install", "--quiet", *wanted])
        stamp.write_text(" ".join(wanted))

    def command(self):
        return [self.folder / "bin" / "python", HERE / f"on_{self.name}.py"]


class Flink(Peer):
    """Jars of Maven Central, and a program in Java."""

    OPTIONS = [
        "-Xms6g", "-Xmx6g", "-XX:MaxDirectMemorySize=1g", "-XX:+UseParallelGC", "--add-opens=java.base/java.util=ALL-UNNAMED",
        "--add-opens=java.base/java.lang=ALL-UNNAMED", "--add-opens=java.base/java.time=ALL-UNNAMED",
    ]

    def install(self):
        pom, program = HERE / "flink" / "pom.xml", HERE / "flink" / "OnFlink.java"
        stamp = self.folder / "installed"
        wanted = self.version + pom.read_text() + program.read_text()
        if stamp.exists() and stamp.read_text() == wanted:
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        (self.folder / "lib").mkdir(parents=True)
        copy = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={self.folder / 'lib'}"]
        run(["mvn", "-q", "-B", "-f", pom, f"-Dflink.version={self.version}", *copy])
        run(["javac", "-cp", f"{self.folder}/lib/*", "-d", self.folder / "classes", program])
        stamp.write_text(wanted)

    def command(self):
        return ["java", *self.OPTIONS, "-cp", f"{self.folder}/classes:{self.folder}/lib/*", "OnFlink"]


ALL = ("low", "high", "kafka")
NO_CONNECTOR = "not run: spark-sql-kafka-0-10 4.3.0 is not in Maven Central (seen on 2026-11-21)"
NOT_YET = "not run: its program for this has not been tried to its end"
PEERS = [
    Python("spark", "4.3.0", "streams", open_minutes=2, scenarios=ALL, lacks={"kafka": NO_CONNECTOR}),
    Flink("flink", "2.3.0", "streams", scenarios=ALL, lacks={"kafka": NOT_YET}),
    Python("pathway", "0.33.0", "streams"),
    Python("bytewax", "0.21.1", "streams", most_rows=1_000_000),
    Python("duckdb", "2.0.0", "batch"),
    Python("polars", "2.1.0", "batch"),
]


def run(command):
    """Runs a step of an installation; what it says if it fails becomes the reason."""
    parts = [str(part) for part in command]
    try:
        subprocess.run(parts, check=True, capture_output=True, text=True, timeout=INSTALL_SECONDS)
    except FileNotFoundError as error:
        raise RuntimeError(f"there is no `{parts[0]}` on this machine") from error
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"`{parts[0]}` took longer than {INSTALL_SECONDS} s") from error
    except subprocess.CalledProcessError as error:
        said = (error.stderr or error.stdout).strip().splitlines() or ["nothing"]
        raise RuntimeError(f"`{' '.join(parts[:4])} ..` said: {said[-1]}") from error


def environment(threads):
    """What every program gets."""
    return dict(os.environ, THREADS=str(threads), PYTHONPATH=str(HERE), PYTHONDONTWRITEBYTECODE="1", TZ="UTC")
