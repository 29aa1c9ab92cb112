"""Writes generated tables into a page, between two marks; the text around the marks is written by hand, and stays."""

from pathlib import Path

from ontime.refusal import Refusal

END = "<!-- end -->\n"


def with_section(text: str, begin: str, section: str, page: Path) -> str:
    """The text with the section between the mark `begin` and END. Raises Refusal for missing marks."""
    before, mark, rest = text.partition(begin)
    _, end, after = rest.partition(END)
    if not mark or not end:
        raise Refusal(f"{page} has no line {begin.strip()} followed by {END.strip()}: add both where the tables belong")
    return f"{before}{begin}{section}{END}{after}"
