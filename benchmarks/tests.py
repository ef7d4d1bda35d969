#!/usr/bin/env python3
"""What the comparisons promise, without any peer: they notice what differs, and leave out nobody silently.

    benchmarks/tests.py

Needs Python alone, installs nothing and takes a second.
"""

import ast
import importlib.machinery
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import unittest
import unittest.mock
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE / "peers"), str(HERE / "measuring")]
sys.dont_write_bytecode = True
from machine import cores  # noqa: E402
from model import fit, held_against, rate, wall  # noqa: E402
from paste import DOCUMENTS, MARKED, pasted  # noqa: E402
from peers import PEERS, jars  # noqa: E402
from plots import page  # noqa: E402
from processes import watch  # noqa: E402
from results import difference, minutes  # noqa: E402
from shape import markdown  # noqa: E402
from shown import table  # noqa: E402

ROWS = ["2026-01-01 00:00,click,Hanoi,2,3.50", "2026-01-01 00:00,view,Hanoi,1,0.25", "2026-01-01 00:01,click,Hanoi,4,1"]


PROGRAMS = ("compare", "end_to_end", "kafka", "memory", "nexmark_beside_duckdb", "scaling")


def program(name):
    """A program of this folder, as a module."""
    loader = importlib.machinery.SourceFileLoader(name, str(HERE / name))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader))
    # A dataclass in it looks for its module here.
    sys.modules[name] = module
    loader.exec_module(module)
    return module


def of(*rows):
    """What rows come to that an engine wrote."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "part-0").write_text("\n".join(rows) + "\n")
        (Path(folder) / "_SUCCESS").touch()
        return minutes(folder)


class Pasted(unittest.TestCase):
    def test_a_figure_replaces_what_stood_there_and_the_others_stay(self):
        document = "a\n<!-- figure one -->\nold\n<!-- end -->\nb\n<!-- figure two -->\n<!-- end -->\n<!-- figure none -->\nc\n<!-- end -->\n"

        once = pasted(document, {"one": "about\n\n| x |\n", "two": "rows  5\n"})

        self.assertIn("a\n<!-- figure one -->\n\nabout\n\n| x |\n\n<!-- end -->\nb", once)
        self.assertIn("<!-- figure two -->\n\n```text\nrows  5\n```\n\n<!-- end -->", once)
        self.assertTrue(once.endswith("<!-- figure none -->\nc\n<!-- end -->\n"))
        self.assertEqual(once, pasted(once, {"one": "about\n\n| x |\n", "two": "rows  5\n"}))

    def test_every_figure_of_a_document_is_one_that_is_measured(self):
        asked = {found[2] for path in DOCUMENTS for found in MARKED.finditer(path.read_text())}
        measured = set(re.findall(r"^ *figure ([a-z_]+) ", (HERE / "figures").read_text(), re.MULTILINE))

        self.assertEqual(asked, measured)


class Results(unittest.TestCase):
    def test_order_and_writing_do_not_matter(self):
        other = ["2026-01-01T00:01:00Z,click,Hanoi,4,1.00", '"2026-01-01 00:00:00","view",Hanoi,1,0.250', ROWS[0]]

        self.assertIsNone(difference(of(*ROWS), of(*other)))

    def test_a_wrong_sum_is_noticed(self):
        wrong = [ROWS[0].replace("3.50", "3.51"), *ROWS[1:]]

        self.assertIn("minute 2026-01-01 00:00: sums of 3.75 and 3.76", difference(of(*ROWS), of(*wrong)))

    def test_a_sum_at_another_key_is_noticed(self):
        swapped = [ROWS[0].replace("click", "view"), ROWS[1].replace("view", "click"), ROWS[2]]

        self.assertIn("other keys", difference(of(*ROWS), of(*swapped)))

    def test_a_missing_and_a_doubled_row_are_noticed(self):
        self.assertIn("2 and 1 rows", difference(of(*ROWS), of(*ROWS[1:])))
        self.assertIn("2 and 3 rows", difference(of(*ROWS), of(*ROWS, ROWS[1])))

    def test_only_the_last_minutes_may_be_open_and_only_if_said(self):
        self.assertIn("once only", difference(of(*ROWS), of(*ROWS[:2])))
        self.assertIsNone(difference(of(*ROWS), of(*ROWS[:2]), open_minutes=1))
        self.assertIn("once only", difference(of(*ROWS), of(ROWS[2]), open_minutes=1))


class Programs(unittest.TestCase):
    def test_every_program_parses_and_says_what_it_promises(self):
        paths = [*HERE.glob("*/*.py"), *(HERE / name for name in PROGRAMS)]

        self.assertGreater(len(paths), 16)
        for path in paths:
            self.assertTrue(ast.get_docstring(ast.parse(path.read_text(), str(path))), path)

    def test_every_peer_has_its_settings_written_down(self):
        text = (HERE / "peers" / "README.md").read_text()

        for peer in PEERS:
            self.assertIn(f"## {peer.name} {peer.version}", text.lower())

    def test_every_nexmark_query_is_said_in_the_words_of_duckdb(self):
        beside = program("nexmark_beside_duckdb")

        for path in sorted((HERE / "nexmark").glob("*.sql")):
            text = path.read_text()
            query = beside.theirs(text)
            for word in ("TUMBLE(", "HOP(", "SESSION(", "to_char(", "regexp_like(", "regexp_match("):
                self.assertNotIn(word, query, path.name)
            self.assertNotIn("'nexmark'", beside.ours(text, "folder", "connector = 'discard'"), path.name)

    def test_the_end_of_a_program_and_its_time_are_seen(self):
        with tempfile.TemporaryDirectory() as folder:
            # It works for longer than memory is left unseen.
            program = "import sys; print('ready', flush=True); sum(range(20_000_000)); sys.exit(3)"
            run = watch([sys.executable, "-c", program], None, Path(folder) / "log", 30)

        self.assertEqual((run.code, [seen.line for seen in run.lines]), (3, ["ready", ""]))
        self.assertGreater(run.peak_mb, 1)

    def test_a_program_that_nobody_waits_for_any_more_is_ended(self):
        class Ended(Exception):
            pass

        seen = []

        def end(pid):
            seen.append(pid)
            raise Ended

        with tempfile.TemporaryDirectory() as folder, unittest.mock.patch("processes.cpu_seconds", end):
            program = "import time; print('ready', flush=True); time.sleep(600)"
            with self.assertRaises(Ended):
                watch([sys.executable, "-c", program], None, Path(folder) / "log", 30)

        with self.assertRaises(ProcessLookupError):
            os.kill(seen[0], 0)

    def test_an_unknown_figure_is_refused_and_no_other_runs(self):
        env = dict(os.environ, FIGURES="peers peer")
        asked = subprocess.run([HERE / "figures"], env=env, capture_output=True, text=True, check=False)

        self.assertEqual(asked.returncode, 2)
        self.assertIn("there is no figure `peer`; there are: scenarios headline", asked.stderr)

    def test_jars_are_brought_anew_until_all_was_done(self):
        done = []

        class One:
            folder, version = None, "1"

        def step(command):
            done.append(command[0])
            if command[0] == "javac" and done.count("javac") == 1:
                raise RuntimeError("there is no `javac` on this machine")

        with tempfile.TemporaryDirectory() as folder, unittest.mock.patch("peers.run", step):
            One.folder = Path(folder)
            (One.folder / "lib").mkdir()
            (One.folder / "lib" / "old.jar").touch()
            with self.assertRaises(RuntimeError):
                jars(One, "flink", ["javac"])
            jars(One, "flink", ["javac"])
            jars(One, "flink", ["javac"])

            self.assertEqual(list((One.folder / "lib").iterdir()), [])
        self.assertEqual(done, ["mvn", "javac", "mvn", "javac"])


class Shown(unittest.TestCase):
    def test_a_peer_that_could_not_be_run_is_in_the_table_with_its_reason(self):
        base = {"version": "1", "kind": "streams", "scenario": "low", "rows": 5_000_000, "threads": 2, "date": "d", "commit": "c",
                "machine": "m", "failure": None}
        ours = dict(base, peer="tidemark", start_seconds=0.1, pass_seconds=[1.0, 2.0, 1.0], cpu_seconds=[2, 2, 2], peak_mb=10)
        slow = dict(base, peer="slow", start_seconds=1, pass_seconds=[9.0, 4.0, 5.0], cpu_seconds=[8, 8, 8], peak_mb=10)
        none = dict(base, peer="none", start_seconds=None, pass_seconds=[], cpu_seconds=[], peak_mb=None, failure="no jar")

        text = table([none, slow, ours])

        self.assertIn("| none 1 |  |  |  |  |  |  |  |  | no jar |", text)
        self.assertIn("| slow 1 | 1 | 1.12 | 1.25 | 4.4 times as fast | 0.5 | 1.00 | 1.60 | 10 | the same |", text)
        self.assertLess(text.index("tidemark 1"), text.index("slow 1"))

    def test_the_model_finds_what_it_was_made_from(self):
        workers = (1, 2, 4, 10)
        # Each run has five epochs.
        processes = [
            {"x": w, "rows": 1_000_000, "seconds": 0.5, "commits": 5, "cpu_seconds": 0.4 + 0.2 * (1 - 1 / w) + 5 * (1e-4 * w + 2e-6 * w * w)}
            for w in workers]
        epochs = [{"x": w, "commits": 500, "cpu_seconds": 500 * (1e-4 * w + 2e-6 * w * w)} for w in workers]

        kept = {"processes": {"points": processes}, "epochs": {"points": epochs}}
        model = fit(kept)

        for name, value in {"own": 0.4, "sent": 0.2, "each": 1e-4, "pairs": 2e-6}.items():
            self.assertAlmostEqual(model[name], value, msg=name)
        self.assertAlmostEqual(rate(model, 1, 1.0)[0], (2 - 2.08e-4) / 0.5)
        self.assertAlmostEqual(wall(model, 0.1, 0.1), (0.1 * 0.1 - 1e-4) / 2e-6 / 2)
        against = held_against(kept, model)
        self.assertIn("| processes: 2 | 0.50 | 0.50 | +0% | 2.00 | 4.00 | +100% |", against)
        self.assertIn("| processes: 10 | 1.20 | 1.20 | +0% |", against)

    def test_a_table_is_markdown(self):
        self.assertEqual(markdown(["a", "b"], [["x", 1]]), "| a | b |\n| --- | --- |\n| x | 1 |\n")

    def test_a_point_is_its_runs_without_what_came_before(self):
        scaling = program("scaling")
        base = [scaling.Run(2.0, 3.0, 50, 1), scaling.Run(1.0, 2.5, 50, 1)]
        runs = [scaling.Run(seconds, 4.5, 90, commits) for seconds, commits in ((3.0, 7), (5.0, 9), (4.0, 8))]

        point = scaling.of_runs(10, 1000, base, runs)

        self.assertEqual([point[name] for name in ("fastest", "seconds", "slowest", "start_seconds")], [2.0, 3.0, 4.0, 1.0])
        self.assertEqual([point[name] for name in ("cpu_seconds", "peak_mb", "commits", "rows")], [2.0, 90, 8, 1000])

    def test_a_run_gets_so_many_rows_that_it_has_several_commits(self):
        scaling = program("scaling")

        self.assertEqual(scaling.enough(1000, 0.8, 35), 44_000)
        self.assertEqual(scaling.enough(1000, 0.8, 0.035), 1000)

    def test_what_was_measured_with_other_threads_is_not_compared(self):
        base = {"version": "1", "kind": "streams", "scenario": "low", "rows": 5_000_000, "commit": "c", "machine": "m", "failure": None,
                "start_seconds": 1, "pass_seconds": [2.0], "cpu_seconds": [2], "peak_mb": 10}
        ours = dict(base, peer="tidemark", threads=4, date="d")
        other = dict(base, peer="other", threads=2, date="e")

        text = table([ours, other])

        self.assertIn("2 and 4 threads (m, d and e, commit c)", text)
        self.assertIn("| other 1 | 2.5 | 2.5 | 2.5 |  |", text)

    def test_fewer_cores_than_there_are_are_said(self):
        self.assertEqual((cores(2, 2), cores(2, 8)), ("2 cores", "2 of 8 cores"))

    def test_the_plots_need_nothing_else(self):
        points = [{"x": x, "rows": 10**6, "seconds": 1, "slowest": 2, "fastest": 0.5, "cpu_seconds": 1, "commits": 9} for x in (1, 10)]

        drawn = page({"threads": {"points": points}, "epochs": {"points": points}})

        self.assertEqual(drawn.count("<polyline"), 2)
        self.assertEqual(drawn.count("http"), 1, "the name of SVG, which nobody asks for")


if __name__ == "__main__":
    unittest.main()
