"""Who is compared: how each is installed, started, and what was set for it.

Everything is installed under benchmarks/.peers, which git ignores: a folder for each, from PyPI or Maven Central.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
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
    # So many rows instead of all, where it would take minutes for each pass.
    most_rows: int = 10**12

    @property
    def folder(self):
        return INSTALLED / f"{self.name}-{self.version}"


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


class SparkWithJars(Python):
    """Spark, and the jars with which it reaches a topic and a table."""

    def install(self):
        super().install()
        jars(self, "spark")


class Flink(Peer):
    """Jars of Maven Central, and a program in Java."""

    OPTIONS = [
        "-Xms6g", "-Xmx6g", "-XX:MaxDirectMemorySize=1g", "-XX:+UseParallelGC", "--add-opens=java.base/java.util=ALL-UNNAMED",
        "--add-opens=java.base/java.lang=ALL-UNNAMED", "--add-opens=java.base/java.time=ALL-UNNAMED",
    ]

    def install(self):
        program = HERE / "flink" / "OnFlink.java"
        jars(self, "flink", ["javac", "-cp", f"{self.folder}/lib/*", "-d", self.folder / "classes", program])

    def command(self):
        return ["java", *self.OPTIONS, "-cp", f"{self.folder}/classes:{self.folder}/lib/*", "OnFlink"]


PEERS = [
    Python("spark", "4.3.0", "streams", open_minutes=2),
    # Its connector for Kafka has to be of its own version; it is the newest that is whole in Maven Central (2026-11-21).
    SparkWithJars("spark", "4.0.0", "streams", open_minutes=2, scenarios=("kafka",)),
    Flink("flink", "2.3.0", "streams", scenarios=("low", "high", "kafka")),
    Python("pathway", "0.33.0", "streams"),
    Python("bytewax", "0.21.1", "streams", most_rows=1_000_000),
    Python("duckdb", "2.0.0", "batch"),
    Python("polars", "2.1.0", "batch"),
]


def jars(peer, folder, then=None):
    """Brings the jars that a `pom.xml` names, and does what is to be done with them then; once, and anew when a file
    of that folder is changed."""
    stamp, lib = peer.folder / "jars", peer.folder / "lib"
    wanted = "".join(path.read_text() for path in sorted((HERE / folder).iterdir()))
    if stamp.exists() and stamp.read_text() == wanted:
        return
    stamp.unlink(missing_ok=True)
    # An environment of Python has a `lib` too: jars lie beside its folders.
    lib.mkdir(parents=True, exist_ok=True)
    for jar in lib.glob("*.jar"):
        jar.unlink()
    run(["mvn", "-q", "-B", "-f", HERE / folder / "pom.xml", f"-Dpeer.version={peer.version}",
         "dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={lib}"])
    if then:
        run(then)
    # Last: what ended half way is done again.
    stamp.write_text(wanted)


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


def environment(peer, threads):
    """What every program gets."""
    jars = ",".join(str(path) for path in sorted((peer.folder / "lib").glob("*.jar")))
    return dict(os.environ, THREADS=str(threads), JARS=jars, PYTHONPATH=str(HERE), PYTHONDONTWRITEBYTECODE="1", TZ="UTC")
