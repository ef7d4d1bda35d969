"""The table that `benchmarks/compare` prints, from what it measured."""

import statistics

from shape import markdown

HEADER = [
    "engine", "M rows/s: min", "median", "max", "tidemark is", "first run with its start", "start s", "CPU s per M", "peak MB", "result",
]
ABOUT = {
    "low": "from files, count and sum in windows of one minute, 60 keys",
    "high": "from files, count and sum in windows of one minute, 100,000 keys",
    "kafka": "the same of 60 keys, from a topic of ten partitions into a keyed table of PostgreSQL",
}


def table(kept):
    """One table for each scenario, the fastest first, as Markdown."""
    texts = []
    for scenario in ABOUT:
        found = [it for it in kept if it["scenario"] == scenario]
        if found:
            texts.append(one_table(scenario, found))
    return "\n".join(texts)


def warm(measured):
    """The passes that count: all of Tidemark's, which starts anew for each; of a peer, those after the first."""
    passes = list(zip(measured["pass_seconds"], measured["cpu_seconds"]))
    return passes if measured["peer"] == "tidemark" or len(passes) == 1 else passes[1:]


def rates(measured):
    return sorted(measured["rows"] / seconds / 1e6 for seconds, _ in warm(measured))


def one_table(scenario, found):
    ours = next((it for it in found if it["peer"] == "tidemark" and rates(it)), None)
    found = sorted(found, key=lambda it: -statistics.median(rates(it) or [0]))
    of = {name: " and ".join(sorted({str(it[name]) for it in found})) for name in ("threads", "machine", "date", "commit")}
    title = f"**{scenario}**: {ABOUT[scenario]}; {of['threads']} threads ({of['machine']}, {of['date']}, commit {of['commit']})"
    return title + "\n\n" + markdown(HEADER, [row(it, ours) for it in found])


def times(measured, ours):
    """How much faster Tidemark is, if both had the same."""
    alike = ours and all(measured[name] == ours[name] for name in ("threads", "machine"))
    if not alike or measured["peer"] == "tidemark":
        return ""
    return f"{statistics.median(rates(ours)) / statistics.median(rates(measured)):.1f} times as fast"


def row(measured, ours):
    name = f"{measured['peer']} {measured['version']}" + (", batch" if measured["kind"] == "batch" else "")
    if measured["rows"] < 5_000_000:
        name += f" ({measured['rows'] / 1e6:g} M rows)"
    if not rates(measured):
        return [name, *[""] * (len(HEADER) - 2), measured["failure"] or "not measured"]
    slow, fast = rates(measured)[0], rates(measured)[-1]
    median = statistics.median(rates(measured))
    whole = measured["pass_seconds"][0] + (0 if measured["peer"] == "tidemark" else measured["start_seconds"])
    cpu = statistics.median(cpu for _, cpu in warm(measured)) / measured["rows"] * 1e6
    result = "the reference" if measured["peer"] == "tidemark" else measured["failure"] or "the same"
    figures = [f"{number:.3g}" for number in (slow, median, fast)]
    more = [f"{measured['rows'] / whole / 1e6:.3g}", f"{measured['start_seconds']:.2f}", f"{cpu:.2f}", f"{measured['peak_mb']:.0f}"]
    return [name, *figures, times(measured, ours), *more, result]
