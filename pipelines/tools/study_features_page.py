"""Writes the numbers of reports/study_features.json into docs/what-features-are-worth.md, between two marks.

The text around the marks is written by hand, and stays.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ontime import rendering
from ontime.refusal import Refusal
from pipelines.layout import REPORTS

JSON = REPORTS / "study_features.json"
PICTURE = REPORTS / "study_features.png"
PAGE = Path("docs/what-features-are-worth.md")
TEMPLATE = Path(__file__).parent / "templates/study_features.md.jinja"
BEGIN, END = "<!-- written by make study-features -->\n", "<!-- end -->\n"
NEW_PAGE = f"# What features are worth\n\n{BEGIN}{END}"


def results_section(report: Mapping[str, Any]) -> str:
    """The tables, each with the largest worth first."""
    ordered = sorted(report["rows"], key=lambda row: -row["worth"]["value"])
    kinds = {kind: [row for row in ordered if row["kind"] == kind] for kind in ("out", "in", "idea")}
    return rendering.render(TEMPLATE, **report, kinds=kinds)


def with_results(text: str, report: Mapping[str, Any]) -> str:
    """The page with the results between its marks; a new page if `text` is empty. Raises Refusal for missing marks."""
    before, begin, rest = (text or NEW_PAGE).partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise Refusal(f"{PAGE} has no line {BEGIN.strip()} followed by {END.strip()}: add both where the tables belong")
    return f"{before}{BEGIN}{results_section(report)}{END}{after}"
