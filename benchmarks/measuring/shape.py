"""Tables as Markdown, so that what a command prints can stand in a text as it is."""


def row(cells):
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def head(header):
    """The first two lines."""
    return row(header) + "\n" + row(["---"] * len(header))


def markdown(header, rows):
    return "\n".join([head(header), *map(row, rows)]) + "\n"
