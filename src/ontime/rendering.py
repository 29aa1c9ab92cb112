"""The only file that knows Jinja2: pages and documents, from templates in which the words stand beside the markup.

A template is named by what it makes: `*.html.jinja` escapes every value, `*.md.jinja` none. All of them may use
`words`, the problem's, and the filter `fmt`: `{{ share | fmt(".1%") }}` is Python's `format(share, ".1%")`.
"""

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from ontime.schema import WORDS


def render(template: Path, **values: Any) -> str:
    """The template, filled in; others in its folder may be extended and included.

    Raises jinja2.UndefinedError for a name that has no value: nothing is left blank unnoticed.
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
