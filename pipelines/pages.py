"""Pages for people: one HTML file each, in the look of the service's pages, with all that they need inside."""

import html
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from ontime import figures
from ontime.figures import Picture

# The service's own style sheet, whole: the look has one home, and what it changes changes here with the next report.
STYLE_SHEET = Path(__file__).parents[1] / "serving/pages/style.css"
ALSO = """
main ul { list-style: disc; padding-left: 1.2rem; max-width: 48rem; }
main section > p { max-width: 48rem; margin-top: 0.6rem; }
main section > ul { margin-top: 0.6rem; }
.pictures { margin-top: 2.25rem; display: grid; gap: 2.5rem 3.5rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); }
.picture { max-width: 33rem; }
.picture figcaption { margin-bottom: 0.8rem; }
.picture svg text { white-space: pre; }
.report { font-size: 0.9rem; }
.report :is(th, td) { padding: 0.4rem 1.2rem 0.4rem 0; }
.report tbody th { position: sticky; left: 0; background: var(--paper); }
.report tbody th.long { white-space: normal; overflow-wrap: anywhere; min-width: 7rem; max-width: 12rem; }
.report thead th { white-space: normal; vertical-align: bottom; min-width: 4.5rem; }
.report .number { white-space: nowrap; }
"""
NUMBER = re.compile(r"[+-]?\d")
LONG = 18  # characters of a row's name, from which it may wrap


def document(title: str, about: str, *parts: str) -> str:
    """The whole page; `parts` are HTML."""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{html.escape(title)} · ontime</title>
<style>
{_style_sheet()}{ALSO}</style>
</head>
<body>
<header class="top"><span class="brand">ontime</span></header>
<main>
<div class="lead"><h1>{html.escape(title)}</h1>
<p>{html.escape(about)}</p></div>
{"".join(part + chr(10) for part in parts if part)}</main>
</body>
</html>
"""


@cache
def _style_sheet() -> str:
    return STYLE_SHEET.read_text()


def light_colours() -> dict[str, str]:
    """The light colours of the style sheet, as what a page calls them: `#1a1c1e` -> `var(--ink)`."""
    light = _style_sheet().split("@media", maxsplit=1)[0]
    return {colour: f"var({name})" for name, colour in re.findall(r"(--[\w-]+): (#[0-9a-f]{6})\b", light)}


def section(title: str, *parts: str) -> str:
    return f"<section><h2>{html.escape(title)}</h2>\n" + "\n".join(part for part in parts if part) + "\n</section>"


def paragraph(text: str) -> str:
    return f"<p>{html.escape(text)}</p>"


def listed(lines: Iterable[str]) -> str:
    return "<ul>" + "".join(f"<li>{html.escape(line)}</li>" for line in lines) + "</ul>"


def empty(text: str) -> str:
    """Words in place of a picture; what stands in backticks is a command."""
    return f'<p class="empty">{_with_code(text)}</p>'


def _with_code(text: str) -> str:
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", html.escape(text))


def table(title: str, head: Iterable[object], rows: Iterable[Iterable[object]]) -> str:
    """Cells are text or numbers, None is an empty one; the first names its row. A wide table scrolls in itself."""
    top = "".join(f'<th scope="col">{html.escape(str(cell))}</th>' for cell in head)
    body = "".join(f"<tr>{_row(list(row))}</tr>" for row in rows)
    return (
        f'<div class="scroll" role="region" aria-label="{html.escape(title)}" tabindex="0">'
        f'<table class="report"><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _row(cells: list[object]) -> str:
    first, *others = ("" if cell is None else html.escape(str(cell)) for cell in cells)
    long = ' class="long"' if len(first) > LONG else ""
    return f'<th scope="row"{long}>{first}</th>' + "".join(f"<td{_look(cell)}>{cell}</td>" for cell in others)


def _look(cell: str) -> str:
    """A number stays on its line, with its interval; a reason may wrap."""
    return ' class="number"' if NUMBER.match(cell) and len(cell) < 40 else ""


def pictures(drawn: dict[str, Picture]) -> str:
    """Pictures side by side, by a name that is unique in the page."""
    return '<div class="pictures">' + "".join(_picture(name, each) for name, each in drawn.items()) + "</div>"


def _picture(name: str, picture: Picture) -> str:
    """In the page's own letters and colours, also in the dark: the title is text, and the drawing part of the page."""
    if picture.figure is None:
        words = f"<strong>{html.escape(picture.finding)}</strong><br>{_with_code(picture.measure)}"
        return f'<figure class="picture"><p class="empty">{words}</p></figure>'
    caption = f'<p class="finding">{html.escape(picture.finding)}</p><p class="hint">{html.escape(picture.measure)}</p>'
    drawing = figures.svg(picture.figure, name, light_colours())
    return f'<figure class="picture"><figcaption>{caption}</figcaption>{drawing}</figure>'
