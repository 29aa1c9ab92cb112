"""Writes the numbers of reports/study_models.json into docs/what-models-are-worth.md, between two marks."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ontime import rendering
from pipelines.layout import REPORTS
from pipelines.tools.marked_pages import END, with_section

JSON = REPORTS / "study_models.json"
PICTURE = REPORTS / "study_models.png"
PAGE = Path("docs/what-models-are-worth.md")
TEMPLATE = Path(__file__).parent / "templates/study_models.md.jinja"
BEGIN = "<!-- written by make study-models -->\n"
NEW_PAGE = f"# What models are worth\n\n{BEGIN}{END}"


def with_models(text: str, report: Mapping[str, Any]) -> str:
    """The page with the results between its marks; a new page if `text` is empty. Raises Refusal for missing marks."""
    return with_section(text or NEW_PAGE, BEGIN, rendering.render(TEMPLATE, **report), PAGE)
