"""A model of many machines, fitted to what one of them showed, and the tables of docs/scaling.md.

    CPU seconds for a million records with W workers:   u(W) = own + sent * (1 - 1/W)
    CPU seconds of all workers for one epoch:           e(W) = each * W + pairs * W * W
    records per second of M machines with C cores, and a worker on each core:
        (M * C - e(M * C) / commit interval) / u(M * C)

`own` is the work on a record wherever it is, `sent` what it costs to bring it to another process: with W workers
that happens to all but one of W. Every worker tells every other about its progress: that is `pairs`. What the model
leaves out is written in docs/scaling.md.
"""

CORES = 2
DEFAULT_INTERVAL = 0.1


def least_squares(rows, values):
    """Two factors, neither of them negative, that fit the values best."""
    (aa, ab, bb) = (sum(a * a for a, _ in rows), sum(a * b for a, b in rows), sum(b * b for _, b in rows))
    (av, bv) = (sum(row[0] * v for row, v in zip(rows, values)), sum(row[1] * v for row, v in zip(rows, values)))
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
    each, pairs = least_squares([(p["x"], p["x"] ** 2) for p in of], [p["cpu_seconds"] / p["epochs"] for p in of])
    of = kept["processes"]["points"]
    # Its epochs are not a record's work.
    epochs = [(each * p["x"] + pairs * p["x"] ** 2) * p["seconds"] / DEFAULT_INTERVAL for p in of]
    per_million = [(p["cpu_seconds"] - spent) / p["rows"] * 1e6 for p, spent in zip(of, epochs)]
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


def markdown(header, rows):
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [header, ["---"] * len(header), *rows]) + "\n"


TITLES = {
    "threads": "threads of one process", "processes": "processes of one thread", "keys": "groups of state",
    "partitions": "partitions", "interval": "commit interval, ms", "epochs": "processes, a commit each 20 ms",
}


def tables(kept, model):
    """What was measured, and what the model says."""
    texts = []
    for name, title in TITLES.items():
        if name not in kept:
            continue
        of = kept[name]
        texts.append(f"{name}: {of['machine']}, {of['date']}, commit {of['commit']}\n")
        if name == "epochs":
            rows = [[str(p["x"]), f"{p['cpu_seconds'] / p['epochs'] * 1e3:.2f}", f"{p['peak_mb']:.0f}"] for p in of["points"]]
            texts.append(markdown([title, "CPU ms of all for a commit", "peak MB of all"], rows))
            continue
        header = [title, "M records/s: min", "median", "max", "CPU s per M", "peak MB", "start and end, s"]
        texts.append(markdown(header, [row(p) for p in of["points"]]))
    if model:
        texts.append(predictions(model))
    return "\n".join(texts)


def row(point):
    per = [f"{point['rows'] / point[which] / 1e6:.2f}" for which in ("slowest", "seconds", "fastest")]
    cpu = f"{point['cpu_seconds'] / point['rows'] * 1e6:.2f}"
    return [f"{point['x']:,}", *per, cpu, f"{point['peak_mb']:.0f}", f"{point['start_seconds']:.2f}"]


def predictions(model):
    said = (f"the model: own {model['own']:.3f} and sent {model['sent']:.3f} CPU s per M records, "
            f"each {model['each'] * 1e6:.0f} and pairs {model['pairs'] * 1e6:.2f} CPU us per epoch\n")
    rows = []
    for machines in (1, 10, 100):
        cells = [f"{machines}"]
        for interval in (0.01, 0.1, 1):
            millions, share = rate(model, machines, interval)
            cells.append(f"{millions:.1f} ({share:.0%})")
        rows.append(cells)
    rows.append(["epochs take a tenth from", *[f"{wall(model, interval, 0.1):.0f} machines" for interval in (0.01, 0.1, 1)]])
    header = [f"machines of {CORES} cores", *[f"commit each {name}" for name in ("10 ms", "100 ms", "1 s")]]
    return said + "\nM records/s, and the share of all cores that epochs take:\n\n" + markdown(header, rows)
