"""Markdown as GitHub shows it: whole tables, and pictures with a text for whoever does not see them."""

import re
from collections.abc import Iterator, Sequence

import pytest
from markdown_it import MarkdownIt
from markdown_it.rules_block.table import escapedSplit
from markdown_it.token import Token

from tests import ROOT
from tests.repository.test_rules import tracked

PARSER = MarkdownIt("commonmark").enable("table")
PAGES = tracked("*.md")
IMG = re.compile(r"<img\b[^>]*>")


def cells(line: str) -> int:
    """How many cells a row has: by GitHub's rules, a `|` ends a cell also inside of `code`, unless it is escaped."""
    parts = escapedSplit(line.strip().lstrip("> "))
    return len(parts) - (parts[0] == "") - (parts[-1] == "" and len(parts) > 1)


def uneven_rows(text: str) -> list[str]:
    """The rows that have more or fewer cells than the header of their table."""
    lines, uneven, width = text.splitlines(), [], 0
    for token in PARSER.parse(text):
        if token.map is None or token.type not in {"thead_open", "tr_open"}:
            continue
        line = lines[token.map[0]]
        if token.type == "thead_open":
            width = cells(line)
        elif cells(line) != width:
            uneven.append(line)
    return uneven


def pictures_without_text(tokens: Sequence[Token]) -> Iterator[str]:
    """Their sources, or whole tags of HTML."""
    for token in tokens:
        if token.type == "image" and not token.content.strip():
            yield str(token.attrs["src"])
        elif token.type in {"html_block", "html_inline"}:
            yield from (tag for tag in IMG.findall(token.content) if not re.search(r"""\balt=["'][^"']*\w""", tag))
        yield from pictures_without_text(token.children or ())


@pytest.mark.parametrize("page", PAGES)
def test_each_row_of_a_table_has_as_many_cells_as_its_header(page: str) -> None:
    assert uneven_rows((ROOT / page).read_text()) == []


@pytest.mark.parametrize(
    ("row", "even"),
    [
        ("| 1 | 2 |", True),
        ("| 1 | `a \\| b` |", True),
        ("| 1 | |", True),
        ("| 1 | `a | b` |", False),
        ("| 1 |", False),
        ("| 1 | 2 | 3 |", False),
        ("no row", False),
    ],
)
def test_an_uneven_row_is_found(row: str, even: bool) -> None:
    assert uneven_rows(f"| a | b |\n| --- | --- |\n{row}\n") == ([] if even else [row])


@pytest.mark.parametrize("page", PAGES)
def test_each_picture_has_a_text(page: str) -> None:
    assert list(pictures_without_text(PARSER.parse((ROOT / page).read_text()))) == []


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("![Cost by threshold](cost.png)", []),
        ("[![ ](cost.png)](page.md)", ["cost.png"]),
        ("a line with ![](cost.png) in it", ["cost.png"]),
        ('<img src="cost.png" alt="Cost by threshold">', []),
        ('<p><img src="cost.png" alt=""></p>', ['<img src="cost.png" alt="">']),
        ("`![](cost.png)` is code", []),
    ],
)
def test_a_picture_without_a_text_is_found(text: str, missing: list[str]) -> None:
    assert list(pictures_without_text(PARSER.parse(text))) == missing
