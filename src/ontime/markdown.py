"""The parts of generated markdown that pages share."""

from collections.abc import Sequence


def table(header: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    """
    >>> print(table(("name", "entities"), [("one", 3)]))
    | name | entities |
    | --- | --- |
    | one | 3 |
    """
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
