"""Renders pages and documents from templates; the only file that imports Jinja2.

Values are escaped in `*.html.jinja`, not in `*.md.jinja`. Every template can use `words`, the declared words of the
problem, and the filter `fmt`: `{{ share | fmt(".1%") }}` is Python's `format(share, ".1%")`.
"""

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from ontime.schema import WORDS


def render(template: Path, **values: Any) -> str:
    """The rendered template; it may extend and import others in its folder.

    Raises jinja2.UndefinedError for a name without a value, instead of leaving a blank.
    """
    return _environment(template.parent).get_template(template.name).render(values)


@cache
def _environment(folder: Path) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=select_autoescape(["html.jinja"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["fmt"] = format
    environment.globals["words"] = WORDS
    return environment
