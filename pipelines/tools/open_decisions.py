"""`make decisions FROM=examples/noshows`: lists the decisions to make before a new problem is adopted."""

import sys
from pathlib import Path

MARK = "DECIDE:"
SUFFIXES = (".py", ".yaml")


def open_in(source: Path) -> list[str]:
    """The open decisions of a problem, each as `file:line: decision`."""
    return [
        f"{path}:{number}: {line.split(MARK, 1)[1].strip()}"
        for path in sorted(source.rglob("*"))
        if path.suffix in SUFFIXES
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if MARK in line
    ]


def main(source: Path) -> None:
    if not source.is_dir():
        sys.exit(f"decisions: {source} is not a folder; for example: make decisions FROM=examples/bikes")
    decisions = open_in(source)
    print("\n".join(decisions) if decisions else f"decisions: none is open; next: make adopt FROM={source}")
