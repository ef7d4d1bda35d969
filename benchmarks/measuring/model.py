"""A model of many machines, fitted to what one of them showed, and the tables of docs/scaling.md.

    CPU seconds for a million records with W workers:   u(W) = own + sent * (1 - 1/W)
    CPU seconds of all workers for one epoch:           e(W) = each * W + pairs * W * W
    records per second of M machines with C cores, and a worker on each core:
        (M * C - e(M * C) / commit interval) / u(M * C)

`own` is the work on a record wherever it is, `sent` what it costs to bring it to another process: with W workers
that happens to all but one of W. Every worker tells every other about its progress: that is `pairs`. What the model
leaves out is written in docs/scaling.md.
"""

from shape import markdown

CORES = 2
DEFAULT_INTERVAL = 0.1


def least_squares(rows, values):
    """Two factors, neither of them negative, whose relative errors are least: the small ones of few workers count as
    much as the large ones of many."""
    rows = [(a / value, b / value) for (a, b), value in zip(rows, values)]
    (aa, ab, bb) = (sum(a * a for a, _ in rows), sum(a * b for a, b in rows), sum(b * b for _, b in rows))
    (av, bv) = (sum(a for a, _ in rows), sum(b for _, b in rows))
    determinant = aa * bb - ab * ab
    first, second = (av * bb - bv * ab) / determinant, (bv * aa - av * ab) / determinant
    if second < 0:
        return av / aa, 0.0
    if first < 0:
        return 0.0, bv / bb
    return first, second


def fit(kept):
    """The four factors, or nothing where the series are not there."""
    if not {"processes", "epochs"} <= kept.keys():
        return None
    of = kept["epochs"]["points"]
    each, pairs = least_squares([(p["x"], p["x"] ** 2) for p in of], [p["cpu_seconds"] / p["commits"] for p in of])
    of = kept["processes"]["points"]
    # Its epochs are not a record's work.
    per_million = [(p["cpu_seconds"] - (each * p["x"] + pairs * p["x"] ** 2) * p["commits"]) / p["rows"] * 1e6 for p in of]
    own, sent = least_squares([(1, 1 - 1 / p["x"]) for p in of], per_million)
    return {"own": own, "sent": sent, "each": each, "pairs": pairs}


def rate(model, machines, interval, cores=CORES):
    """Millions of records per second, and the share of the cores that goes into epochs."""
    workers = machines * cores
    epochs = (model["each"] * workers + model["pairs"] * workers**2) / interval
    share = epochs / workers
    per_million = model["own"] + model["sent"] * (1 - 1 / workers)
    return max(workers - epochs, 0) / per_million, min(share, 1)


def wall(model, interval, share, cores=CORES):
    """From how many machines on epochs take that share of all cores."""
    if model["pairs"] == 0:
        return float("inf")
    return max((share * interval - model["each"]) / model["pairs"], 0) / cores


TITLES = {
    "threads": "threads of one process", "processes": "processes of one thread", "keys": "groups of state",
    "partitions": "partitions", "interval": "commit interval, ms", "epochs": "processes, a commit each 20 ms",
}


RATES = ["M records/s: min", "median", "max", "CPU s per M", "peak MB", "start and end, s"]
HEADERS = {
    "keys": [*RATES[:-1], "start, making the groups, and end, s"],
    "interval": [*RATES, "M records", "commits"],
    "epochs": ["CPU ms of all for a commit", "commits", "peak MB of all"],
}


def tables(kept, model):
    """What was measured, and what the model says."""
    texts = []
    for name, title in TITLES.items():
        if name not in kept:
            continue
        of = kept[name]
        rows = {"epochs": epochs_row, "interval": interval_row}.get(name, row)
        texts.append(f"*{name}* ({of['about']}):\n")
        texts.append(markdown([title, *HEADERS.get(name, RATES)], [rows(p) for p in of["points"]]))
    if model:
        texts += [predictions(model), held_against(kept, model)]
    return "\n".join(texts)


def row(point):
    per = [f"{point['rows'] / point[which] / 1e6:.2f}" for which in ("slowest", "seconds", "fastest")]
    cpu = f"{point['cpu_seconds'] / point['rows'] * 1e6:.2f}"
    return [f"{point['x']:,}", *per, cpu, f"{point['peak_mb']:.0f}", f"{point['start_seconds']:.2f}"]


def interval_row(point):
    return [*row(point), f"{point['rows'] / 1e6:.0f}", f"{point['commits']:,}"]


def epochs_row(point):
    return [f"{point['x']:,}", f"{point['cpu_seconds'] / point['commits'] * 1e3:.2f}", f"{point['commits']:,}", f"{point['peak_mb']:.0f}"]


def held_against(kept, model):
    """What the model says of what was measured."""
    rows = []
    for point in kept["processes"]["points"]:
        workers = point["x"]
        # However many processes there are, the machine has its cores, and sources keep all of them busy.
        u = model["own"] + model["sent"] * (1 - 1 / workers)
        e = model["each"] * workers + model["pairs"] * workers**2
        said = max(CORES - e / DEFAULT_INTERVAL, 0) / u
        measured = point["rows"] / point["seconds"] / 1e6
        cpu = point["cpu_seconds"] / point["rows"] * 1e6
        cpu_said = u + e * point["commits"] / point["rows"] * 1e6
        rows.append([f"processes: {workers}", *against(cpu, cpu_said), *against(measured, said)])
    text = "The model against what it was fitted to, and against rates, which it was not fitted to:\n\n"
    text += markdown(["", "CPU s per M: measured", "model", "off by", "M records/s: measured", "model", "off by"], rows)
    rows = []
    for point in kept["epochs"]["points"]:
        e = (model["each"] + model["pairs"] * point["x"]) * point["x"]
        rows.append([f"processes: {point['x']}", *against(point["cpu_seconds"] / point["commits"] * 1e3, e * 1e3)])
    return text + "\n" + markdown(["", "CPU ms for a commit: measured", "model", "off by"], rows)


def against(measured, said):
    return [f"{measured:.2f}", f"{said:.2f}", f"{round(said / measured - 1, 2) + 0.0:+.0%}"]


def predictions(model):
    said = (f"The model: `own` {model['own']:.3f} and `sent` {model['sent']:.3f} CPU s per M records, "
            f"`each` {model['each'] * 1e3:.3f} and `pairs` {model['pairs'] * 1e3:.4f} CPU ms per epoch.\n")
    rows = []
    for machines in (1, 10, 100):
        cells = [f"{machines}"]
        for interval in (0.01, 0.1, 1):
            millions, share = rate(model, machines, interval)
            cells.append(f"{millions:.1f} ({share:.0%})")
        rows.append(cells)
    rows.append(["epochs take a tenth from", *[f"{wall(model, interval, 0.1):.0f} machines" for interval in (0.01, 0.1, 1)]])
    header = [f"machines of {CORES} cores", *[f"commit each {name}" for name in ("10 ms", "100 ms", "1 s")]]
    return said + "\nMillions of records per second, and the share of all cores that epochs take:\n\n" + markdown(header, rows)
