"""Writes the numbers of reports/study_search.json into docs/what-searching-is-worth.md, between two marks."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ontime import rendering
from pipelines.layout import REPORTS
from pipelines.tools.marked_pages import END, with_section

JSON = REPORTS / "study_search.json"
PICTURE = REPORTS / "study_search.png"
PAGE = Path("docs/what-searching-is-worth.md")
TEMPLATE = Path(__file__).parent / "templates/study_search.md.jinja"
PARTS = 4  # of the trials, after each of which the searches are compared
BEGIN = "<!-- written by make study-search -->\n"
NEW_PAGE = f"# What searching for parameters is worth\n\n{BEGIN}{END}"


def with_searches(text: str, report: Mapping[str, Any]) -> str:
    """The page with the results between its marks; a new page if `text` is empty. Raises Refusal for missing marks."""
    trials = max(len(search["trials"]) for search in report["searches"])
    counts = sorted({math.ceil(trials * part / PARTS) for part in range(1, PARTS + 1)})
    return with_section(text or NEW_PAGE, BEGIN, rendering.render(TEMPLATE, **report, counts=counts), PAGE)
