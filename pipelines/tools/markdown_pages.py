"""Renders the Markdown of reports as a part of an HTML page; the only file that imports markdown-it."""

import base64
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token

HEADING_SHIFT = 2  # the page has h1 and h2 of its own


def to_html(text: str, folder: Path) -> str:
    """The HTML of a document: no raw HTML, no links, and its images in `folder` as data; a missing one is its title.

    >>> to_html("[a link](x.md), <b>not bold</b>", Path())
    '<p>a link, &lt;b&gt;not bold&lt;/b&gt;</p>\\n'
    """
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    markdown.add_render_rule("image", _image_in(folder))
    markdown.add_render_rule("link_open", lambda *_: "")  # relative links lead nowhere from a single file
    markdown.add_render_rule("link_close", lambda *_: "")
    tokens = markdown.parse(text)
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(int(token.tag[1:]) + HEADING_SHIFT, 6)}"
    html = str(markdown.renderer.render(tokens, markdown.options, {}))
    table = '<div class="scroll" role="region" aria-label="Table" tabindex="0"><table class="report">'
    return html.replace("<table>", table).replace("</table>", "</table></div>")


def _image_in(folder: Path) -> Callable[..., str]:
    def image(_renderer: object, tokens: Sequence[Token], index: int, *_: Any) -> str:
        token = tokens[index]
        path = folder / str(token.attrs["src"])
        title = escape(token.content)
        if not path.is_file():
            return f"<em>{title}</em>"
        content = base64.b64encode(path.read_bytes()).decode()
        return f'<img alt="{title}" src="data:image/png;base64,{content}">'

    return image
