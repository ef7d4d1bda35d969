"""Plots as one SVG that needs nothing else: a panel for each series, logarithmic where steps are."""

import math

TITLES = {
    "threads": ("M records/s, by threads", "rate"), "processes": ("M records/s, by processes", "rate"),
    "keys": ("M records/s, by groups of state", "rate"), "partitions": ("M records/s, by partitions", "rate"),
    "interval": ("M records/s, by commit interval in ms", "rate"), "epochs": ("CPU ms per commit, by processes", "epoch"),
}
WIDTH, HEIGHT, LEFT, TOP = 340, 220, 44, 34
INK, PALE, BLUE = "#1b2733", "#9fb0c0", "#2f7fb8"
FONT = f'font-family="system-ui,sans-serif" font-size="12" fill="{INK}"'


def page(kept):
    """All panels that there are points for, three in a row."""
    names = [name for name in TITLES if name in kept]
    high = -(-len(names) // 3) * HEIGHT
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {3 * WIDTH} {high}" role="img" aria-label="How Tidemark scales">',
             f'<rect width="{3 * WIDTH}" height="{high}" fill="#ffffff"/>', f"<g {FONT}>"]
    for index, name in enumerate(names):
        parts.append(f'<g transform="translate({index % 3 * WIDTH} {index // 3 * HEIGHT})">{panel(name, kept[name]["points"])}</g>')
    return "\n".join([*parts, "</g>", "</svg>", ""])


def values(kind, point):
    """The median, the least and the most."""
    if kind == "epoch":
        return (point["cpu_seconds"] / point["commits"] * 1e3,) * 3
    return tuple(point["rows"] / point[which] / 1e6 for which in ("seconds", "slowest", "fastest"))


def panel(name, points):
    title, kind = TITLES[name]
    found = [values(kind, point) for point in points]
    most = max(it[2] for it in found) * 1.15
    low, high = math.log(points[0]["x"]), math.log(points[-1]["x"])
    wide, tall = WIDTH - LEFT - 28, HEIGHT - TOP - 36

    def x(point):
        return LEFT + wide * (math.log(point["x"]) - low) / (high - low)

    def y(value):
        return TOP + tall * (1 - value / most)

    parts = [f'<text font-weight="600" x="{LEFT}" y="20">{title}</text>']
    for value in (0, most / 2.3, most / 1.15):
        parts.append(f'<line stroke="{PALE}" x1="{LEFT}" x2="{LEFT + wide}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke-width=".5"/>'
                     f'<text x="{LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.2g}</text>')
    line = " ".join(f"{x(point):.1f},{y(it[0]):.1f}" for point, it in zip(points, found))
    parts.append(f'<polyline fill="none" stroke="{BLUE}" stroke-width="2" points="{line}"/>')
    for point, (median, least, best) in zip(points, found):
        at, label = x(point), f"{point['x']:,}" if point["x"] < 10**4 else f"10^{round(math.log10(point['x']))}"
        parts.append(f'<line stroke="{BLUE}" x1="{at:.1f}" x2="{at:.1f}" y1="{y(least):.1f}" y2="{y(best):.1f}"/>'
                     f'<circle fill="{BLUE}" cx="{at:.1f}" cy="{y(median):.1f}" r="3.5"/>'
                     f'<text x="{at:.1f}" y="{HEIGHT - 18}" text-anchor="middle">{label}</text>')
    return "".join(parts)
