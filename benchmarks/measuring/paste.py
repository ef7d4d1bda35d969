"""Puts what `benchmarks/figures` has measured into the documents, as it was printed: what stands between
`<!-- figure NAME -->` and `<!-- end -->` is replaced by what the figure NAME printed last.

    python3 -B benchmarks/measuring/paste.py [benchmarks/README.md docs/scaling.md]
"""

import re
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parent.parent
DOCUMENTS = [BENCHMARKS / "README.md", BENCHMARKS.parent / "docs" / "scaling.md"]
MARKED = re.compile(r"(<!-- figure (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def shown(printed):
    """As a document shows it: tables of its own kind as they are, and others letter for letter."""
    text = printed.strip()
    if any(line.startswith("|") for line in text.splitlines()):
        return f"{text}\n\n"
    return f"```text\n{text}\n```\n\n"


def pasted(document, figures):
    """The document with the figures that there are; one that is not there leaves what stands."""

    def replaced(found):
        printed = figures.get(found[2])
        return found[0] if printed is None else f"{found[1]}\n{shown(printed)}{found[3]}"

    return MARKED.sub(replaced, document)


def main():
    kept = BENCHMARKS / ".data" / "figures"
    figures = {path.stem: path.read_text(encoding="utf8") for path in kept.glob("*.txt")}
    for path in map(Path, sys.argv[1:]) if sys.argv[1:] else DOCUMENTS:
        path.write_text(pasted(path.read_text(encoding="utf8"), figures), encoding="utf8")


if __name__ == "__main__":
    main()
