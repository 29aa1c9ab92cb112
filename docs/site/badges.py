"""docs/badges/*.svg: what pyproject.toml says, as badges for README. Those of CI come from the code host."""

import tomllib
from html import escape
from pathlib import Path

CHARACTER, PADDING, HEIGHT = 6.6, 8, 20  # of text at 11 px


def badges(root: Path) -> dict[str, str]:
    """File name -> SVG."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return {
        "licence.svg": badge("licence", project["license"]),
        "python.svg": badge("python", project["requires-python"].replace(">=", "\N{GREATER-THAN OR EQUAL TO} ")),
    }


def badge(name: str, value: str) -> str:
    """A grey half with the name and a coloured half with the value."""
    left, right = (round(len(text) * CHARACTER) + 2 * PADDING for text in (name, value))
    halves = ((name, 0, left, "#4a5560"), (value, left, right, "#0a6f80"))
    shapes = [
        f'<rect x="{x}" width="{width}" height="{HEIGHT}" fill="{colour}"/>'
        f'<text x="{x + width / 2}" y="14" text-anchor="middle" fill="#fff">{escape(text)}</text>'
        for text, x, width, colour in halves
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="{HEIGHT}" '
            'font-family="Verdana, DejaVu Sans, sans-serif" font-size="11">',
            f"<title>{escape(name)}: {escape(value)}</title>",
            *shapes,
            "</svg>\n",
        ]
    )
