"""Writes the numbers of reports/study_value.json into docs/what-the-model-is-worth.md, between two marks."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ontime import rendering
from pipelines.layout import REPORTS
from pipelines.tools.marked_pages import END, with_section

JSON = REPORTS / "study_value.json"
STEPS_PICTURE = REPORTS / "study_value.png"
RATIOS_PICTURE = REPORTS / "study_cost_ratios.png"
PAGE = Path("docs/what-the-model-is-worth.md")
TEMPLATE = Path(__file__).parent / "templates/study_value.md.jinja"
BEGIN = "<!-- written by make study-value -->\n"
NEW_PAGE = f"# What the model is worth\n\n{BEGIN}{END}"


def with_value(text: str, report: Mapping[str, Any]) -> str:
    """The page with the results between its marks; a new page if `text` is empty. Raises Refusal for missing marks."""
    return with_section(text or NEW_PAGE, BEGIN, rendering.render(TEMPLATE, **report), PAGE)
