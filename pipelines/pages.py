"""Pages for people: one HTML file each, with its pictures inside and nothing from elsewhere."""

import base64
import html
from collections.abc import Iterable
from pathlib import Path

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1f2933; margin: 2rem auto; max-width: 62rem; padding: 0 1rem }
h1 { margin-bottom: 0 } h2 { margin-top: 2.5rem } .told { color: #52606d; margin-top: 0 }
img { max-width: 100% } figure { margin: 1.5rem 0 }
table { border-collapse: collapse; font-size: 14px; display: block; overflow-x: auto }
th, td { text-align: left; padding: .3rem .7rem; border-bottom: 1px solid #e4e7eb; vertical-align: top }
th { color: #52606d; font-weight: 600 }
td { font-variant-numeric: tabular-nums }
td:first-child { white-space: nowrap }
"""


def document(title: str, about: str, *parts: str) -> str:
    """The whole page; `parts` are HTML."""
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>ontime: {html.escape(title)}</title>
<style>{STYLE}</style>
<h1>{html.escape(title)}</h1>
<p class="told">{html.escape(about)}</p>
{"".join(part + chr(10) for part in parts if part)}</html>
"""


def heading(text: str) -> str:
    return f"<h2>{html.escape(text)}</h2>"


def listed(lines: Iterable[str]) -> str:
    return "<ul>" + "".join(f"<li>{html.escape(line)}</li>" for line in lines) + "</ul>"


def table(head: Iterable[object], rows: Iterable[Iterable[object]]) -> str:
    """Cells are text or numbers; None is an empty cell."""

    def cells(row: Iterable[object], tag: str) -> str:
        told = ("" if cell is None else html.escape(str(cell)) for cell in row)
        return "<tr>" + "".join(f"<{tag}>{cell}</{tag}>" for cell in told) + "</tr>"

    body = "".join(cells(row, "td") for row in rows)
    return f"<table><thead>{cells(head, 'th')}</thead><tbody>{body}</tbody></table>"


def picture(path: Path, words: str) -> str:
    """A PNG, as part of the page."""
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<figure><img alt="{html.escape(words)}" src="data:image/png;base64,{data}"></figure>'
