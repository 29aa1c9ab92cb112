"""Docstrings, which are plain text, as reStructuredText."""

from typing import Any


def mark_indented_blocks(*event: Any) -> None:
    """As literal: reStructuredText would take an indented list of names for a quotation, and join its lines."""
    lines: list[str] = event[-1]
    inside = False
    for number in reversed(range(len(lines))):
        indented = lines[number].startswith("    ")
        if inside and lines[number] and not indented:
            lines[number + 1 : number + 1] = ["", "::"]
        inside = indented or (inside and not lines[number])
