"""Writes the numbers of reports/study_compression.json into docs/what-compression-costs.md, between two marks."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ontime import rendering
from pipelines.layout import REPORTS
from pipelines.tools.marked_pages import END, with_section

JSON = REPORTS / "study_compression.json"
PICTURE = REPORTS / "study_compression.png"
PAGE = Path("docs/what-compression-costs.md")
TEMPLATE = Path(__file__).parent / "templates/study_compression.md.jinja"
BEGIN = "<!-- written by make study-compression -->\n"
NEW_PAGE = f"# What compression costs\n\n{BEGIN}{END}"


def with_compression(text: str, report: Mapping[str, Any]) -> str:
    """The page with the results between its marks; a new page if `text` is empty. Raises Refusal for missing marks."""
    return with_section(text or NEW_PAGE, BEGIN, rendering.render(TEMPLATE, **report), PAGE)
