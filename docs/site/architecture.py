"""docs/architecture-light.svg and -dark.svg: the parts of the system and what passes between them."""

from html import escape
from typing import NamedTuple

WIDTH, HEIGHT = 120, 52  # of a box
COLOURS = {
    "light": {"ink": "#1c2b36", "line": "#5b6b77", "box": "#ffffff", "group": "#eef3f6", "accent": "#0a7d91"},
    "dark": {"ink": "#e4e9ed", "line": "#9aa8b3", "box": "#1f262d", "group": "#252d35", "accent": "#4db5c6"},
}


class Box(NamedTuple):
    x: int
    y: int
    name: str
    about: str


class Arrow(NamedTuple):
    points: str  # as in SVG: "x,y x,y"
    text: str
    x: int  # of the text
    y: int
    both: bool = False


BOXES = (
    Box(20, 70, "raw data", "locked files"),
    Box(190, 70, "ingest", "typed tables"),
    Box(330, 70, "validate", "the contract"),
    Box(470, 70, "features", "point in time"),
    Box(610, 70, "train", "candidates"),
    Box(750, 70, "evaluate", "the test period"),
    Box(920, 70, "gate", "better or not?"),
    Box(750, 200, "MLflow", "every version"),
    Box(920, 200, "release", "ONNX, signed"),
    Box(470, 330, "database", "prediction log"),
    Box(920, 330, "service", "FastAPI"),
    Box(920, 460, "caller", "asks, reports"),
    Box(470, 460, "monitoring", "scores, drift"),
    Box(190, 460, "policy", "one action daily"),
)
ARROWS = (
    *(Arrow(f"{start},96 {end},96", "", 0, 0) for start, end in ((140, 190), (310, 330), (450, 470), (590, 610))),
    *(Arrow(f"{start},96 {end},96", "", 0, 0) for start, end in ((730, 750), (870, 920))),
    Arrow("980,122 980,200", "promote", 988, 165),
    Arrow("930,122 870,200", "record", 850, 160),
    Arrow("980,252 980,330", "load, verify", 988, 295),
    Arrow("530,122 530,330", "materialise", 538, 235),
    Arrow("590,356 920,356", "features, predictions, outcomes", 655, 346, both=True),
    Arrow("980,460 980,382", "HTTP", 988, 425),
    Arrow("530,382 530,460", "join", 538, 425),
    Arrow("470,486 310,486", "metrics", 365, 476),
    Arrow("250,460 250,140", "retrain", 258, 310),
    Arrow("250,512 250,545 1070,545 1070,226 1040,226", "promote, withdraw, roll back", 560, 537),
)


def svg(theme: str) -> str:
    """The diagram in the colours of `light` or `dark`."""
    colours = COLOURS[theme]
    shapes = [
        f'<rect x="175" y="30" width="710" height="110" rx="8" fill="{colours["group"]}"/>',
        '<text x="190" y="54" class="about">pipeline: DVC runs what has changed</text>',
        *(shape for arrow in ARROWS for shape in _arrow(arrow)),
        *(shape for box in BOXES for shape in _box(box, colours)),
    ]
    return "\n".join(
        [
            '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1090 560" font-family="system-ui, sans-serif">',
            "<title>From raw data to a monitored service, and back to a retraining</title>",
            f"<style>.name {{ font-size: 18px; font-weight: 600; fill: {colours['ink']} }} "
            f".about {{ font-size: 13.5px; fill: {colours['line']} }} "
            f".arrow {{ fill: none; stroke: {colours['line']}; stroke-width: 1.5 }}</style>",
            '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
            f'orient="auto-start-reverse"><path d="M0,0 L8,4 L0,8 z" fill="{colours["line"]}"/></marker></defs>',
            *shapes,
            "</svg>\n",
        ]
    )


def _box(box: Box, colours: dict[str, str]) -> list[str]:
    middle = box.x + WIDTH // 2
    return [
        f'<rect x="{box.x}" y="{box.y}" width="{WIDTH}" height="{HEIGHT}" rx="6" fill="{colours["box"]}" '
        f'stroke="{colours["accent"]}" stroke-width="1.5"/>',
        f'<text x="{middle}" y="{box.y + 23}" text-anchor="middle" class="name">{escape(box.name)}</text>',
        f'<text x="{middle}" y="{box.y + 41}" text-anchor="middle" class="about">{escape(box.about)}</text>',
    ]


def _arrow(arrow: Arrow) -> list[str]:
    start = ' marker-start="url(#head)"' if arrow.both else ""
    text = [f'<text x="{arrow.x}" y="{arrow.y}" class="about">{escape(arrow.text)}</text>'] if arrow.text else []
    return [f'<polyline points="{arrow.points}" class="arrow" marker-end="url(#head)"{start}/>', *text]
