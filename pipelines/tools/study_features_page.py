"""Writes the numbers of reports/study_features.json into docs/what-features-are-worth.md, between two marks."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ontime import rendering
from pipelines.layout import REPORTS
from pipelines.tools.marked_pages import END, with_section

JSON = REPORTS / "study_features.json"
PICTURE = REPORTS / "study_features.png"
PAGE = Path("docs/what-features-are-worth.md")
TEMPLATE = Path(__file__).parent / "templates/study_features.md.jinja"
BEGIN = "<!-- written by make study-features -->\n"
NEW_PAGE = f"# What features are worth\n\n{BEGIN}{END}"


def results_section(report: Mapping[str, Any]) -> str:
    """The tables, each with the largest worth first."""
    ordered = sorted(report["rows"], key=lambda row: -row["worth"]["value"])
    kinds = {kind: [row for row in ordered if row["kind"] == kind] for kind in ("out", "in", "idea")}
    return rendering.render(TEMPLATE, **report, kinds=kinds)


def with_results(text: str, report: Mapping[str, Any]) -> str:
    """The page with the results between its marks; a new page if `text` is empty. Raises Refusal for missing marks."""
    return with_section(text or NEW_PAGE, BEGIN, results_section(report), PAGE)
