"""Renders reports as self-contained HTML pages in the style of the service's pages."""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from ontime import figures, rendering
from ontime.figures import Picture

TEMPLATES = Path(__file__).with_name("templates")
# The style sheet of the service: reports follow its changes.
STYLE_SHEET = Path(__file__).parents[2] / "serving/pages/style.css"


class Drawing(NamedTuple):
    finding: str
    measure: str
    svg: str | None  # None: only the two sentences are shown


def render_page(template: Path, pictures: Mapping[str, Picture], **values: Any) -> str:
    """The HTML of a page. The keys of `pictures` become ids in it."""
    style = _style_sheet() + (TEMPLATES / "report.css").read_text(encoding="utf-8")
    drawings = [_drawing(name, picture) for name, picture in pictures.items()]
    return rendering.render(template, style=style, drawings=drawings, **values)


def _drawing(name: str, picture: Picture) -> Drawing:
    svg = None if picture.figure is None else figures.svg(picture.figure, name, light_colours())
    return Drawing(picture.finding, picture.measure, svg)


@cache
def _style_sheet() -> str:
    return STYLE_SHEET.read_text(encoding="utf-8")


def light_colours() -> dict[str, str]:
    """CSS variables by the light colours of the style sheet: `#1a1c1e` -> `var(--ink)`."""
    light = _style_sheet().split("@media", maxsplit=1)[0]
    return {colour: f"var({name})" for name, colour in re.findall(r"(--[\w-]+): (#[0-9a-f]{6})\b", light)}
